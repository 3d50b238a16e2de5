"""Batched primal-dual interior point for quadratic programs, in torch, on any device.

The iteration works on the homogeneous embedding of the equilibrated problem (Goulart & Chen 2024, Clarabel): with
τ, κ ≥ 0,

    Qx + Gᵀλ + Aᵀν + qτ = 0            Gx + s − hτ = 0            Ax − bτ = 0
    qᵀx + hᵀλ + bᵀν + xᵀQx/τ + κ = 0   λ ∘ s = 0,  τκ = 0,        λ, s ≥ 0.

Its solutions with τ > 0 are optimal points z = x/τ; those with κ > 0 are certificates of infeasibility or
unboundedness. Steps are Mehrotra's (1992) predictor and corrector. Every Newton system is solved in condensed form
with primal and dual regularisation and refined against the unregularised one (Mattingley & Boyd 2012, CVXGEN; Schwan
et al. 2023, PIQP), so singular Q and dependent rows do no harm. A polish on the active set takes the last digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from layers.kkt import Norms, residuals
from layers.linalg import dot, gram, max_abs, mtv, mv, works_ahead
from layers.problem import QP
from layers.saddle import Block, SaddleFactor, refine
from layers.scaling import ScaledQP, scale_problem
from layers.solution import Point, Status
from layers.solvers.certificates import Candidate, Nearest, completed, contradiction, verdict_of, violations
from layers.solvers.polish import SHARP, polish

#: fraction of the step to the boundary
STEP_FRACTION = 0.99
#: weights λ/s of the condensed system are bounded by the inverse of this
WEIGHT_SHIFT = 1e-11
#: a Newton direction is refined until its relative residual is below this, or so many times
NEWTON_TARGET, REFINEMENTS = 1e-8, 3
#: a point of the equilibrated problem farther out than this is asked whether it is a certificate
FAR = 1e7
#: steps shorter than this, this many times in a row, mean that rounding has taken over
SHORTEST_STEP, PATIENCE = 1e-4, 3
#: elements that are done leave the arrays once fewer than this fraction of them is going on
COMPACT = 0.7
#: iterations from one look at the batch to the next, and corrections of a direction, where a look makes the host wait
AHEAD, REFINEMENTS_AHEAD = 3, 1


@dataclass(frozen=True)
class Iterate:
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
        return Iterate(*(v + alpha * d for v, d in zip(self.fields, direction.fields, strict=True)))

    def where(self, keep: Tensor, other: Iterate) -> Iterate:
        """Elements with ``keep`` from here, the rest from ``other``."""
        keep = keep.unsqueeze(-1)
        return Iterate(*(torch.where(keep, a, b) for a, b in zip(self.fields, other.fields, strict=True)))

    def take(self, index: Tensor) -> Iterate:
        """The batch elements ``index``."""
        return Iterate(*(v[index] for v in self.fields))


def solve(problem: QP, tol: float, max_iterations: int) -> Point:
    """Solve a flat batch of quadratic programs.

    On a CPU the host looks at every iterate: what is done leaves, what stumbles gets special care. A device that works
    ahead of the host is looked at every few iterations, in between nothing waits; elements that are done stand still.

    Parameters
    ----------
    problem : QP
        Flat, float64, checked.
    tol : float
        Bound on the relative KKT residuals of an ``OPTIMAL`` element.
    max_iterations : int
        Limit of Newton steps per element.

    Returns
    -------
    Point
        Statuses are per element: the answer of an element that has converged no longer moves,
        and none of them influences another.

    Notes
    -----
    Cost per iteration and element: n²m + n³/3 + n²p + p³/3, plus four solves with the factor.
    """
    scaled = scale_problem(problem)
    ahead = works_ahead(problem.q)
    point = _initial(scaled)
    batch = point.tau.shape[0]
    status = torch.full((batch,), Status.ITERATION_LIMIT, dtype=torch.int64, device=point.tau.device)
    iterations, short = torch.zeros_like(status), torch.zeros_like(status)
    best, near = _Best(point, point.tau.new_full((batch,), torch.inf)), Nearest(Candidate(*point.fields[:3]))
    live, done = torch.arange(batch, device=status.device), torch.zeros_like(status, dtype=torch.bool)
    sub, data, norms = scaled, problem, Norms.of(problem)
    looks, trouble = not ahead, torch.zeros((), dtype=torch.bool, device=status.device)
    for iteration in range(max_iterations + 1):
        seen = Candidate(*point.fields[:3])
        doubt = violations(sub, seen)
        verdict, error = _judge(sub, data, norms, point, verdict_of(doubt), 0.1 * tol)
        near.record(live, seen, doubt, done)
        best.record(live, point, error, verdict, done)
        verdict = torch.where((verdict < 0) & (short >= PATIENCE), int(Status.NUMERICAL_FAILURE), verdict)
        ends = ~done & (verdict >= 0)
        status = status.index_copy(0, live, torch.where(ends, verdict, status[live]))
        iterations = iterations.index_copy(
            0, live, torch.where(done, iterations[live], torch.full_like(live, iteration))
        )
        done = done | ends
        if iteration == max_iterations:
            break
        if not ahead or iteration % AHEAD == 0:
            going = (~done).nonzero().squeeze(-1)
            if going.numel() == 0:
                break
            if going.numel() < COMPACT * live.numel():
                live, point, short, done = live[going], point.take(going), short[going], done[going]
                sub, data, norms = sub.take(going), data.take(going), norms.take(going)
            looks = looks or bool(trouble)
        point, alpha, newton = _advance(sub, point, looks)
        trouble = trouble | (newton.rough & ~done).any()
        count = torch.where(alpha.squeeze(-1) < SHORTEST_STEP, short + 1, torch.zeros_like(short))
        short = torch.where(newton.waits, short, count)
    return _finish(problem, scaled, best.point, near.candidate, status, iterations, tol)


class _Best:
    """The iterate of smallest residual of every element: rounding may spoil the last steps."""

    def __init__(self, point: Iterate, error: Tensor) -> None:
        self.point, self.error = point, error

    def record(self, live: Tensor, point: Iterate, error: Tensor, verdict: Tensor, done: Tensor) -> None:
        """Keep the better of old and new for the elements that are not done; a verdict makes the new one final."""
        better = ~done & ((error < self.error[live]) | (verdict >= 0))
        fields = [
            v.index_copy(0, live, torch.where(better.unsqueeze(-1), w, v[live]))
            for v, w in zip(self.point.fields, point.fields, strict=True)
        ]
        error = torch.where(better, error, self.error[live])
        self.point, self.error = Iterate(*fields), self.error.index_copy(0, live, error)


def _initial(scaled: ScaledQP) -> Iterate:
    """Least-squares start: [cQ Gᵀ Aᵀ; G −I 0; A 0 0](x, λ, ν) = (−q, h, b), s = −λ, both pushed inside."""
    problem = scaled.problem
    one = problem.q.new_ones(problem.q.shape[0], 1)
    newton = _Newton(scaled, problem.h.new_ones(problem.h.shape), looks=True)
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


class _Newton:
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


def _advance(scaled: ScaledQP, point: Iterate, looks: bool) -> tuple[Iterate, Tensor, _Newton]:
    """One predictor-corrector step; returns the new point, the step length and the system of the step."""
    problem, tau = scaled.problem, point.tau
    Qx = scaled.Qz(point.x)
    energy = dot(point.x, Qx).unsqueeze(-1)
    r_x = Qx + mtv(problem.G, point.lam) + mtv(problem.A, point.nu) + problem.q * tau
    r_g = mv(problem.G, point.x) + point.s - problem.h * tau
    r_a = mv(problem.A, point.x) - problem.b * tau
    linear = dot(problem.q, point.x) + dot(problem.h, point.lam) + dot(problem.b, point.nu)
    r_tau = linear.unsqueeze(-1) + energy / tau + point.kappa
    newton = _Newton(scaled, point.s / point.lam, looks=looks)

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
        d_x, d_lam, d_nu = (a + d_tau * b for a, b in zip(v1, v2, strict=True))
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
    finite = torch.stack([torch.isfinite(d).all(-1) for d in direction.fields]).all(0)
    finite = finite & ~newton.waits
    alpha = torch.where(finite.unsqueeze(-1), alpha, torch.zeros_like(alpha))
    return point.step(direction, alpha).where(finite, point), alpha, newton


def _step_length(point: Iterate, direction: Iterate) -> Tensor:
    """Largest α ≤ 1 that keeps λ, s, τ, κ nonnegative, shape ``(B, 1)``."""
    value = torch.cat([point.lam, point.s, point.tau, point.kappa], dim=-1)
    change = torch.cat([direction.lam, direction.s, direction.tau, direction.kappa], dim=-1)
    ratio = torch.where(change < 0, -value / change, torch.ones_like(value))
    return ratio.amin(-1, keepdim=True).clamp(max=1.0)


def _judge(
    scaled: ScaledQP, problem: QP, norms: Norms, point: Iterate, verdict: Tensor, tol: float
) -> tuple[Tensor, Tensor]:
    """Status of every element, −1 while it should go on, and its largest KKT residual on the caller's data."""
    z, lam, nu = scaled.unscale(*(v / point.tau for v in (point.x, point.lam, point.nu)))
    error = residuals(problem, z, lam, nu, norms).largest
    return torch.where(error <= tol, int(Status.OPTIMAL), verdict), error


