"""Adjoints: how a solution is differentiated, each a function of problem and solution, never of the solver.

A new one is a file here and an entry in :data:`ADJOINTS`; :class:`layers.qp.gradients.Adjoint` is the contract, and the
keywords of the file's ``gradients`` are its settings. ``adjoint="auto"`` is ``implicit``, the implicit function theorem
in active-set form. Its linear system is itself a function that can be differentiated
(:class:`layers.qp.function.LinearisedSystem`): every order of derivative comes from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from typing import Any

from layers.errors import LayerError, ProblemError
from layers.policy import require_choice, tolerance, whole_number
from layers.qp.adjoints import (
    active_set,
    alternating,
    conic,
    first_order,
    implicit,
    lpgd,
    one_step,
    optnet,
    penalty,
    qp_backward,
    smoothed,
    truncated,
    unrolled,
)
from layers.qp.gradients import Adjoint

_STRICT = "active rows independent, none weakly active, Q positive definite on their null space"


def _of(name: str, module: Any, exact: str, error: str = "", order: int | None = 1) -> Adjoint:
    """The adjoint of a file: its ``gradients``, their keywords as settings, and its ``iterate`` if it has one."""
    settings = tuple(
        (key, p.default)
        for key, p in signature(module.gradients).parameters.items()
        if p.kind == p.KEYWORD_ONLY
    )
    return Adjoint(name, exact, order, module.gradients, error, settings, getattr(module, "iterate", None))


ADJOINTS: dict[str, Adjoint] = {
    each.name: each
    for each in (
        _of(
            "implicit",
            implicit,
            "where the solution map is differentiable; elsewhere the least-squares answer of minimum norm",
            order=None,
        ),
        _of("optnet", optnet, _STRICT),
        _of("active_set", active_set, _STRICT),
        _of("qp_backward", qp_backward, _STRICT),
        _of("conic", conic, _STRICT),
        _of("unrolled", unrolled, _STRICT, "geometric in k; exact for the iterate"),
        _of("alternating", alternating, _STRICT, "geometric in k; exact in q, h and b for the iterate"),
        _of("one_step", one_step, "nowhere", "the norm of a step's derivative"),
        _of("truncated", truncated, _STRICT, "geometric in k"),
        _of("smoothed", smoothed, _STRICT, "O(kappa)"),
        _of("lpgd", lpgd, _STRICT, "O(tau) on one side, none in the mean while the active rows stay"),
        _of("first_order", first_order, _STRICT, "O(tau)"),
        _of("penalty", penalty, _STRICT, "O(beta)"),
    )
}


def _side(name: str, value: object) -> str:
    require_choice(name, value, tuple(lpgd.SIDES))
    return str(value)


def _weight(name: str, value: object) -> float:
    number = tolerance(name, value)
    if number <= 1:
        raise LayerError(
            f"{name} must be larger than 1, so that no multiplier exceeds the penalty; found {value!r}"
        )
    return number


#: what a setting takes, whichever adjoint has it
CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "k": whole_number,
    "rho": tolerance,
    "kappa": tolerance,
    "tau": tolerance,
    "side": _side,
    "beta": tolerance,
    "weight": _weight,
}


def adjoint(name: str, **settings: Any) -> Adjoint:
    """An adjoint with settings of its own, for ``adjoint=``.

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

    Examples
    --------
    >>> from layers import QPLayer, adjoint
    >>> layer = QPLayer(adjoint=adjoint("smoothed", kappa=1e-3))
    """
    require_choice("adjoint", name, ("auto", *ADJOINTS))
    found = ADJOINTS["implicit" if name == "auto" else name]
    have = dict(found.settings)
    if unknown := sorted(settings.keys() - have.keys()):
        those = ", ".join(f"{key}={value!r}" for key, value in have.items()) or "none"
        raise ProblemError(
            f"adjoint={name!r} has no setting {', '.join(unknown)}; its settings and defaults: {those}"
        )
    try:
        have |= {key: CHECKS[key](f"{key} of adjoint={name!r}", value) for key, value in settings.items()}
    except LayerError as error:
        raise ProblemError(str(error)) from error
    return replace(found, settings=tuple(have.items()))


def named(adjoint: str | Adjoint) -> str | Adjoint:
    """The name in :data:`ADJOINTS` that ``adjoint=`` means, or an adjoint with settings of its own."""
    if isinstance(adjoint, str):
        return "implicit" if adjoint == "auto" else adjoint
    return adjoint.name if ADJOINTS.get(adjoint.name) == adjoint else adjoint


def check_adjoint(value: object) -> None:
    """Refuse what is neither an adjoint nor the name of one."""
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
