r"""Alternating differentiation: its fixed point, and what its truncation error is.

Statement. Alt-Diff runs ADMM on min ½xᵀQx + qᵀx s.t. Ax = b, Gx + s = h, s ≥ 0,

    x ← −H⁻¹(q + Aᵀλ + Gᵀν − ρAᵀb + ρGᵀ(s − h)),  H = Q + ρAᵀA + ρGᵀG,
    s ← max(−ν/ρ − (Gx − h), 0),  λ ← λ + ρ(Ax − b),  ν ← ν + ρ(Gx + s − h),

and differentiates each line in θ = (q, b, h). (a) With strict complementarity the limit of ∂x_k/∂θ is the
derivative of the solution by the KKT system. (b) After the active set is identified both errors are powers
of the same matrix W, the derivative of one sweep: ξ_k − ξ* = W^{k−K}(ξ_K − ξ*), J_k − J* = W^{k−K}(J_K −
J*), for ξ = (s, λ, ν). For a generic cold start they decay at the same rate: the slope of log‖∂x_k − ∂x*‖
against log‖x_k − x*‖ is 1. (c) The bound ‖∂x_k/∂θ − ∂x*/∂θ‖ ≤ C‖x_k − x*‖ does not hold for every start:
from ξ_0 = ξ* the left side is that of W^k(J_0 − J*) while the right side is 0.

Literature. Sun, Shi, Wang, Tuan, Poor & Tao (2023), "Alternating Differentiation for Optimization Layers":
convergence theorem and truncation theorem.

Check. Random QPs; the optimum by trying every active set, derivatives by differences of it; W by
differences of the sweep itself. `truncation_slope` is the table of the figure.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from proofs.common import central_difference, generator, relative_error
from proofs.common.quadratic import Quadratic, optimum, random_quadratic
from proofs.ledger import Rows, check, erratum, table

N, M, P = 4, 4, 1
RHO = 4.0
SOURCE = "Sun et al. (2023), Alt-Diff"


class State(NamedTuple):
    """Iterates of ADMM and their derivatives in θ = (q, b, h), each with one column for each entry of θ."""

    x: np.ndarray
    s: np.ndarray
    lam: np.ndarray
    nu: np.ndarray
    dx: np.ndarray
    ds: np.ndarray
    dlam: np.ndarray
    dnu: np.ndarray


def cold_start() -> State:
    """All zero."""
    columns = N + P + M
    values = [np.zeros(size) for size in (N, M, P, M)]
    return State(*values, *(np.zeros((size, columns)) for size in (N, M, P, M)))


def sweep(problem: Quadratic, state: State) -> State:
    """One iteration of the printed algorithm, with its derivative."""
    Q, q, G, h, A, b = problem
    dq, db, dh = np.split(np.eye(N + P + M), [N, N + P])
    H = Q + RHO * A.T @ A + RHO * G.T @ G
    x = -np.linalg.solve(H, q + A.T @ state.lam + G.T @ state.nu - RHO * A.T @ b + RHO * G.T @ (state.s - h))
    dx = -np.linalg.solve(
        H, dq + A.T @ state.dlam + G.T @ state.dnu - RHO * A.T @ db + RHO * G.T @ (state.ds - dh)
    )
    s = np.maximum(-state.nu / RHO - (G @ x - h), 0)
    ds = np.where((s > 0)[:, None], -(state.dnu / RHO + G @ dx - dh), 0.0)
    return State(
        x,
        s,
        state.lam + RHO * (A @ x - b),
        state.nu + RHO * (G @ x + s - h),
        dx,
        ds,
        state.dlam + RHO * (A @ dx - db),
        state.dnu + RHO * (G @ dx + ds - dh),
    )


def solution(problem: Quadratic, theta: np.ndarray | None = None) -> np.ndarray:
    """x* by enumeration, for the problem's own (q, b, h) or for the given ones."""
    if theta is not None:
        q, b, h = np.split(theta, [N, N + P])
        problem = problem._replace(q=q, b=b, h=h)
    return np.asarray(optimum(problem, tolerance=1e-9).z, dtype=float)


def measured_jacobian(problem: Quadratic) -> np.ndarray:
    """∂x*/∂θ by differences of the enumerated optimum."""
    theta = np.concatenate([problem.q, problem.b, problem.h])
    return central_difference(lambda t: solution(problem, t), theta)


def _problem(k: int) -> Quadratic:
    return random_quadratic(generator("alt-diff", k), N, M, P, active=1 + k % 2)


def _run(problem: Quadratic, iterations: int) -> list[State]:
    states = [cold_start()]
    for _ in range(iterations):
        states.append(sweep(problem, states[-1]))
        # The recursion has arrived when no number moves any more, up to rounding.
        if all(np.max(np.abs(a - b)) < 1e-15 for a, b in zip(states[-1], states[-2], strict=True)):
            break
    return states


@check(
    item=9,
    statement="Alt-Diff: the fixed point of ∂x_k/∂θ is the derivative of the solution in q, b and h",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-8,
)
def alternating_fixed_point(instances: int) -> Iterator[float]:
    """Up to 3000 sweeps."""
    for k in range(instances):
        yield relative_error(_run(_problem(k), 3000)[-1].dx, measured_jacobian(_problem(k)))


