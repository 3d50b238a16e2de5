"""The quadratic program as a value: checked once, then passed around unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from math import ceil, log10, prod
from typing import ClassVar

import torch
from torch import Tensor

from layers.errors import FLOATING, PLAIN, ProblemError, refusal_of_tensor
from layers.linalg.batched import Batched, chunks
from layers.linalg.semidefinite import check_curvature, first_of
from layers.modes.opaque import refuse_tracing

#: core (unbatched) number of axes of every argument
AXES = {"Q": 2, "q": 1, "G": 2, "h": 1, "A": 2, "b": 1}


def broadcast(shapes: list[torch.Size]) -> torch.Size:
    """Return the common batch shape; torch.broadcast_shapes alone takes longer than a small problem."""
    if torch.compiler.is_compiling():  # sizes may be symbols there, which have no hash
        return torch.broadcast_shapes(*shapes)
    different = {shape for shape in shapes if shape}
    return torch.broadcast_shapes(*different) if len(different) > 1 else next(iter(different), torch.Size())


@dataclass(frozen=True)
class QP(Batched):
    """minimise ½zᵀQz + qᵀz subject to Gz ≤ h, Az = b.

    Attributes
    ----------
    Q, q, G, h, A, b : Tensor
        Shapes ``(n, n), (n,), (m, n), (m,), (p, n), (p,)`` behind optional leading batch axes, which broadcast.
        Absent constraints have zero rows.
    """

    SHARED: ClassVar[Mapping[str, int]] = {"Q": 2, "G": 2, "A": 2}

    Q: Tensor
    q: Tensor
    G: Tensor
    h: Tensor
    A: Tensor
    b: Tensor

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The six tensors in order."""
        return (self.Q, self.q, self.G, self.h, self.A, self.b)

    @property
    def named(self) -> dict[str, Tensor]:
        """The six tensors by name."""
        return dict(zip(AXES, self.tensors, strict=True))

    @property
    def sparse(self) -> bool:
        """Whether a matrix is a sparse tensor, as the caller gave it: :mod:`layers.sparse` reads it."""
        dense = torch.strided
        return not (self.Q.layout is dense and self.G.layout is dense and self.A.layout is dense)

    @property
    def n(self) -> int:
        """Number of variables."""
        return self.q.shape[-1]

    @property
    def m(self) -> int:
        """Number of inequalities."""
        return self.h.shape[-1]

    @property
    def p(self) -> int:
        """Number of equalities."""
        return self.b.shape[-1]

    @property
    def batch_shape(self) -> torch.Size:
        """Leading axes after broadcasting."""
        # Asked for several times in a call; torch.compile does not know the lock of functools.cached_property.
        compiling = torch.compiler.is_compiling()
        known = None if compiling else self.__dict__.get("_batch_shape")
        if known is None:
            Q, G, A = self.Q.shape[:-2], self.G.shape[:-2], self.A.shape[:-2]
            q, h, b = self.q.shape[:-1], self.h.shape[:-1], self.b.shape[:-1]
            alike = q == Q == G == h == A == b
            known = q if alike else broadcast([q, Q, G, h, A, b])
            if not compiling:
                self.__dict__["_batch_shape"], self.__dict__["_alike"] = known, alike
        return known

    def flatten(self) -> QP:
        """One batch axis: vectors become ``(B, ·)``; a matrix stays 2-D if shared, else ``(B, ·, ·)``.

        Q is symmetrised here, once: what is solved is ½zᵀ½(Q + Qᵀ)z, the same function.
        """
        return self.flat_view().symmetric()

    def symmetric(self) -> QP:
        """The same problem with ½(Q + Qᵀ)."""
        return QP(0.5 * (self.Q + self.Q.mT), self.q, self.G, self.h, self.A, self.b)

    def flat_view(self) -> QP:
        """As :meth:`flatten`, with Q as it is: nothing is copied when there is one batch axis already."""
        batch = self.batch_shape
        if len(batch) == 1 and all(
            t.dim() > k and t.shape[0] == batch[0] for t, k in zip(self.tensors, AXES.values(), strict=True)
        ):
            return self
        flat: list[Tensor] = []
        for tensor, axes in zip(self.tensors, AXES.values(), strict=True):
            core = tensor.shape[tensor.dim() - axes :]
            if axes == 2 and prod(tensor.shape[: tensor.dim() - 2]) == 1 and prod(batch) > 0:
                flat.append(tensor.reshape(core))
            else:
                flat.append(tensor.expand(*batch, *core).reshape(prod(batch), *core))
        return QP(*flat)

    def core_view(self) -> QP:
        """As :meth:`flat_view` for the compiled core, which takes shared vectors and a problem without a batch."""
        batch = self.batch_shape
        if not batch or (len(batch) == 1 and self.__dict__.get("_alike")):
            return self
        if len(batch) == 1:
            size = batch[0]
            matrices = [M.dim() == 2 or M.shape[0] == size for M in (self.Q, self.G, self.A)]
            vectors = [v.dim() == 1 or v.shape[0] == size for v in (self.q, self.h, self.b)]
            if all(matrices) and all(vectors):
                return self
        return self.flat_view()

    def chunks(self) -> list[slice]:
        """Slices of the batch whose matrices fit a cache, on a CPU; one slice on other devices."""
        return chunks(self.q, self.n * (self.n + self.m + self.p))