def _finish(
    problem: QP,
    scaled: ScaledQP,
    point: Iterate,
    near: Candidate,
    status: Tensor,
    iterations: Tensor,
    tol: float,
) -> Point:
    """Back to the caller's units, polish, and the last word on every status."""
    certified = (status == Status.INFEASIBLE) | (status == Status.UNBOUNDED)
    divisor = torch.where(certified.unsqueeze(-1), torch.ones_like(point.tau), point.tau)
    rough = Candidate(*scaled.unscale(*(v / divisor for v in (point.x, point.lam, point.nu))))
    # the iteration may have ended beside a certificate
    for complete in (completed, contradiction):
        stalled = (status == Status.NUMERICAL_FAILURE) | (status == Status.ITERATION_LIMIT)
        rough, status = _ask(scaled, near, complete, stalled, rough, status)
    certified = (status == Status.INFEASIBLE) | (status == Status.UNBOUNDED)
    worth = ~certified.unsqueeze(-1)
    polished = polish(problem, *rough, active=point.lam > point.s)
    z, lam, nu = (torch.where(worth, new, old) for new, old in zip(polished[:3], rough, strict=True))
    lam = torch.where(worth & (lam < 0), torch.zeros_like(lam), lam)
    final = residuals(problem, z, lam, nu)
    solved = (final.largest <= tol) & ~certified
    missed = (status == Status.OPTIMAL) & ~solved
    status = torch.where(solved, int(Status.OPTIMAL), status)
    status = torch.where(missed, int(Status.NUMERICAL_FAILURE), status)
    # so far out, rounding alone satisfies conditions that are relative to z; to the last digit they are believed
    far = torch.stack([max_abs(v) for v in scaled.scale(z, lam, nu)]).amax(0) > FAR
    (z, lam, nu), status = _ask(
        scaled, near, completed, solved & far & (final.largest > SHARP), Candidate(z, lam, nu), status
    )
    infeasible, unbounded = status == Status.INFEASIBLE, status == Status.UNBOUNDED
    depth = -(dot(problem.h, lam) + dot(problem.b, nu)).unsqueeze(-1)
    descent = -dot(problem.q, z).unsqueeze(-1)
    lam, nu = (torch.where(infeasible.unsqueeze(-1), v / depth, v) for v in (lam, nu))
    z = torch.where(unbounded.unsqueeze(-1), z / descent, z)
    return Point(z, lam, nu, status, final, iterations)


def _ask(
    scaled: ScaledQP,
    near: Candidate,
    complete: Callable[[ScaledQP, Candidate], Candidate],
    doubted: Tensor,
    point: Candidate,
    status: Tensor,
) -> tuple[Candidate, Tensor]:
    """Look for certificates of the elements in doubt; what is found becomes the point, in the caller's units."""
    index = doubted.nonzero().squeeze(-1)
    if index.numel() == 0:
        return point, status
    part = scaled.take(index)
    found = complete(part, near.take(index))
    verdict = verdict_of(violations(part, found))
    told = verdict >= 0
    certificate = Candidate(*part.unscale(*found)).take(told)
    return point.put(index[told], certificate), status.index_copy(0, index[told], verdict[told])
