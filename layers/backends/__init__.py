"""Whole third-party layers behind our signature: each owns its solver and its adjoint.

Adding one costs a file here, whose name ends in ``_`` and which defines ``BACKEND``: it is found.
"""

from importlib import import_module
from pkgutil import iter_modules

from layers.backends.base import Backend

__all__ = ["BACKENDS", "Backend"]


def _found() -> dict[str, Backend]:
    names = sorted(each.name for each in iter_modules(__path__) if each.name.endswith("_"))
    backends: list[Backend] = [import_module(f"{__name__}.{name}").BACKEND for name in names]
    return {backend.name: backend for backend in backends}


#: by name
BACKENDS: dict[str, Backend] = _found()
