"""Adjoints: how a solution is differentiated, each a function of problem and solution, never of the solver.

A new one is a file here, which is found; :class:`layers.qp.gradients.Adjoint` is the contract, and the fields of the
class are its settings. ``adjoint="auto"`` is ``implicit``, the implicit function theorem in active-set
form. Its linear system is itself a function that can be differentiated (:class:`layers.qp.function.LinearisedSystem`):
every order of derivative comes from there.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from layers.errors import LayerError, ProblemError
from layers.policy import require_choice
from layers.qp.gradients import Adjoint


def _found() -> dict[str, Adjoint]:
    modules = [import_module(f"{__name__}.{each.name}") for each in iter_modules(__path__)]
    own = [each for module in modules for each in vars(module).values() if _defined(each, module.__name__)]
    adjoints: list[Adjoint] = [each() for each in own]
    return {
        each.name: each for each in sorted(adjoints, key=lambda each: (each.name != "implicit", each.name))
    }


def _defined(value: object, module: str) -> bool:
    """Whether `value` is an adjoint with a name that is defined in `module`, and not imported there."""
    named = isinstance(value, type) and issubclass(value, Adjoint) and "name" in vars(value)
    return named and value.__module__ == module


#: by name, each with its default settings; ``implicit`` is the first
ADJOINTS: dict[str, Adjoint] = _found()


def adjoint(name: str, **settings: Any) -> Adjoint:
    """An adjoint by name, as a command line has it: ``adjoint("smoothed", kappa=1e-3)`` is ``Smoothed(kappa=1e-3)``.

    Parameters
    ----------
    name : str
        Of :func:`layers.adjoints`.
    **settings
        Those that the adjoint has; the others keep their defaults.

    Raises
    ------
    LayerError
        If there is no such adjoint.
    ProblemError
        If it has no such setting, or a value cannot be used.
    """
    require_choice("adjoint", name, ("auto", *ADJOINTS))
    found = ADJOINTS["implicit" if name == "auto" else name]
    if unknown := sorted(settings.keys() - found.settings.keys()):
        those = ", ".join(f"{key}={value!r}" for key, value in found.settings.items()) or "none"
        raise ProblemError(
            f"adjoint={name!r} has no setting {', '.join(unknown)}; its settings and defaults: {those}"
        )
    return replace(found, **settings)


def named(adjoint: str | Adjoint) -> str | Adjoint:
    """The name in :data:`ADJOINTS` that ``adjoint=`` means, or an adjoint with settings of its own."""
    if isinstance(adjoint, str):
        return "implicit" if adjoint == "auto" else adjoint
    return adjoint.name if ADJOINTS.get(adjoint.name) == adjoint else adjoint


def check_adjoint(value: object) -> None:
    """Refuse what is neither an adjoint nor the name of one."""
    if isinstance(value, type) and issubclass(value, Adjoint):
        raise LayerError(
            f"adjoint must be a value, not a class; found {value.__name__}: write {value.__name__}()"
        )
    if not isinstance(value, Adjoint):
        require_choice("adjoint", value, ("auto", *ADJOINTS))


def bound(adjoint: str | Adjoint) -> Adjoint:
    """The adjoint that :func:`named` means."""
    return ADJOINTS[adjoint] if isinstance(adjoint, str) else adjoint


def refusal(adjoint: str | Adjoint, what: str) -> str:
    """Why an adjoint cannot give something that is of every order, and which can."""
    able = [name for name, other in ADJOINTS.items() if other.order is None]
    return (
        f"adjoint={adjoint!r} has first derivatives in reverse mode alone, and {what} was asked for; "
        f"choose adjoint={' or '.join(map(repr, able))}"
    )