@alternating_fixed_point.negative("ten sweeps")
def _ten_sweeps(instances: int) -> Iterator[float]:
    for k in range(instances):
        yield relative_error(_run(_problem(k), 10)[-1].dx, measured_jacobian(_problem(k)))


@cache
def truncation(k: int) -> tuple[np.ndarray, np.ndarray]:
    """‖x_j − x*‖ and ‖∂x_j − ∂x*‖ over the sweeps j, from the cold start."""
    problem, J = _problem(k), measured_jacobian(_problem(k))
    states, x = _run(problem, 3000), solution(_problem(k))
    # The limits of the recursion itself, equal to x and J by `alternating_fixed_point`, reach further down.
    assert relative_error(states[-1].x, x) < 1e-8
    assert relative_error(states[-1].dx, J) < 1e-7
    iterate = np.array([np.linalg.norm(state.x - states[-1].x) for state in states])
    gradient = np.array([np.linalg.norm(state.dx - states[-1].dx) for state in states])
    return iterate, gradient


def slope(iterate: np.ndarray, gradient: np.ndarray) -> float:
    """Least-squares slope of log gradient against log iterate, where the latter is in [1e-9, 1e-3]."""
    kept = (iterate < 1e-3) & (iterate > 1e-9)
    return float(np.polyfit(np.log(iterate[kept]), np.log(gradient[kept]), 1)[0])


@check(
    item=9,
    statement="Alt-Diff truncated: ‖∂x_k − ∂x*‖ is of the order of ‖x_k − x*‖ from a cold start (slope 1)",
    source=SOURCE,
    strength="numeric",
    tolerance=0.1,
)
def truncation_order(instances: int) -> Iterator[float]:
    """|slope − 1| of the least-squares line between iterate errors of 1e-3 and 1e-9."""
    for k in range(instances):
        yield abs(slope(*truncation(k)) - 1)


@truncation_order.negative("the square of the iterate error in its place")
def _quadratic_order(instances: int) -> Iterator[float]:
    for k in range(instances):
        iterate, gradient = truncation(k)
        kept = (iterate < 1e-3) & (iterate > 1e-9)
        line = np.polyfit(2 * np.log(iterate[kept]), np.log(gradient[kept]), 1)
        yield abs(float(line[0]) - 1)


def _warm_errors(instances: int, sweeps: int, printed_bound: bool) -> Iterator[float]:
    for k in range(instances):
        problem = _problem(k)
        limit = _run(problem, 3000)[-1]

        def map_of(xi: np.ndarray, problem: Quadratic = problem) -> np.ndarray:
            s, lam, nu = np.split(xi, [M, M + P])
            after = sweep(problem, cold_start()._replace(s=s, lam=lam, nu=nu))
            return np.concatenate([after.x, after.s, after.lam, after.nu])

        xi = np.concatenate([limit.s, limit.lam, limit.nu])
        W = central_difference(map_of, xi)
        J = np.vstack([limit.ds, limit.dlam, limit.dnu])
        state = cold_start()._replace(s=limit.s, lam=limit.lam, nu=limit.nu)
        for _ in range(sweeps):
            state = sweep(problem, state)
        assert np.linalg.norm(state.x - limit.x) < 1e-10
        error_of_dual = -np.linalg.matrix_power(W[N:], sweeps - 1) @ J
        predicted = 0 * state.dx if printed_bound else W[:N] @ error_of_dual
        yield relative_error(state.dx - limit.dx, predicted)


@check(
    item=9,
    statement="Alt-Diff started at the solution with J_0 = 0: x_k = x*, yet J_k − J* = −W^k J*",
    source=f"{SOURCE}; against “the truncation error of gradients is upper bounded by the same order”",
    strength="numeric",
    tolerance=1e-7,
)
def warm_start(instances: int) -> Iterator[float]:
    """Three sweeps; W by differences of the sweep."""
    yield from _warm_errors(instances, 3, printed_bound=False)


@warm_start.negative("the printed bound, by which the gradient is exact once the iterate is")
def _printed_bound(instances: int) -> Iterator[float]:
    yield from _warm_errors(instances, 3, printed_bound=True)


erratum(
    item=9,
    where="Sun et al. (2023), abstract and truncation theorem",
    printed="the truncation error of the gradient is bounded by the order of the variables' error",
    correct=(
        "true from a generic cold start, where both errors decay by powers of one matrix; false for a warm "
        "one: at the exact solution the gradient's error is W^k(J_0 − J*), so that J_0 has to be warm as well"
    ),
    checks=(truncation_order, warm_start),
)


@table("proofs/truncation_slope")
def truncation_slope() -> Rows:
    """Errors of iterate and gradient of Alt-Diff on four QPs, every fifth sweep, down to 1e-11."""
    rows: Rows = []
    for k in range(4):
        iterate, gradient = truncation(k)
        for j in range(1, len(iterate), 5):
            if iterate[j] > 1e-11 and gradient[j] > 1e-11:
                errors = {"iterate_error": float(iterate[j]), "gradient_error": float(gradient[j])}
                rows.append({"instance": k, "sweep": j, **errors})
    return rows
