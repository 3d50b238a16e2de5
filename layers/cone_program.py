"""The cone program as a value: structure that does not depend on parameters, and the numbers that do.

minimise ½xᵀPx + qᵀx subject to Ax + s = b, s ∈ K; its dual variable y ∈ K* satisfies Px + q + Aᵀy = 0, sᵀy = 0.
This is the dialect of CVXPY, Clarabel and diffcp (Agrawal et al. 2019, arXiv 1904.09043, eq. 1, with a quadratic term).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from layers.errors import ProblemError
from layers.linalg import memory
from layers.linalg.batched import Batched
from layers.linalg.fill import entries_in_band, entries_of_factor
from layers.linalg.sparse_saddle import multiplications
from layers.modes.kept import lasting
from layers.solution import Residuals

Indices = NDArray[np.int64]

#: most multiplications of a factorisation for which dense matrices are taken unseen, and what a multiplication among
#: sparse entries costs in dense ones: measured
LARGE, SPARSE_COST = 3e8, 10.0
#: what reading an entry of a dense matrix costs the core, in multiplications: measured, 1,000 to 3,000 variables
READ = 100.0
#: what an entry of a sparse factor takes while two are held, that of the engine and ours, each a number and a place
BYTES = 32
#: a shared matrix with an entry in so many places, or more of them, is multiplied as a whole
FULL = 20


@dataclass(frozen=True)
class Cones:
    """K = {0}ᶻ × R₊ⁿ × second-order × semidefinite × exponential × power cones, in this order of rows.

    Attributes
    ----------
    zero, nonneg : int
        Numbers of rows.
    soc : tuple of int
        Number of rows of each {(t, u) : ‖u‖ ≤ t}.
    psd : tuple of int
        Order k of each semidefinite cone of k(k+1)/2 rows: the upper triangle by columns, √2 off the diagonal.
    exp : int
        Number of blocks of three rows, cl{(x, y, z) : y > 0, y exp(x/y) ≤ z}.
    power : tuple of float
        Exponent α of each block of three rows, {(x, y, z) : x^α y^(1−α) ≥ |z|, x, y ≥ 0}.
    """

    zero: int = 0
    nonneg: int = 0
    soc: tuple[int, ...] = ()
    psd: tuple[int, ...] = ()
    exp: int = 0
    power: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        counts = {"zero": self.zero, "nonneg": self.nonneg, "exp": self.exp}
        for name, count in counts.items():
            if count < 0:
                raise ProblemError(
                    f"cones.{name} must be a number of rows or blocks, at least 0; found {count}"
                )
        for name, sizes in (("soc", self.soc), ("psd", self.psd)):
            if any(size < 1 for size in sizes):
                raise ProblemError(f"every size in cones.{name} must be at least 1; found {sizes}")
        if any(not 0 < a < 1 for a in self.power):
            raise ProblemError(
                f"every exponent in cones.power must lie strictly between 0 and 1; found {self.power}"
            )

    @property
    def rows(self) -> int:
        """Number of rows of A."""
        triangles = sum(k * (k + 1) // 2 for k in self.psd)
        return self.zero + self.nonneg + sum(self.soc) + triangles + 3 * (self.exp + len(self.power))

    @property
    def linear(self) -> bool:
        """Whether K is polyhedral by its description: zero and nonnegative rows only."""
        return not (self.soc or self.psd or self.exp or self.power)


@dataclass(frozen=True, eq=False)
class ConeStructure:
    """What a family of cone programs has in common.

    Attributes
    ----------
    n, m : int
        Numbers of variables and of rows.
    cones : Cones
    P_rows, P_cols : array of int64, shape ``(nnz_P,)``
        Pattern of the full symmetric P, sorted by column, then row, without duplicates.
    A_rows, A_cols : array of int64, shape ``(nnz_A,)``
        Pattern of A, sorted likewise.
    """

    n: int
    m: int
    cones: Cones
    P_rows: Indices
    P_cols: Indices
    A_rows: Indices
    A_cols: Indices

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ProblemError(f"n must be at least 1; found {self.n}")
        if self.cones.rows != self.m:
            raise ProblemError(f"the cones have {self.cones.rows} rows, but m = {self.m}: {self.cones}")
        for name, rows, cols, height in (
            ("P", self.P_rows, self.P_cols, self.n),
            ("A", self.A_rows, self.A_cols, self.m),
        ):
            if rows.shape != cols.shape:
                raise ProblemError(
                    f"{name}_rows and {name}_cols must have one length; found {rows.size} and {cols.size}"
                )
            inside = (rows >= 0) & (rows < height) & (cols >= 0) & (cols < self.n)
            if not inside.all():
                raise ProblemError(f"the pattern of {name} leaves its shape {(height, self.n)}")
            if (np.diff(cols * max(height, 1) + rows) <= 0).any():
                raise ProblemError(
                    f"the pattern of {name} must be sorted by column, then row, without duplicates"
                )
        mirrored = np.sort(self.P_rows * self.n + self.P_cols)
        if not np.array_equal(mirrored, self.P_cols * self.n + self.P_rows):
            raise ProblemError("the pattern of P must be symmetric: give both triangles")

    @cached_property
    def P_mirror(self) -> Indices:
        """Index of the entry (j, i) of P for each entry (i, j)."""
        return np.argsort(self.P_rows * self.n + self.P_cols, kind="stable")

    @cached_property
    def places(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """P_rows, P_cols, A_rows and A_cols as tensors on the CPU, sharing their memory."""
        with lasting():
            return (
                torch.from_numpy(self.P_rows),
                torch.from_numpy(self.P_cols),
                torch.from_numpy(self.A_rows),
                torch.from_numpy(self.A_cols),
            )

    @cached_property
    def sparse_work(self) -> float:
        """Multiplications of a sparse factorisation of [P Aᵀ; A −E].

        Raises
        ------
        ProblemError
            If its factor has more entries than there is memory for.
        """
        P = sp.coo_array((np.ones(self.P_rows.size), (self.P_rows, self.P_cols)), shape=(self.n, self.n))
        A = sp.coo_array((np.ones(self.A_rows.size), (self.A_rows, self.A_cols)), shape=(self.m, self.n))
        size = self.n + self.m
        if BYTES * size * (size - 1) / 2 > memory.available_bytes():
            pattern = sp.block_array([[P, A.T], [A, None]])
            if BYTES * entries_in_band(pattern) > memory.available_bytes():
                memory.require_memory(
                    BYTES * entries_of_factor(pattern),
                    f"the factor of the sparse conditions of optimality, {size} equations,",
                    "make the pattern sparser, or split the program",
                )
        return multiplications(P, A)

    def sparse_pays(self, dense: float) -> bool:
        """Whether sparse factorisations are counted cheaper than dense ones of so many multiplications."""
        return dense > LARGE and dense > SPARSE_COST * self.sparse_work

    def core_work(self, taken_out: int = 0) -> float:
        """Multiplications of a factorisation of the core, which takes bounds and a diagonal objective out.

        Of linear rows, without ``taken_out`` variables and as many equalities that define them. What is taken out was
        read from dense matrices all the same.
        """
        n, m, p = self.n - taken_out, self.cones.nonneg, self.cones.zero - taken_out
        dense = dense_work(n, m, p)
        single = np.bincount(self.A_rows, minlength=self.m)[self.cones.zero :] <= 1
        everywhere = np.arange(self.n)
        if (
            single.all()
            and np.array_equal(self.P_rows, everywhere)
            and np.array_equal(self.P_cols, everywhere)
        ):
            dense = min(dense, dense_work(p, 0, 0) + n * p * p / 2 + READ * (n + m) * n)
        return dense

    @cached_property
    def P_by_rows(self) -> tuple[Indices, Indices, Indices]:
        """Row offsets, columns, and place in our order of the entries of P by rows (CSR)."""
        return _by(self.P_rows, self.P_cols, self.n, self.n)

    @cached_property
    def A_by_rows(self) -> tuple[Indices, Indices, Indices]:
        """The same for A."""
        return _by(self.A_rows, self.A_cols, self.m, self.n)


def dense_work(n: int, m: int, p: int) -> float:
    """Multiplications of a dense factorisation for n variables, m inequalities and p equalities."""
    return n * n * (m / 2 + n / 6) + p * (n * n + n * p / 2 + p * p / 6)


def _by(major: Indices, minor: Indices, height: int, width: int) -> tuple[Indices, Indices, Indices]:
    order = np.argsort(major * width + minor, kind="stable")
    return np.concatenate([[0], np.cumsum(np.bincount(major, minlength=height))]), minor[order], order


@dataclass(frozen=True)
class ConeProgram(Batched):
    """A batch of programs of one structure.

    Attributes
    ----------
    structure : ConeStructure
    P, A : Tensor, float64, shapes ``(B, nnz_P)`` and ``(B, nnz_A)``, or without ``B`` when shared over the batch
        Values on the patterns of the structure.
    q, b : Tensor, float64, shapes ``(B, n)`` and ``(B, m)``
    """

    SHARED: ClassVar[Mapping[str, int]] = {"P": 1, "A": 1}

    structure: ConeStructure
    P: Tensor
    q: Tensor
    A: Tensor
    b: Tensor

    def __post_init__(self) -> None:
        s = self.structure
        sizes = {"P": s.P_rows.size, "q": s.n, "A": s.A_rows.size, "b": s.m}
        batch = self.q.shape[0] if self.q.dim() == 2 else -1
        for name, size in sizes.items():
            value: Tensor = getattr(self, name)
            shared = name in "PA" and tuple(value.shape) == (size,)
            if tuple(value.shape) != (batch, size) and not shared:
                form = f"(B, {size})" + (f" or ({size},)" if name in "PA" else "")
                raise ProblemError(
                    f"{name} must have shape {form}, with B from q; found {tuple(value.shape)}"
                )
            if value.dtype != torch.float64:
                raise ProblemError(f"{name} must be float64; found {value.dtype}")

    @property
    def data(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """P, q, A, b."""
        return self.P, self.q, self.A, self.b

    @property
    def batch(self) -> int:
        """Number of programs."""
        return self.q.shape[0]

    @cached_property
    def whole(self) -> tuple[Tensor | None, Tensor | None]:
        """½(P + Pᵀ) and A with their zeros where they are shared and so full that products are faster; None if not."""
        s = self.structure
        P = _filled(self.P, s.P_rows, s.P_cols, (s.n, s.n))
        A = _filled(self.A, s.A_rows, s.A_cols, (s.m, s.n))
        return None if P is None else 0.5 * (P + P.mT), A


def _filled(values: Tensor, rows: Indices, cols: Indices, shape: tuple[int, int]) -> Tensor | None:
    """A shared matrix with its zeros, if it has not too many."""
    if values.dim() > 1 or values.numel() * FULL < shape[0] * shape[1]:
        return None
    place = torch.from_numpy(rows * shape[1] + cols).to(values.device)
    return values.new_zeros(shape[0] * shape[1]).index_copy(0, place, values).reshape(shape)


def batch_shape(*values: Tensor) -> torch.Size:
    """Leading axes of values and vectors after broadcasting."""
    shapes = {v.shape[:-1] for v in values} - {torch.Size()}
    return shapes.pop() if len(shapes) == 1 else torch.broadcast_shapes(*shapes)


def flat_program(
    structure: ConeStructure, P: Tensor, q: Tensor, A: Tensor, b: Tensor
) -> tuple[ConeProgram, torch.Size]:
    """One batch axis in place of several; matrices with a single element there stay shared."""
    batch = batch_shape(P, q, A, b)
    P, A = (
        v.reshape(-1)
        if v.shape[:-1].numel() == 1
        else v.expand(*batch, -1).reshape(batch.numel(), v.shape[-1])
        for v in (P, A)
    )
    q, b = (v.expand(*batch, -1).reshape(batch.numel(), v.shape[-1]) for v in (q, b))
    return ConeProgram(structure, P, q, A, b), batch


@dataclass(frozen=True)
class ConeSolution:
    """Solution of a batch of cone programs.

    Attributes
    ----------
    x, y, s : Tensor, shapes ``(B, n)``, ``(B, m)``, ``(B, m)``
        Minimiser, dual variable and slack; differentiable, as is the next.
    objective : Tensor, shape ``(B,)``
        ½xᵀPx + qᵀx.
    status : Tensor of int64, shape ``(B,)``
        A :class:`layers.solution.Status` per element.
    residuals : Residuals
        Relative residuals on the data passed in (:func:`layers.cone.kkt.residuals`).
    iterations : Tensor of int64, shape ``(B,)``
        Iterations of the engine that gave the answer.
    """

    x: Tensor
    y: Tensor
    s: Tensor
    objective: Tensor
    status: Tensor
    residuals: Residuals
    iterations: Tensor
