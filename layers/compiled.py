"""The compiled core of the native engine, behind tensors: everything that knows of ``_native`` is here.

The core is plain C++ (``layers/csrc``). It takes and gives arrays, releases the interpreter's lock while it works, and
checks dtype, layout and shape of every array at its door.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from layers.problem import QP

#: what the core says of an element that it did not solve: it is left to the torch engine, or its data are to be checked
LEFT, SUSPECT = -1, -2
#: constraints whose activity the core could not tell beyond doubt
UNCLEAR = -1
#: multiply-adds below which a second thread costs more than it brings
ONE_THREAD = 2_000_000


def _load() -> tuple[ModuleType | None, str | None]:
    try:
        return import_module("layers._native"), None
    except ImportError as error:
        return None, (
            f"its C++ core is not built ({error}); install a C++17 compiler and run `make setup`, "
            "or `pip install --editable .` again"
        )


_core, _reason = _load()


def unavailable() -> str | None:
    """Why the core cannot be used at all; None if it can."""
    return _reason


def refusal(problem: QP) -> str | None:
    """Why the core does not take this problem; None if it does."""
    if _core is None:
        return _reason
    if problem.q.device.type != "cpu":
        return f"it works on the CPU, and the tensors are on {problem.q.device}"
    n, m, p = _core.LARGEST
    if problem.n > n or problem.m > m or problem.p > p:
        sizes = (problem.n, problem.m, problem.p)
        return f"it takes (n, m, p) up to {_core.LARGEST}, and the problem has {sizes}"
    return None


def suits(*tensors: Tensor) -> bool:
    """Whether the core can take these tensors: built, on the CPU, and not hidden by a transform of torch.func."""
    return _core is not None and not any(
        t.device.type != "cpu" or is_functorch_wrapped_tensor(t) for t in tensors
    )


@dataclass(frozen=True)
class Raw:
    """What the core says of a flat problem; rows of unsolved elements hold nothing.

    Attributes
    ----------
    z, lam, nu : Tensor, shapes ``(B, n), (B, m), (B, p)``
    objective, status, iterations : Tensor, shape ``(B,)``
    residuals : Tensor, shape ``(B, 3)``
        Primal, dual, gap, as :func:`layers.kkt.residuals` defines them.
    kind : Tensor of int8, shape ``(B, m)``
        1 active, 0 inactive, −1 where the element's activity has to be told by the full rule.
    lowest_status, lowest_kind : int
        The least entries of both, 0 where there are none.
    """

    z: Tensor
    lam: Tensor
    nu: Tensor
    objective: Tensor
    residuals: Tensor
    kind: Tensor
    status: Tensor
    iterations: Tensor
    lowest_status: int
    lowest_kind: int


def solve(
    flat: QP,
    batch: int,
    tol: float,
    rounding: float,
    max_iterations: int,
    guess: tuple[Tensor, Tensor, Tensor, Tensor] | None,
) -> Raw:
    """Run the core on a flat problem whose tensors may lack the batch axis.

    Parameters
    ----------
    rounding : float
        Asymmetry and negative curvature of Q up to this, relative to its largest entry, are rounding.
    """
    assert _core is not None
    threads = _threads(batch * (flat.n * flat.n * (flat.n + flat.m + flat.p)) * 8)
    most = min(max_iterations, 2**31 - 1)
    *arrays, lowest_status, lowest_kind = _core.solve(
        *flat.tensors, batch, tol, rounding, most, threads, guess
    )
    z, lam, nu, objective, residuals, kind, status, iterations = map(torch.from_numpy, arrays)
    return Raw(z, lam, nu, objective, residuals, kind, status, iterations, lowest_status, lowest_kind)


def solve_linearised(flat: QP, kind: Tensor, status: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """x = K⁻¹ r for r in (q, h, b), and its backward error: infinite for elements that the core does not answer."""
    assert _core is not None
    threads = _threads(flat.q.shape[0] * (flat.n * flat.n * (flat.n + flat.m + flat.p)))
    given = (flat.Q, flat.G, flat.A, kind, status, flat.q, flat.h, flat.b)
    x_z, x_lam, x_nu, error = map(torch.from_numpy, _core.solve_linearised(*given, threads))
    return (x_z, x_lam, x_nu), error


def outer_pair(u: Tensor, v: Tensor, w: Tensor, x: Tensor, scale: float) -> Tensor:
    """scale · (u vᵀ + w xᵀ) for every element of ``(B, ·)`` vectors, shape ``(B, rows, columns)``."""
    assert _core is not None
    threads = _threads(u.shape[0] * u.shape[1] * v.shape[1])
    return torch.from_numpy(_core.outer_pair(u, v, w, x, scale, threads))


def _threads(work: int) -> int:
    return 1 if work < ONE_THREAD else torch.get_num_threads()
