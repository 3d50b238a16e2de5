"""The compiled core of the native engine, behind tensors: everything that knows of ``_core`` is here.

The core is plain C++ (``layers/native/csrc``). It takes and gives arrays, releases the interpreter's lock while it
works, and checks dtype, layout and shape of every array at its door.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd import forward_ad

from layers.problem import QP

#: what the core says of an element that it did not solve: it is left to the torch engine, or its data are to be checked
LEFT, SUSPECT = -1, -2
#: constraints whose activity the core could not tell beyond doubt
UNCLEAR = -1
#: multiply-adds below which a second thread costs more than it brings
ONE_THREAD = 2_000_000


def _load() -> tuple[ModuleType | None, str | None]:
    try:
        return import_module("layers.native._core"), None
    except ImportError as error:
        return None, (
            f"its C++ core is not built ({error}); install a C++17 compiler and run `make setup`, "
            "or `pip install --editable .` again"
        )


_core, _reason = _load()


def unavailable() -> str | None:
    """Why the core cannot be used at all; None if it can."""
    return _reason


def core() -> ModuleType:
    """The module, which is there: :func:`unavailable` says None."""
    assert _core is not None
    return _core


def refusal(problem: QP) -> str | None:
    """Why the core does not take this problem; None if it does."""
    if _core is not None and problem.q.device.type != "cpu":
        return f"it works on the CPU, and the tensors are on {problem.q.device}"
    return refusal_of_copy(problem)


def refusal_of_copy(problem: QP) -> str | None:
    """Why the core would not take this problem from the memory of the host; None if it would."""
    if _core is None:
        return _reason
    sizes = (problem.n, problem.m, problem.p)
    if not holds(*sizes):
        return f"it takes (n, m, p) up to {_core.LARGEST}, and the problem has {sizes}"
    return None


def holds(n: int, m: int, p: int) -> bool:
    """Whether the core, which is there, takes problems of this size."""
    assert _core is not None
    most_n, most_m, most_p = _core.LARGEST
    return n <= most_n and m <= most_m and p <= most_p


def suits(*tensors: Tensor) -> bool:
    """Whether the core can take these tensors: built, on the CPU, and not hidden by a transform of torch.func."""
    return _core is not None and not any(
        t.device.type != "cpu" or is_functorch_wrapped_tensor(t) for t in tensors
    )


def plain(tensors: Sequence[Tensor]) -> bool:
    """Whether these are numbers on the CPU, with no transform and no forward derivative around them."""
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:  # pyright: ignore[reportPrivateUsage]
        return False
    return _core is not None and all(t.is_cpu for t in tensors)


class Raw(NamedTuple):
    """What the core says of a problem, without the axis B if it has no batch; rows of unsolved elements hold nothing.

    Attributes
    ----------
    z, lam, nu, s : Tensor, shapes ``(B, n), (B, m), (B, p), (B, m)``
    objective, status, iterations : Tensor, shape ``(B,)``
    residuals : Tensor, shape ``(B, 3)``
        Primal, dual, gap, as :func:`layers.qp.kkt.residuals` defines them.
    kind : Tensor of int8, shape ``(B, m)``
        1 active, 0 inactive, −1 where the element's activity has to be told by the full rule.
    lowest_status, lowest_kind : int
        The least entries of both, 0 where there are none.
    """

    z: Tensor
    lam: Tensor
    nu: Tensor
    s: Tensor
    objective: Tensor
    residuals: Tensor
    kind: Tensor
    status: Tensor
    iterations: Tensor
    lowest_status: int
    lowest_kind: int

    @property
    def settled(self) -> bool:
        """Whether every element is solved, and the activity of all its constraints told."""
        return self.lowest_status == 0 and self.lowest_kind != UNCLEAR

    def with_axis(self) -> Raw:
        """The same with a batch of one, for a problem without a batch."""
        return Raw._make(v.unsqueeze(0) if isinstance(v, Tensor) else v for v in self)


def solve(
    flat: QP,
    batch: int | None,
    tol: float,
    rounding: float,
    max_iterations: int,
    guess: tuple[Tensor, Tensor, Tensor, Tensor] | None,
) -> Raw:
    """Run the core on a flat problem whose tensors may lack the batch axis.

    Parameters
    ----------
    batch : int or None
        None for a problem without one.
    rounding : float
        Asymmetry and negative curvature of Q up to this, relative to its largest entry, are rounding.
    """
    assert _core is not None
    count = threads((1 if batch is None else batch) * (flat.n * flat.n * (flat.n + flat.m + flat.p)) * 8)
    most = min(max_iterations, 2**31 - 1)
    *arrays, lowest_status, lowest_kind = _core.solve(*flat.tensors, batch, tol, rounding, most, count, guess)
    return Raw._make((*map(torch.from_numpy, arrays), lowest_status, lowest_kind))


def solve_linearised(
    flat: QP, kind: Tensor, status: Tensor
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor, float]:
    """x = K⁻¹ r for r in (q, h, b), its backward error, infinite where the core does not answer, and the largest error.

    Without the batch axis if r has none.
    """
    assert _core is not None
    count = threads(flat.q.numel() * flat.n * (flat.n + flat.m + flat.p))
    given = (flat.Q, flat.G, flat.A, kind, status, flat.q, flat.h, flat.b)
    *arrays, largest = _core.solve_linearised(*given, count)
    x_z, x_lam, x_nu, error = map(torch.from_numpy, arrays)
    return (x_z, x_lam, x_nu), error, largest


def pull_back(
    saved: tuple[Tensor, ...],
    cotangents: tuple[Tensor | None, Tensor | None, Tensor | None],
    wanted: tuple[bool, bool, bool],
    tol: float,
) -> tuple[tuple[Tensor | None, ...], tuple[Tensor, ...]] | None:
    """Gradients of (Q, G, A) and of (q, h, b) in one call, each with the batch axis of z.

    None if the core leaves an element, or misses the bound ``tol`` on the backward error of K d = −(z̄, λ̄, ν̄).

    Parameters
    ----------
    saved : tuple of Tensor
        Q, G, A, which may lack the batch axis, kind, status, z, λ, ν.
    cotangents : tuple of Tensor or None
        z̄, λ̄, ν̄; None for zero.
    wanted : tuple of bool
        Whether the gradients of Q, G and A are; None in the place of one that is not.
    """
    assert _core is not None
    z, lam, nu = saved[5:]
    n, m, p = z.shape[-1], lam.shape[-1], nu.shape[-1]
    if not holds(n, m, p):
        return None
    entries = z.numel() * (n + m + p)
    count = threads(entries * n), threads(entries)
    matrices, vectors, largest = _core.pull_back(*saved, *cotangents, wanted, *count)
    if not largest <= tol:
        return None
    return (
        tuple([None if array is None else torch.from_numpy(array) for array in matrices]),
        tuple(map(torch.from_numpy, vectors)),
    )


def solve_for_z(
    flat: QP, batch: int | None, tol: float, rounding: float, max_iterations: int
) -> tuple[Tensor, Any] | None:
    """z, and what :func:`pull_back_kept` needs; None if an element is in doubt. Parameters as in :func:`solve`."""
    assert _core is not None
    count = threads((1 if batch is None else batch) * (flat.n * flat.n * (flat.n + flat.m + flat.p)) * 8)
    most = min(max_iterations, 2**31 - 1)
    found = _core.solve_for_z(*flat.tensors, batch, tol, rounding, most, count)
    return None if found is None else (torch.from_numpy(found[0]), found[1])


def pull_back_kept(
    kept: Any, data: tuple[Tensor, ...], z_bar: Tensor, needed: Sequence[bool], tol: float
) -> list[Tensor | None] | None:
    """Gradients of (Q, q, G, h, A, b) where needed, from that of z; None if the core leaves an element.

    An argument whose gradient is needed has the batch axis of z, or z has a batch of one.
    """
    Q, _, G, h, A, b = data
    entries = z_bar.numel() * (z_bar.shape[-1] + h.shape[-1] + b.shape[-1])
    wanted = (needed[0], needed[2], needed[4])
    count = threads(entries * z_bar.shape[-1]), threads(entries)
    matrices, vectors, largest = kept.pull_back(Q, G, A, z_bar, wanted, *count)
    if not largest <= tol:
        return None
    found = (matrices[0], vectors[0], matrices[1], vectors[1], matrices[2], vectors[2])
    gradients = zip(found, data, needed, strict=True)
    return [_like(array, value.shape) if need else None for array, value, need in gradients]


def _like(array: Any, shape: torch.Size) -> Tensor:
    gradient = torch.from_numpy(array)
    # A view of what has the shape already costs as much as the arithmetic of a small problem.
    return gradient if gradient.shape == shape else gradient.view(shape)


def family(
    sizes: tuple[int, int, int, int], widths: Sequence[int], parts: Sequence[Any], variables: Sequence[Any]
) -> Any:
    """A family of programs in the core, for :func:`solve_family`.

    Parameters
    ----------
    sizes : tuple of int
        Numbers of variables, inequalities, equalities, and variables that were taken out.
    widths : sequence of int
        Entries of each source.
    parts : sequence of tuple
        Q, q, G, h, A, b, M, f, and D where it is not the identity: rows, columns (one for a vector), constant, and
        for each source in it ``(source, i, j, column, weight)``.
    variables : sequence of tuple
        ``(piece, place, weight)`` of the entries of each variable; the pieces are z, ν and λ.
    """
    assert _core is not None
    return _core.Family(sizes, widths, parts, variables)


def solve_family(
    made: Any,
    size: tuple[int, int, int],
    values: Sequence[Tensor],
    shapes: Sequence[tuple[int, ...]],
    batch: int,
    tol: float,
    rounding: float,
    max_iterations: int,
) -> tuple[list[Tensor], Any] | None:
    """Variables of these shapes, and the solved batch for :func:`pull_back_family`; None if an element is in doubt."""
    n, m, p = size
    count = threads(batch * (n * n * (n + m + p)) * 8)
    found = made.solve(values, shapes, batch, tol, rounding, min(max_iterations, 2**31 - 1), count)
    return None if found is None else ([torch.from_numpy(array) for array in found[0]], found[1])


def pull_back_family(
    solved: Any,
    size: tuple[int, int, int],
    bars: Sequence[Tensor],
    needed: Sequence[bool],
    shapes: Sequence[Sequence[int]],
    tol: float,
) -> tuple[Tensor | None, ...] | None:
    """Gradients of these shapes of the values that are needed; None if the core leaves an element."""
    n, m, p = size
    found = solved.pull_back(bars, needed, shapes, tol, threads(bars[0].numel() * n * (n + m + p)))
    if found is None:
        return None
    return tuple([None if array is None else torch.from_numpy(array) for array in found])


def outer_pair(u: Tensor, v: Tensor, w: Tensor, x: Tensor, scale: float) -> Tensor:
    """scale · (u vᵀ + w xᵀ) for every element of ``(B, ·)`` vectors, shape ``(B, rows, columns)``; or all without B."""
    assert _core is not None
    count = threads(u.numel() * v.shape[-1])
    return torch.from_numpy(_core.outer_pair(u, v, w, x, scale, count))


def threads(work: int, most: int | None = None) -> int:
    """How many threads so many multiply-adds are worth, at most those of torch, or ``most``."""
    return 1 if work < ONE_THREAD else most or torch.get_num_threads()