def make_qp(
    Q: Tensor, q: Tensor, G: Tensor | None, h: Tensor | None, A: Tensor | None, b: Tensor | None
) -> QP:
    """Check shapes, dtypes and devices, and fill absent constraints with zero rows; sparse matrices stay sparse.

    Raises
    ------
    ProblemError
        Naming the argument, what was expected and what was found.
    """
    refuse_tracing()
    full: dict[str, Tensor]
    if G is None or h is None or A is None or b is None or Q is None or q is None:  # pyright: ignore[reportUnnecessaryComparison]
        full = _present({"Q": Q, "q": q, "G": G, "h": h, "A": A, "b": b})
    else:
        full = {"Q": Q, "q": q, "G": G, "h": h, "A": A, "b": b}
    if not _alike(full):
        full = _promoted(full)
        q = full["q"]
    n = q.shape[-1]
    for left, right in (("G", "h"), ("A", "b")):
        if left not in full:
            full[left], full[right] = q.new_zeros(0, n), q.new_zeros(0)
    _check_shapes(full, n)
    problem = QP(full["Q"], full["q"], full["G"], full["h"], full["A"], full["b"])
    try:
        _ = problem.batch_shape  # kept: it is asked for again
    except RuntimeError as error:
        listed = ", ".join(f"{k}: {tuple(v.shape[: v.dim() - AXES[k]])}" for k, v in full.items())
        raise ProblemError(
            f"the leading batch axes do not broadcast together; found {listed}. Give all the same ones, and leave "
            "them out, or make them 1, where a tensor is shared"
        ) from error
    return problem


def _present(given: dict[str, Tensor | None]) -> dict[str, Tensor]:
    """The arguments that were given, if those that belong together were."""
    for name in ("Q", "q"):
        if given[name] is None:
            raise ProblemError(f"{name} is required: expected a tensor, found None")
    for left, right in (("G", "h"), ("A", "b")):
        if (given[left] is None) != (given[right] is None):
            missing, present = (left, right) if given[left] is None else (right, left)
            raise ProblemError(
                f"{missing} is missing: {present} was given without it; pass both or neither of {left}, {right}"
            )
    return {name: value for name, value in given.items() if value is not None}


def _alike(tensors: dict[str, Tensor]) -> bool:
    """Whether these are dense tensors of one dtype on one device with enough axes: asked at every call, so briefly."""
    q = tensors["q"]
    if type(q) not in PLAIN or q.is_meta or q.dtype not in FLOATING:
        return False
    dtype, device = q.dtype, q.device
    try:
        for name, t in tensors.items():
            if (
                type(t) not in PLAIN
                or t.dtype != dtype
                or t.layout is not torch.strided
                or t.is_nested
                or t.device != device
                or t.dim() < AXES[name]
            ):
                return False
    except ValueError:  # a lazy parameter has no axes yet
        return False
    return True


