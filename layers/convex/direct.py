"""The short way through a program with linear constraints: from parameters to variables in one function.

:mod:`layers.convex.quadratic` writes canonicalisation, solve and retrieval as functions of torch, so that everything
can be differentiated and transformed. For a small program that bookkeeping takes longer than the solve. Where tensors
are plain, the compiled core solves every element, and one first derivative is asked for, the same formulas are applied
here at once; otherwise the long way is taken, and a derivative of the derivative is that of the long way.

With d = (d_z, d_λ, d_ν) of :mod:`layers.autograd`, and Q + MᵀDM and q − MᵀDf in place of Q and q
(:mod:`layers.canonical.quadratic`), the gradients of M, f and D need no matrix of the size of Q:

    M̄ = D (M d_z) zᵀ + D (Mz − f) d_zᵀ,   f̄ = −D M d_z,   D̄ = (M d_z) ∘ (Mz − f).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from layers import compiled
from layers.adjoints import implicit
from layers.canonical import Assembly, QuadraticForm, Retriever, flattened, gathered, shaped
from layers.convex.options import Options
from layers.convex.quadratic import condensed, solve_quadratic
from layers.linalg import mv
from layers.problem import QP, curvature_rounding

#: engines that are the compiled core, where it can be used
CORE = ("auto", "native")
#: pieces of :class:`layers.canonical.QuadraticForm` that the core computes: u, ν and λ
COMPUTED = 3
EPSILON = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Route:
    """How a program is solved, whatever its parameters.

    Attributes
    ----------
    form : QuadraticForm
    shapes : sequence of tuple
        Of the sources of θ, without batch axes.
    assembly : Assembly
    retriever : Retriever
    options : Options
    """

    form: QuadraticForm
    shapes: Sequence[tuple[int, ...]]
    assembly: Assembly
    retriever: Retriever
    options: Options

    def blocks(self, values: Sequence[Tensor], batch: torch.Size) -> dict[str, Tensor]:
        """The data, with one batch axis or none."""
        theta = [flattened(v, shape, batch) for v, shape in zip(values, self.shapes, strict=True)]
        return self.assembly(theta, (batch.numel(),))

    def long_way(self, values: Sequence[Tensor], batch: torch.Size) -> list[Tensor]:
        """The variables, by functions that torch differentiates."""
        answer = solve_quadratic(self.form, self.blocks(values, batch), self.options, None)
        return self.shaped(self.retriever.gather([answer.pieces[i]() for i in self.retriever.used]), batch)

    def shaped(self, entries: Tensor, batch: torch.Size) -> list[Tensor]:
        """The variables from their entries; repeated over the batch where they do not depend on it."""
        parts = zip(self.retriever.split(entries), self.retriever.shapes, strict=True)
        return [shaped(part, batch, shape) for part, shape in parts]


@dataclass(frozen=True)
class _Solved:
    """A solved batch, flat, and what its derivative needs."""

    route: Route
    batch: torch.Size
    blocks: Mapping[str, Tensor]
    problem: QP
    raw: compiled.Raw

    @property
    def pieces(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.raw.z, self.raw.nu, self.raw.lam

    def variables(self) -> list[Tensor]:
        entries = self.route.retriever.gather([self.pieces[i] for i in self.route.retriever.used])
        # What is returned is the caller's, to be changed at will: no view of what is kept here.
        return [variable.clone() for variable in self.route.shaped(entries, self.batch)]

    def pull_back(
        self, bars: Sequence[Tensor], values: Sequence[Tensor], needed: Sequence[bool]
    ) -> list[Tensor | None]:
        """Gradients of the values of the parameters from those of the variables."""
        retriever, assembly = self.route.retriever, self.route.assembly
        flat_bars = [bar.reshape(self.batch.numel(), -1) for bar in bars]
        whole = flat_bars[0] if len(flat_bars) == 1 else torch.cat(flat_bars, -1)
        pieces, used = self.pieces, retriever.used
        parts = dict(
            zip(used, retriever.pull_back(whole.neg(), [pieces[i].shape[-1] for i in used]), strict=True)
        )
        r = [parts[i] if i in parts else torch.zeros_like(piece) for i, piece in enumerate(pieces)]
        given = self.problem
        flat = QP(given.Q, r[0], given.G, r[2], given.A, r[1])
        direction, _, largest = compiled.solve_linearised(flat, self.raw.kind, self.raw.status)
        if not largest <= implicit.SOLVE_TOLERANCE:
            solved = torch.ones_like(self.raw.status, dtype=torch.bool)
            direction = implicit.solve_accurately(flat, self.raw.kind, solved, transpose=True)
        sizes = zip(values, assembly.widths, strict=True)
        batched = tuple([value.numel() != width for value, width in sizes])
        found = assembly.pull_back(batched, needed, whole.device, self._cotangent(*direction))
        return [
            None if gradient is None else gathered(gradient, value, shape, self.batch)
            for gradient, value, shape in zip(found, values, self.route.shapes, strict=True)
        ]

    def _cotangent(self, d_z: Tensor, d_lam: Tensor, d_nu: Tensor) -> Callable[[str, bool], Tensor]:
        z, nu, lam = self.pieces
        M, f, D = self.blocks["M"], self.blocks["f"], self.blocks.get("D")
        moved, off = mv(M, d_z), mv(M, z) - f
        moved_D, off_D = (moved, off) if D is None else (D * moved, D * off)
        vectors: dict[str, Callable[[], Tensor]] = {
            "q": lambda: d_z,
            "h": lambda: -d_lam,
            "b": lambda: -d_nu,
            "f": lambda: -moved_D,
            "D": lambda: moved * off,
        }
        matrices: dict[str, tuple[Tensor, Tensor, Tensor, Tensor, float]] = {
            "Q": (d_z, z, z, d_z, 0.5),
            "G": (lam, d_z, d_lam, z, 1.0),
            "A": (nu, d_z, d_nu, z, 1.0),
            "M": (moved_D, z, off_D, d_z, 1.0),
        }

        # What is summed over one element needs no sum.
        alone = d_z.shape[0] == 1

        def cotangent(name: str, batched: bool) -> Tensor:
            if name in vectors:
                value = vectors[name]()
                return value if batched or alone else value.sum(0)
            if name in matrices:
                u, v, w, x, scale = matrices[name]
                if batched or alone:
                    return compiled.outer_pair(u, v, w, x, scale)
                return scale * (u.mT @ v + w.mT @ x)
            # The offset of the objective moves no solution.
            return d_z.new_zeros((d_z.shape[0],) if batched else ())

        return cotangent


class _Direct(torch.autograd.Function):
    """(solved, *values) -> variables; the solve is done, its derivative is attached."""

    @staticmethod
    def forward(ctx: Any, solved: _Solved, *values: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.solved = solved
        ctx.save_for_backward(*values)
        return tuple(solved.variables())

    @staticmethod
    def backward(ctx: Any, *bars: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        values, needed = ctx.saved_tensors, ctx.needs_input_grad[1:]
        solved: _Solved = ctx.solved
        again = torch.is_grad_enabled()
        if not again and _plain(bars):
            return (None, *solved.pull_back(bars, values, needed))
        with torch.enable_grad():
            variables = solved.route.long_way(values, solved.batch)
            wanted = [t for t, need in zip(values, needed, strict=True) if need]
            found = torch.autograd.grad(variables, wanted, bars, create_graph=again, allow_unused=True)
        following = iter(found)
        return (None, *(next(following) if need else None for need in needed))


def solve_directly(route: Route, values: Sequence[Tensor], batch: torch.Size) -> Sequence[Tensor] | None:
    """The variables, shapes ``batch + shape``; None where the long way has to be taken.

    It is taken for engines other than the core, for an element that the core does not solve or judge beyond doubt,
    under transforms, for tensors on other devices, and where variables that were taken out are asked for.

    Parameters
    ----------
    values : sequence of Tensor, float64
        Of the sources of θ, before they are made flat.
    """
    options, used, count = route.options, route.retriever.used, batch.numel()
    if options.solver not in CORE or not count or not used or used[-1] >= COMPUTED or not _plain(values):
        return None
    with torch.no_grad():
        blocks = route.blocks(values, batch)
        Q, q = condensed(blocks)
        problem = QP(Q, q, blocks["G"], blocks["h"], blocks["A"], blocks["b"])
        if compiled.refusal(problem):
            return None
        raw = compiled.solve(
            problem, count, options.tol, curvature_rounding(problem.n, EPSILON), options.max_iterations, None
        )
        if not raw.settled:
            return None
    solved = _Solved(route, batch, blocks, problem, raw)
    if torch.is_grad_enabled() and any(t.requires_grad for t in values):
        return _Direct.apply(solved, *values)
    return solved.variables()


def _plain(tensors: Sequence[Tensor]) -> bool:
    """Whether these are numbers on the CPU, with no transform and no forward derivative around them."""
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:  # pyright: ignore[reportPrivateUsage]
        return False
    return compiled.suits(*tensors)
