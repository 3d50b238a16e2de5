"""Linear systems with quadratic cost: the best controller without bounds, and a lower bound on every one with bounds.

x⁺ = Ax + Bu + w with E ww' = W; a period costs x'Qx + u'Ru; wanted is the least average cost of a period.
"""

from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from scipy.linalg import solve_discrete_are
from torch import Tensor


@dataclass(frozen=True)
class LinearSystem:
    """x⁺ = Ax + Bu + σw with w standard normal, so that W = σ²I; Q and R are identities."""

    A: Tensor
    B: Tensor
    deviation: float

    def advance(self, x: Tensor, u: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Cost of the period, and the states after it."""
        cost = x.square().sum(-1) + u.square().sum(-1)
        return cost, self.drift(x) + u @ self.B.mT + self.deviation * noise

    def drift(self, x: Tensor) -> Tensor:
        """The next states without control and noise."""
        return x @ self.A.mT

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of states and of controls."""
        return self.B.shape[0], self.B.shape[1]

    def riccati(self) -> np.ndarray:
        """P of the value function x'Px without bounds on u, from the discrete algebraic Riccati equation."""
        n, m = self.sizes
        return solve_discrete_are(self.A.numpy(), self.B.numpy(), np.eye(n), np.eye(m))

    def gain(self, P: np.ndarray) -> np.ndarray:
        """K of the control Kx = argmin u'Ru + (Ax + Bu)'P(Ax + Bu)."""
        A, B = self.A.numpy(), self.B.numpy()
        return -np.linalg.solve(np.eye(B.shape[1]) + B.T @ P @ B, B.T @ P @ A)


def random_system(states: int, controls: int, deviation: float, draw: np.random.RandomState) -> LinearSystem:
    """Entries of A and B standard normal, A scaled to spectral radius one."""
    A = draw.randn(states, states)
    A /= np.abs(np.linalg.eigvals(A)).max()
    return LinearSystem(torch.from_numpy(A), torch.from_numpy(draw.randn(states, controls)), deviation)


def symmetric_root(P: np.ndarray) -> Tensor:
    """S = P^½, symmetric and positive semidefinite, of a symmetric P ⪰ 0."""
    values, vectors = np.linalg.eigh((P + P.T) / 2)
    return torch.from_numpy((vectors * np.sqrt(values.clip(min=0))) @ vectors.T)


@dataclass(frozen=True)
class Bound:
    """No controller has an average cost below `cost`; x'Px is the function that proves it."""

    cost: float
    P: np.ndarray


def lower_bound(system: LinearSystem, reach: float | None = None) -> Bound:
    """The best quadratic lower bound on the average cost under |u_i| <= reach, or without bounds (Wang & Boyd 2009).

    Raises
    ------
    cvxpy.SolverError
        If the semidefinite program was not solved.

    Notes
    -----
    One semidefinite program with an (n + m) x (n + m) matrix. Without bounds it is exact: P is the Riccati solution.
    """
    n, m = system.sizes
    A, B = system.A.numpy(), system.B.numpy()
    # Let V(x) = x'Px with P ⪰ 0, so E V(x⁺) = (Ax + Bu)'P(Ax + Bu) + tr PW. If a number J satisfies the Bellman
    # inequality
    #
    #     V(x) + J <= x'Qx + u'Ru + E V(x⁺)   for all x and all u in the box,
    #
    # then, summed along any admissible trajectory, T J <= total cost + E V(x_T) - V(x_0). Where the average cost is
    # finite, E V(x_T) / T comes arbitrarily close to zero (Q ≻ 0: otherwise the states alone would cost more), so J
    # <= average cost.
    #
    # On the box u_i² <= ρ², so Σ λ_i (ρ² - u_i²) >= 0 for every λ >= 0. With J = tr PW - ρ² Σ λ_i the inequality
    # follows from
    #
    #     x'(Q - P)x + u'(R + diag λ)u + (Ax + Bu)'P(Ax + Bu) >= 0   for all x and u whatever,
    #
    # a quadratic form in (u, x): the matrix below is positive semidefinite. J is linear in (P, λ); the greatest is
    # wanted.
    P: Any = cp.Variable((n, n), PSD=True)
    lam = cp.Variable(m, nonneg=True)
    matrix: Any = cp.bmat(
        [
            [np.eye(m) + cp.diag(lam) + B.T @ P @ B, B.T @ P @ A],
            [A.T @ P @ B, np.eye(n) + A.T @ P @ A - P],
        ]
    )
    price = 0.0 if reach is None else reach**2 * cp.sum(lam)
    constraints: list[Any] = [(matrix + matrix.T) / 2 >> 0, *([lam == 0] if reach is None else [])]
    problem: Any = cp.Problem(cp.Maximize(system.deviation**2 * cp.trace(P) - price), constraints)
    problem.solve(solver=cp.CLARABEL)
    if problem.status != cp.OPTIMAL:
        raise cp.SolverError(f"lower bound on the average cost: the program ended as {problem.status}")
    return Bound(float(problem.value), np.asarray(P.value))