def _promoted(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Say what is wrong with tensors that are not alike; where it is the dtype alone, bring them to the common one."""
    for name, value in tensors.items():
        if why := refusal_of_tensor(name, value, sparse=AXES[name] == 2):
            raise ProblemError(f"{name} must {why}")
        if value.dim() < AXES[name]:
            core = "(rows, n)" if AXES[name] == 2 else "(rows,)"
            raise ProblemError(
                f"{name} must have shape batch + {core}, so at least {AXES[name]} axes; found {tuple(value.shape)}"
            )
    devices = {name: tensor.device for name, tensor in tensors.items()}
    if len(set(devices.values())) > 1:
        listed = ", ".join(f"{name}: {value}" for name, value in devices.items())
        raise ProblemError(
            f"all arguments must share one device; found {listed}. Call .to(q.device), {devices['q']}, on each"
        )
    common = common_dtype(tensors.values())
    # torch has no rule for what it does not change, where that is sparse and a transform is around it
    return {name: t if t.dtype == common else t.to(common) for name, t in tensors.items()}


def common_dtype(tensors: Iterable[Tensor]) -> torch.dtype:
    """The dtype of an operation on all of them, by torch's promotion."""
    return reduce(torch.promote_types, (tensor.dtype for tensor in tensors))


def _check_shapes(t: dict[str, Tensor], n: int) -> None:
    if n == 0:
        raise ProblemError("q must have at least one variable in its last axis; found 0")
    m, p = t["h"].shape[-1], t["b"].shape[-1]
    for name, rows, origin, source in (("Q", n, "n", ""), ("G", m, "m", "h"), ("A", p, "p", "b")):
        shape = t[name].shape
        if shape[-1] != n or shape[-2] != rows:
            sizes = f"n = {n} from q" + (f", rows = {rows} from {source}" if source else "")
            raise ProblemError(
                f"{name} must end in ({origin}, n) = {(rows, n)} ({sizes}); found shape {tuple(shape)}"
                f"{_other_shape(t, name, source or 'q')}"
            )


def _other_shape(t: dict[str, Tensor], name: str, vector: str) -> str:
    """Which tensor would fit in another shape: a column for a vector, or a transposed matrix."""
    rows, columns = t[name].shape[-2:]
    of_vector = t[vector].shape
    if of_vector[-1] == 1 and len(of_vector) > 1 and of_vector[-2] == rows:
        return f"; {vector} looks like a column: pass {vector}.squeeze(-1)"
    if (columns, rows) == (t["h" if name == "G" else "b"].shape[-1], t["q"].shape[-1]):
        return f"; pass {name}.mT"
    return ""


def check_values(problem: QP, precision: float) -> None:
    """Refuse data that are not finite, and Q that is not symmetric positive semidefinite.

    Parameters
    ----------
    problem : QP
        Before :meth:`QP.flatten`, because that symmetrises Q.
    precision : float
        Machine epsilon of the dtype in which the caller formed Q.

    Raises
    ------
    ProblemError
        Naming the argument and the first offending batch element.
    """
    for name, tensor, axes in zip(AXES, problem.tensors, AXES.values(), strict=True):
        bad = ~torch.isfinite(tensor)
        if bad.any():
            where = first_of(bad.flatten(tensor.dim() - axes).any(-1))
            raise ProblemError(
                f"{name} must be finite; found NaN or infinity{where}; {_instead_of(name, tensor)}"
            )
    check_curvature(problem.Q, precision)


def _instead_of(name: str, tensor: Tensor) -> str:
    """What to pass in the place of numbers that are not finite."""
    if name == "h" and not tensor.isnan().any() and not tensor.isneginf().any():
        return (
            "a bound of infinity does not bind: leave out its row of G and h, or, where another element of the batch "
            f"has a bound there, pass a number that z cannot reach, h.clamp(max={_far(tensor):g})"
        )
    return f"leave that element out, or give it other numbers before the call, as {name}.nan_to_num(0.0, 0.0, 0.0)"


def _far(h: Tensor) -> float:
    """A bound far from the others: a million times the largest of them, rounded up to a power of ten."""
    largest = torch.where(torch.isfinite(h), h, 1.0).abs().max().clamp(min=1.0).item()
    return 10.0 ** (6 + ceil(log10(largest)))
