"""The compiled core of the native engine, behind tensors: everything that knows of ``_core`` is here.

The core is plain C++ (``layers/native/csrc``). It takes and gives arrays, releases the interpreter's lock while it
works, and checks dtype, layout and shape of every array at its door.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor, is_legacy_batchedtensor
from torch.autograd import forward_ad

from layers.modes.opaque import modes
from layers.native.constants import LEFT as LEFT
from layers.native.constants import SUSPECT as SUSPECT
from layers.native.constants import UNCLEAR as UNCLEAR
from layers.native.constants import disagreement
from layers.problem import QP

#: multiply-adds below which a second thread costs more than it brings
ONE_THREAD = 2_000_000


def _load() -> tuple[ModuleType | None, str | None]:
    again = "install a C++17 compiler and run `make setup`, or `pip install --editable .` again"
    try:
        core = import_module("layers.native._core")
    except ImportError as error:
        return None, f"its C++ core is not built ({error}); {again}"
    reason = disagreement(core)
    return (core, None) if reason is None else (None, f"its C++ core is not usable ({reason}); {again}")


_core, _reason = _load()


def unavailable() -> str | None:
    """Why the core cannot be used at all; None if it can."""
    return _reason


def description() -> dict[str, object] | None:
    """The instruction set of the core, in doubles at once, and a digest of the binary; None if it cannot be used."""
    if _core is None or _core.__file__ is None:
        return None
    built = Path(_core.__file__).read_bytes()
    return {"lanes": _core.lanes(), "core": hashlib.sha256(built).hexdigest()[:16]}


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


def suits(tensor: Tensor) -> bool:
    """Whether the core is built and this is a tensor of numbers on the CPU."""
    return _core is not None and tensor.device.type == "cpu" and not is_functorch_wrapped_tensor(tensor)


def plain(tensors: Sequence[Tensor | None]) -> bool:
    """Whether the core is built and these are numbers on the CPU, with no transform, mode or derivative around them.

    None stands for a cotangent that nobody has.
    """
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0 or modes():  # pyright: ignore[reportPrivateUsage]
        return False
    return _core is not None and all(
        t is None or (t.is_cpu and not is_legacy_batchedtensor(t)) for t in tensors
    )


class Arrays(NamedTuple):
    """What the core says of a problem, without the axis B if it has no batch; rows of unsolved elements hold nothing.

    Attributes
    ----------
    z, lam, nu, s : Tensor, shapes ``(B, n), (B, m), (B, p), (B, m)``
    objective, status, iterations : Tensor, shape ``(B,)``
        A status is that of :class:`layers.Status`, LEFT or SUSPECT; where it is INFEASIBLE or UNBOUNDED, (λ, ν) or z
        is the certificate, as in :class:`layers.solution.Point`.
    residuals : Tensor, shape ``(B, 6)``
        Primal, dual, gap in norm and row by row, as :func:`layers.qp.kkt.residuals` defines them.
    kind : Tensor of int8, shape ``(B, m)``
        1 active, 0 inactive, UNCLEAR where the element's activity has to be told by the full rule.
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

    @classmethod
    def of(cls, handle: Any) -> Arrays:
        """Copies of all that a handle of :func:`solve` holds."""
        return cls._make(map(torch.from_numpy, handle.arrays()))

    def with_axis(self) -> Arrays:
        """The same with a batch of one, for a problem without a batch."""
        return Arrays._make(v.unsqueeze(0) for v in self)


def solve(
    flat: QP,
    batch: int | None,
    tol: float,
    rounding: float,
    max_iterations: int,
    guess: tuple[Tensor, Tensor, Tensor, Tensor] | None = None,
    *,
    interior: bool = False,
) -> Any:
    """A handle on the solved batch of a flat problem whose tensors may lack the batch axis.

    ``handle.settled`` says whether every element is solved and the activity of all its constraints told;
    ``handle.told`` the same of those that are solved, where the others are proved to have no solution;
    ``handle.z()`` copies out the minimiser, :meth:`Arrays.of` everything, and :func:`pull_back` differentiates.

    Parameters
    ----------
    batch : int or None
        None for a problem without one.
    rounding : float
        Asymmetry and negative curvature of Q up to this, relative to its largest entry, are rounding.
    interior : bool
        The guess is a point of an interior-point method near the solution, with λ > 0 where any multipliers are: it is
        polished, and nothing else is tried.
    """
    assert _core is not None
    count = threads((1 if batch is None else batch) * (flat.n * flat.n * (flat.n + flat.m + flat.p)) * 8)
    most = min(max_iterations, 2**31 - 1)
    return _core.solve(*flat.tensors, batch, tol, rounding, most, count, guess, interior)


def pull_back(
    handle: Any,
    matrices: tuple[Tensor, Tensor, Tensor],
    bars: Sequence[Tensor | None],
    sizes: tuple[int, int, int],
    wanted: tuple[bool, bool, bool],
) -> tuple[tuple[Any, ...], tuple[Any, ...], float]:
    """Gradients of (Q, G, A) where wanted and of (q, h, b), arrays with the batch axis of z; and the backward error.

    Parameters
    ----------
    matrices : tuple of Tensor
        Q, G and A, which may lack the batch axis.
    bars : sequence of Tensor or None
        Cotangents of z, λ and ν; None for zero.
    sizes : tuple of int
        (B, n, m + p), for the number of threads.
    """
    batch, n, rows = sizes
    entries = batch * n * (n + rows)
    return handle.pull_back(*matrices, *bars, wanted, threads(entries * n), threads(entries))


def solve_linearised(
    flat: QP, kind: Tensor, status: Tensor, *, transpose: bool
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor, float]:
    """x = K⁺ r, or K⁺ᵀ r with ``transpose``, for r in (q, h, b), its backward error, and the largest error.

    The error is infinite where the core does not answer. Without the batch axis if r has none.
    """
    assert _core is not None
    count = threads(flat.q.numel() * flat.n * (flat.n + flat.m + flat.p))
    given = (flat.Q, flat.G, flat.A, kind, status, flat.q, flat.h, flat.b)
    *arrays, largest = _core.solve_linearised(*given, transpose, count)
    x_z, x_lam, x_nu, error = map(torch.from_numpy, arrays)
    return (x_z, x_lam, x_nu), error, largest


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
    bars: Sequence[Tensor | None],
    batch: int,
    needed: Sequence[bool],
    shapes: Sequence[Sequence[int]],
    tol: float,
) -> tuple[Tensor | None, ...] | None:
    """Gradients of these shapes of the values that are needed; None if the core leaves an element."""
    n, m, p = size
    found = solved.pull_back(bars, needed, shapes, tol, threads(batch * n * (n + m + p)))
    if found is None:
        return None
    return tuple([None if array is None else torch.from_numpy(array) for array in found])


def threads(work: int, most: int | None = None) -> int:
    """How many threads so many multiply-adds are worth, at most those of torch, or ``most``."""
    return 1 if work < ONE_THREAD else most or torch.get_num_threads()
