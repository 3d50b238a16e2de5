"""The alternating direction method of multipliers in the splitting of OSQP (Stellato et al. 2020, algorithm 1).

With C = [G; A], the constraint set 𝒞 = {r : r_G ≤ h, r_A = b} and its projection Π, the program is min ½xᵀQx + qᵀx
subject to Cx = r, r ∈ 𝒞. The state is w = (x, v), from which r = Π(v) and the multipliers y = ρ(v − r) follow:

    (Q + σI + CᵀD(ρ)C) x̃ = σx − q + CᵀD(ρ)(2r − v),                                                          (1)
    x⁺ = x + α(x̃ − x),   v⁺ = v + α(Cx̃ − r).                                                                 (2)

A fixed point w = T(w) has Cx = r, x̃ = x and y = (λ, ν): it is a solution; and every solution is one, with
v = Cx + y/ρ. Everything here is plain torch without data-dependent branches inside a step, so that T, or many of it,
can be differentiated.

Steps are taken on the equilibrated problem, whose scales count as constants. ρ is D(1, …, 1, 10³, …) times a number for
each element, which is brought to where primal and dual residual fall alike, at steps 20, 40, 80, ….
Cost: n³/3 + n²(m + p) for each ρ, and n² + n(m + p) for a step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from layers.linalg.products import max_abs, mtv, mv, one_where_zero
from layers.problem import QP
from layers.qp.gradients import Triple
from layers.qp.kkt import Norms, relative_residual, residuals, slack, stationarity
from layers.qp.polish import polish
from layers.qp.scaling import ScaledQP, scale_problem
from layers.solution import Point, Residuals, Status

#: σ and α of (1) and (2), and how much more ρ is on equalities
SIGMA, ALPHA, EQUALITY = 1e-6, 1.6, 1e3
#: steps between two looks at the residuals; the first step at which ρ may change, by how much at least and at most
CHECK, FIRST, LEAST, MOST = 10, 20, 5.0, 1e3
#: relative residual of an iterate whose active rows are worth a factorisation, and that of an answer of the engine
ROUGH, DIGITS = 1e-2, 1e-12


@dataclass(frozen=True)
class Splitting:
    """The map T of an equilibrated flat problem, for one ρ.

    Attributes
    ----------
    problem : QP
    weight : Tensor, shape ``(B, 1)``
        ρ of the inequalities.
    C : Tensor, shape ``(B, m + p, n)``
    rho : Tensor, shape ``(B, m + p)``
        ρ of every row.
    inverse : Tensor, shape ``(B, n, n)``
        Of the matrix in (1).
    """

    problem: QP
    weight: Tensor
    C: Tensor
    rho: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, problem: QP, weight: Tensor) -> Splitting:
        """Factorise the matrix of (1)."""
        batch = len(problem.q)
        C = torch.cat([M.expand(batch, *M.shape[-2:]) for M in (problem.G, problem.A)], -2)
        rho = torch.cat([weight.expand(batch, problem.m), EQUALITY * weight.expand(batch, problem.p)], -1)
        eye = torch.eye(problem.n, dtype=C.dtype, device=C.device)
        M = problem.Q + SIGMA * eye + C.mT @ (rho.unsqueeze(-1) * C)
        return cls(problem, weight, C, rho, torch.cholesky_inverse(torch.linalg.cholesky(M)))

    def project(self, v: Tensor) -> Tensor:
        """Π(v)."""
        return torch.cat([torch.minimum(v[:, : self.problem.m], self.problem.h), self.problem.b], -1)

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """T(x, v)."""
        r = self.project(v)
        ahead = mv(self.inverse, SIGMA * x - self.problem.q + mtv(self.C, self.rho * (2 * r - v)))
        return x + ALPHA * (ahead - x), v + ALPHA * (mv(self.C, ahead) - r)

    def point(self, x: Tensor, v: Tensor) -> Triple:
        """(z, λ, ν) of a state."""
        y = self.rho * (v - self.project(v))
        return Triple(x, *y.split([self.problem.m, self.problem.p], -1))

    def state(self, point: Triple) -> tuple[Tensor, Tensor]:
        """The fixed point (x, v) of a solution."""
        return point.z, mv(self.C, point.z) + torch.cat([point.lam, point.nu], -1) / self.rho

    def balance(self, x: Tensor, v: Tensor) -> Tensor:
        """√(primal / dual residual), each relative to its terms: by how much ρ is too small; shape ``(B, 1)``."""
        z, lam, nu = self.point(x, v)
        Cx, r, Qx = mv(self.C, x), self.project(v), mv(self.problem.Q, x)
        Cy = mtv(self.C, torch.cat([lam, nu], -1))
        primal = max_abs(Cx - r) / one_where_zero(max_abs(Cx).maximum(max_abs(r)))
        terms = max_abs(Qx).maximum(max_abs(Cy)).maximum(max_abs(self.problem.q))
        dual = max_abs(stationarity(self.problem, z, lam, nu)) / one_where_zero(terms)
        ratio = (primal.clamp(min=1e-15) / dual.clamp(min=1e-15)).sqrt().clamp(1 / MOST, MOST)
        return torch.where((ratio > LEAST) | (ratio < 1 / LEAST), ratio, 1.0).unsqueeze(-1)


def solve(problem: QP, tol: float, k: int, rho: float) -> Point:
    """At most k steps from zero, until the residuals of the caller's own data are within ``tol``; not polished."""

    def arrived(at: Triple) -> Tensor:
        return residuals(problem, *at).within(tol)

    with torch.no_grad():
        found = iterate(problem, k, rho, arrived)
        status = torch.where(found.done, int(Status.OPTIMAL), int(Status.ITERATION_LIMIT))
        return Point.without_certificate(*found.point, status, residuals(problem, *found.point), found.count)


