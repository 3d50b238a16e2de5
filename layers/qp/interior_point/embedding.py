"""The homogeneous embedding of an equilibrated quadratic program: its points, and one predictor-corrector step.

With τ, κ ≥ 0 (Goulart & Chen 2024, Clarabel),

    Qx + Gᵀλ + Aᵀν + qτ = 0            Gx + s − hτ = 0            Ax − bτ = 0
    qᵀx + hᵀλ + bᵀν + xᵀQx/τ + κ = 0   λ ∘ s = 0,  τκ = 0,        λ, s ≥ 0.

Its solutions with τ > 0 are optimal points z = x/τ; those with κ > 0 are certificates of infeasibility or
unboundedness. Steps are Mehrotra's (1992) predictor and corrector. Every Newton system is solved in condensed form
with primal and dual regularisation and refined against the unregularised one (Mattingley & Boyd 2012, CVXGEN; Schwan
et al. 2023, PIQP), so singular Q and dependent rows do no harm.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layers.linalg.batched import Batched
from layers.linalg.products import dot, gram, max_abs, mtv, mv
from layers.linalg.saddle import Block, SaddleFactor, refine
from layers.qp.scaling import ScaledQP

#: fraction of the step to the boundary
STEP_FRACTION = 0.99
#: weights λ/s of the condensed system are bounded by the inverse of this
WEIGHT_SHIFT = 1e-11
#: a Newton direction is refined until its relative residual is below this, or so many times
NEWTON_TARGET, REFINEMENTS = 1e-8, 3
#: so many times without a look at its residual
REFINEMENTS_AHEAD = 1


@dataclass(frozen=True)
class Iterate(Batched):
    """A point of the embedding; shapes ``(B, n), (B, m), (B, p), (B, m), (B, 1), (B, 1)``."""

    x: Tensor
    lam: Tensor
    nu: Tensor
    s: Tensor
    tau: Tensor
    kappa: Tensor

    @property
    def fields(self) -> tuple[Tensor, ...]:
        """The six blocks in order."""
        return (self.x, self.lam, self.nu, self.s, self.tau, self.kappa)

    @property
    def mu(self) -> Tensor:
        """Mean complementarity (λᵀs + τκ) / (m + 1), shape ``(B, 1)``."""
        products = (self.lam * self.s).sum(-1, keepdim=True) + self.tau * self.kappa
        return products / (self.s.shape[-1] + 1)

    def step(self, direction: Iterate, alpha: Tensor) -> Iterate:
        """The point at distance ``alpha`` along a direction."""
        return Iterate(
            *(torch.addcmul(v, alpha, d) for v, d in zip(self.fields, direction.fields, strict=True))
        )

    def where(self, keep: Tensor, other: Iterate) -> Iterate:
        """Elements with ``keep`` from here, the rest from ``other``."""
        keep = keep.unsqueeze(-1)
        return Iterate(*(torch.where(keep, a, b) for a, b in zip(self.fields, other.fields, strict=True)))


def initial(scaled: ScaledQP) -> Iterate:
    """Least-squares start: [cQ Gᵀ Aᵀ; G −I 0; A 0 0](x, λ, ν) = (−q, h, b), s = −λ, both pushed inside."""
    problem = scaled.problem
    one = problem.q.new_ones(problem.q.shape[0], 1)
    newton = Newton(scaled, problem.h.new_ones(problem.h.shape), looks=True)
    x, lam, nu = newton.solve((-problem.q.unsqueeze(-1), problem.h.unsqueeze(-1), problem.b.unsqueeze(-1)))
    x, lam, nu = x.squeeze(-1), lam.squeeze(-1), nu.squeeze(-1)
    return Iterate(x, _push(lam), nu, _push(-lam), one, one.clone())


def _push(v: Tensor) -> Tensor:
    """Shift a vector so that its smallest entry is positive and not tiny beside its size."""
    if v.shape[-1] == 0:
        return v
    lowest = v.amin(-1, keepdim=True)
    margin = 1e-2 * max_abs(v).unsqueeze(-1)
    return torch.where(lowest > margin, v, v - lowest + 1.0)


class Newton:
    """The matrix [cQ Gᵀ Aᵀ; G −diag(t) 0; A 0 0] with t = s/λ, condensed on (x, ν).

    Without looks, one correction is made of every direction, wanted or not, and no factorisation is tried again: an
    element that has none ``waits``, and one that has none, or a poor direction, is ``rough``.
    """

    def __init__(self, scaled: ScaledQP, t: Tensor, *, looks: bool) -> None:
        problem = scaled.problem
        self.scaled, self.t, self._looks = scaled, t.unsqueeze(-1), looks
        self.weight = 1 / (t + WEIGHT_SHIFT)
        H = scaled.c.unsqueeze(-1) * problem.Q + gram(problem.G, self.weight)
        self.factor = SaddleFactor(H, problem.A, looks=looks)
        self.waits = torch.zeros_like(self.factor.failed) if looks else self.factor.failed
        self.rough = self.waits

    def solve(self, rhs: Block) -> Block:
        """Solve for columns of right-hand sides ``(B, ·, r)``."""
        steps = REFINEMENTS if self._looks else REFINEMENTS_AHEAD
        x, residual = refine(self._apply, self._matvec, rhs, steps, NEWTON_TARGET, looks=self._looks)
        if not self._looks:
            self.rough = self.rough | (residual > NEWTON_TARGET).any(-1)
        return x

    def _apply(self, r: Block) -> Block:
        # λ = w (Gx − r_g) eliminates the middle row, w = 1 / (t + shift)
        G, w = self.scaled.problem.G, self.weight.unsqueeze(-1)
        x, nu = self.factor.apply(r[0] + G.mT @ (w * r[1]), r[2])
        return x, w * (G @ x - r[1]), nu

    def _matvec(self, v: Block) -> Block:
        problem, c = self.scaled.problem, self.scaled.c.unsqueeze(-1)
        top = c * (problem.Q @ v[0]) + problem.G.mT @ v[1] + problem.A.mT @ v[2]
        return top, problem.G @ v[0] - self.t * v[1], problem.A @ v[0]


def advance(scaled: ScaledQP, point: Iterate, *, looks: bool) -> tuple[Iterate, Tensor, Newton]:
    """One predictor-corrector step; returns the new point, the step length and the system of the step."""
    problem, tau = scaled.problem, point.tau
    Qx = scaled.Qz(point.x)
    energy = dot(point.x, Qx).unsqueeze(-1)
    r_x = Qx + mtv(problem.G, point.lam) + mtv(problem.A, point.nu) + problem.q * tau
    r_g = mv(problem.G, point.x) + point.s - problem.h * tau
    r_a = mv(problem.A, point.x) - problem.b * tau
    linear = dot(problem.q, point.x) + dot(problem.h, point.lam) + dot(problem.b, point.nu)
    r_tau = linear.unsqueeze(-1) + energy / tau + point.kappa
    newton = Newton(scaled, point.s / point.lam, looks=looks)

    # The step is v₁ + Δτ v₂ with K v₁ = the residuals and K v₂ = (−q, h, b), which does not depend on them.
    def columns(*blocks: Tensor) -> Block:
        return tuple(b.unsqueeze(-1) for b in blocks)

    first = columns(-r_x, -r_g + point.s, -r_a)
    constant = columns(-problem.q, problem.h, problem.b)
    both = newton.solve(tuple(torch.cat(pair, dim=-1) for pair in zip(first, constant, strict=True)))
    v1, v2 = ([block[..., i] for block in both] for i in (0, 1))
    gradient = problem.q + 2 * Qx / tau

    def along(v: list[Tensor]) -> Tensor:
        return (dot(gradient, v[0]) + dot(problem.h, v[1]) + dot(problem.b, v[2])).unsqueeze(-1)

    denominator = energy / tau**2 + point.kappa / tau - along(v2)

    def assemble(v1: list[Tensor], eta: Tensor, r_s: Tensor, r_kappa: Tensor) -> Iterate:
        d_tau = (eta * r_tau + along(v1) - r_kappa / tau) / denominator
        d_x, d_lam, d_nu = (torch.addcmul(a, d_tau, b) for a, b in zip(v1, v2, strict=True))
        d_s = -(r_s + point.s * d_lam) / point.lam
        return Iterate(d_x, d_lam, d_nu, d_s, d_tau, -(r_kappa + point.kappa * d_tau) / tau)

    # The predictor is walked only as far as ``reach``, so that is what its second-order term is worth: at full weight
    # a short predictor can make the iteration circle for ever.
    one = torch.ones_like(tau)
    predictor = assemble(v1, one, point.lam * point.s, point.kappa * tau)
    reach = _step_length(point, predictor)
    sigma = (1 - reach) ** 3
    eta = 1 - sigma
    r_s = point.lam * point.s - sigma * point.mu + reach**2 * predictor.s * predictor.lam
    r_kappa = point.kappa * tau - sigma * point.mu + reach**2 * predictor.kappa * predictor.tau
    second = newton.solve(columns(-eta * r_x, -eta * r_g + r_s / point.lam, -eta * r_a))
    direction = assemble([block.squeeze(-1) for block in second], eta, r_s, r_kappa)
    alpha = STEP_FRACTION * _step_length(point, direction)
    finite = torch.isfinite(torch.cat(direction.fields, dim=-1)).all(-1) & ~newton.waits
    alpha = torch.where(finite.unsqueeze(-1), alpha, torch.zeros_like(alpha))
    return point.step(direction, alpha).where(finite, point), alpha, newton


def _step_length(point: Iterate, direction: Iterate) -> Tensor:
    """Largest α ≤ 1 that keeps λ, s, τ, κ nonnegative, shape ``(B, 1)``."""
    value = torch.cat([point.lam, point.s, point.tau, point.kappa], dim=-1)
    change = torch.cat([direction.lam, direction.s, direction.tau, direction.kappa], dim=-1)
    ratio = torch.where(change < 0, -value / change, torch.ones_like(value))
    return ratio.amin(-1, keepdim=True).clamp(max=1.0)
