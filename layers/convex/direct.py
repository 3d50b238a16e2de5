"""The short way through a program with linear constraints: from parameters to variables in one call of the core.

:mod:`layers.convex.quadratic` writes canonicalisation, solve and retrieval as functions of torch, so that everything
can be differentiated and transformed. For a small program that bookkeeping takes longer than the solve. Where tensors
are plain, the compiled core solves every element, and one first derivative is asked for, the core goes all the way
(``csrc/qp/program.cpp``), and back by the same formulas; otherwise the long way is taken, and a derivative of the
derivative is that of the long way.

With K (d_z, d_λ, d_ν) = −(z̄, λ̄, ν̄) of :mod:`layers.qp.function`, and Q + MᵀDM and q − MᵀDf in place of Q and q
(:mod:`layers.convex.canonical.quadratic`), the gradients of M, f and D need no matrix of the size of Q:

    M̄ = D (M d_z) zᵀ + D (Mz − f) d_zᵀ,   f̄ = −D M d_z,   D̄ = (M d_z) ∘ (Mz − f).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from layers.convex.canonical import Assembly, QuadraticForm, Retriever, flattened, shaped
from layers.convex.canonical.assembly import Block
from layers.convex.options import Options
from layers.convex.quadratic import solve_quadratic
from layers.linalg.semidefinite import curvature_rounding
from layers.native import qp as native
from layers.native.constants import PARTS
from layers.qp.adjoints import implicit, named
from layers.qp.dispatch import takes_plain
from layers.qp.plain import attach

#: pieces of :class:`layers.convex.canonical.QuadraticForm` that the core computes: u, ν and λ
COMPUTED = 3


@dataclass
class Route:
    """How a program is solved, whatever its parameters.

    Attributes
    ----------
    form : QuadraticForm
    shapes : sequence of tuple
        Of the sources of θ, without batch axes.
    assembly : Assembly
    retriever : Retriever
    """

    form: QuadraticForm
    shapes: Sequence[tuple[int, ...]]
    assembly: Assembly
    retriever: Retriever
    _family: Any = field(default=None, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        # What the core holds stays with the process; a copy makes its own.
        return self.__dict__ | {"_family": None}

    @cached_property
    def size(self) -> tuple[int, int, int]:
        """Numbers of variables, inequalities and equalities of the quadratic program."""
        return self.form.u.size, self.form.inequalities.size, self.form.equalities.size

    @cached_property
    def takes(self) -> bool:
        """Whether the core has a variable to solve for, computes all that is asked for, and holds such a program."""
        used = self.retriever.used
        return bool(self.shapes and used) and used[-1] < COMPUTED and self.size[0] > 0

    def family(self) -> Any:
        """The program in the core."""
        if self._family is None:
            n, m, p = self.size
            blocks, widths = self.form.blocks, list(self.assembly.widths)
            parts = [_part(blocks[name], widths) for name in PARTS if name in blocks]
            picks = self.retriever.picks((n, p, m))
            self._family = native.family((n, m, p, self.form.w.size), widths, parts, picks)
        return self._family

    def transformable(self, values: Sequence[Tensor], options: Options, batch: torch.Size) -> list[Tensor]:
        """The variables, by functions that torch differentiates."""
        theta = [flattened(v, shape, batch) for v, shape in zip(values, self.shapes, strict=True)]
        blocks = self.assembly(theta, (batch.numel(),))
        answer = solve_quadratic(self.form, blocks, options, None)
        parts = zip(self.retriever(answer.pieces), self.retriever.shapes, strict=True)
        return [shaped(part, batch, shape) for part, shape in parts]


@dataclass(frozen=True)
class _Solved:
    """A solved batch of the family (:class:`layers.qp.plain.Solved`).

    `repeated` are the values that some of the batch axes repeat: they went in as often as these axes say.
    """

    route: Route
    options: Options
    batch: torch.Size
    solved: Any
    repeated: list[int]

    def pull_back(
        self, bars: Sequence[Tensor | None], needed: Sequence[bool], values: Sequence[Tensor]
    ) -> Sequence[Tensor | None] | None:
        """See :class:`layers.qp.plain.Solved`."""
        shapes: list[Sequence[int]] = [value.shape for value in values]
        for k in self.repeated:
            shapes[k] = (*self.batch, *self.route.shapes[k])
        found = native.pull_back_family(
            self.solved, self.route.size, bars, self.batch.numel(), needed, shapes, implicit.SOLVE_TOLERANCE
        )
        if found is None or not self.repeated:
            return found
        gradients = list(found)
        for k in self.repeated:
            gradient = gradients[k]
            gradients[k] = None if gradient is None else gradient.sum_to_size(values[k].shape)
        return gradients

    def transformable(self, *values: Tensor) -> list[Tensor]:
        """See :class:`layers.qp.plain.Solved`."""
        return self.route.transformable(values, self.options, self.batch)


def solve_directly(
    route: Route, options: Options, values: Sequence[Tensor], batch: torch.Size
) -> Sequence[Tensor] | None:
    """The variables, shapes ``batch + shape``; None where the long way has to be taken.

    It is taken for engines other than the core, for an element that the core does not solve or judge beyond doubt,
    under transforms, for tensors on other devices, and where variables that were taken out are asked for.

    Parameters
    ----------
    values : sequence of Tensor, float64
        Of the sources of θ, before they are made flat.
    """
    count = batch.numel()
    if (
        not count
        or not route.takes
        or not takes_plain(values, options.solver, named(options.adjoint), route.size)
    ):
        return None
    given, repeated = values, [
        k for k, (v, width) in enumerate(zip(values, route.assembly.widths, strict=True))
        if v.numel() != width and v.numel() != width * count
    ]  # fmt: skip
    if repeated:
        given = [v.expand((*batch, *route.shapes[k])) if k in repeated else v for k, v in enumerate(values)]
    shapes = [(*batch, *shape) for shape in route.retriever.shapes]
    rounding = curvature_rounding(route.size[0], options.precision)
    found = native.solve_family(
        route.family(), route.size, given, shapes, count, options.tol, rounding, options.max_iterations
    )
    if found is None:
        return None
    variables, solved = found
    return attach(_Solved(route, options, batch, solved, repeated), variables, values)


def _part(block: Block, widths: Sequence[int]) -> tuple[Any, ...]:
    """A block as the core takes it."""
    rows, columns = block.shape if len(block.shape) == 2 else (*block.shape, 1)
    starts = np.cumsum([0, *widths])
    source = np.searchsorted(starts, block.map.columns, side="right") - 1
    entries = []
    for k in np.unique(source).tolist():
        own = source == k
        row = block.map.rows[own]
        entries.append(
            (k, row // columns, row % columns, block.map.columns[own] - starts[k], block.map.weights[own])
        )
    return rows, columns, np.asarray(block.map.constant, dtype=np.float64), entries