def solve_polished(problem: QP, tol: float, max_iterations: int) -> Point:
    """The engine: steps from zero until the equations of the active rows bring the iterate to its last digits.

    First-order steps find the active rows long before they find digits; :mod:`layers.qp.polish` finds the digits. What
    has not come to them says ITERATION_LIMIT, whatever ``tol``: an iterate that is near in norm may be far from a
    solution in its rows. There are no certificates here.

    Cost: the steps, and a factorisation of the active rows where an iterate within ``ROUGH`` is looked at.
    """
    norms, goal = Norms.of(problem), min(tol, DIGITS)

    def arrived(at: Triple) -> Tensor:
        rough = relative_residual(problem, *at, norms)
        done = torch.zeros_like(rough, dtype=torch.bool)
        near = (rough <= ROUGH).nonzero().squeeze(-1)
        if near.numel():
            error = _polished(problem.take(near), Triple(*(v[near] for v in at)))[1]
            done = done.index_copy(0, near, error.within(goal))
        return done

    with torch.no_grad():
        found = iterate(problem, max_iterations, 1.0, arrived)
        point, error = _polished(problem, found.point)
        status = torch.where(error.within(goal), int(Status.OPTIMAL), int(Status.ITERATION_LIMIT))
        return Point.without_certificate(*point, status, error, found.count)


def _polished(problem: QP, at: Triple) -> tuple[Triple, Residuals]:
    """A point by the rows that are active at it, and the residuals of what is returned."""
    z, lam, nu, _ = polish(problem, *at, active=at.lam > slack(problem, at.z))
    lam = lam.clamp(min=0)
    return Triple(z, lam, nu), residuals(problem, z, lam, nu)


@dataclass(frozen=True)
class Walk:
    """Where an iteration has come to.

    Attributes
    ----------
    point : Triple
        In the caller's units, with the graph of all steps where one is recorded.
    done, count : Tensor, shape ``(B,)``
        Which elements have arrived, and their numbers of steps.
    split : Splitting
        The last one.
    v : Tensor, shape ``(B, m + p)``
    """

    point: Triple
    done: Tensor
    count: Tensor
    split: Splitting
    v: Tensor


class Along(Protocol):
    """What is carried along the steps of an iteration."""

    def step(self, split: Splitting, v: Tensor, going: Tensor) -> None:
        """A step is taken from v, by the elements that are going, ``(B, 1)``."""
        ...

    def change(self, split: Splitting, v: Tensor, other: Splitting) -> None:
        """The splitting becomes another, with the same r and y."""
        ...


def iterate(
    problem: QP, k: int, rho: float, arrived: Callable[[Triple], Tensor], along: Along | None = None
) -> Walk:
    """At most k steps from zero; an element stops where it has arrived, which is asked every few steps."""
    with torch.no_grad():
        scaled = scale_problem(problem)
    split = Splitting.of(inside(scaled, problem), problem.q.new_full((len(problem.q), 1), rho))
    x, v = torch.zeros_like(problem.q), torch.zeros_like(split.rho)
    done = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    count, adapts = torch.full_like(done, k, dtype=torch.int64), FIRST
    for t in range(1, k + 1):
        fresh, stands = split.step(x, v), done.unsqueeze(-1)
        if along is not None:
            along.step(split, v, ~stands)
        x, v = (torch.where(stands, old, new) for old, new in zip((x, v), fresh, strict=True))
        if t % CHECK and t < k:
            continue
        with torch.no_grad():
            reached = ~done & arrived(Triple(*scaled.unscale(*split.point(x, v))))
            count, done = torch.where(reached, t, count), done | reached
            factor = split.balance(x, v)
        if done.all():
            break
        if t == adapts:
            adapts *= 2
            if (factor != 1).any():
                other = Splitting.of(split.problem, split.weight * factor)
                if along is not None:
                    along.change(split, v, other)
                v = split.project(v) + split.rho / other.rho * (v - split.project(v))
                split = other
    return Walk(Triple(*scaled.unscale(*split.point(x, v))), done, count, split, v)


def inside(scaled: ScaledQP, problem: QP) -> QP:
    """The equilibrated problem as a function of the caller's data, with scales that are constants."""
    D, E_G, E_A, r, c = scaled.D, scaled.E_G, scaled.E_A, scaled.r, scaled.c
    Q = c.unsqueeze(-1) * (D.unsqueeze(-1) * problem.Q * D.unsqueeze(-2))
    G = E_G.unsqueeze(-1) * problem.G * D.unsqueeze(-2)
    A = E_A.unsqueeze(-1) * problem.A * D.unsqueeze(-2)
    return QP(Q, c / r * D * problem.q, G, E_G * problem.h / r, A, E_A * problem.b / r)
