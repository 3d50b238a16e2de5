"""Parametrized programs that between them use every cone, every kind of variable and parameter, and every map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor


@dataclass(frozen=True)
class Program:
    """A problem, the order of its parameters and variables, and a sampler of one value per parameter."""

    problem: cp.Problem
    parameters: list[cp.Parameter]
    variables: list[cp.Variable]
    sample: Callable[[np.random.Generator], list[np.ndarray]]
    gp: bool = False

    def tensors(self, seed: int, batch: tuple[int, ...] = ()) -> list[Tensor]:
        """Values of the parameters, float64, drawn independently over the batch."""
        rng = np.random.default_rng(seed)
        draws = [self.sample(rng) for _ in range(int(np.prod(batch)))]
        stacked = [np.stack(values).astype(np.float64) for values in zip(*draws, strict=True)]
        return [torch.as_tensor(v.reshape((*batch, *v.shape[1:]))) for v in stacked]

    def set_values(self, tensors: list[Tensor]) -> None:
        """Give CVXPY's parameters these values."""
        for parameter, tensor in zip(self.parameters, tensors, strict=True):
            value = tensor.numpy()
            if parameter.attributes["sparsity"]:
                entries = (value[parameter.sparse_idx], parameter.sparse_idx)
                parameter.value_sparse = sp.coo_array(entries, shape=value.shape)
            else:
                parameter.value = value


def duals(problem: cp.Problem) -> list[cp.Variable]:
    """All dual variables of a problem, in order."""
    return [d for c in problem.constraints for d in c.dual_variables]


def least_squares() -> Program:
    """Nonnegative least squares: a parametric matrix, a defined variable."""
    x, F, g = cp.Variable(3, name="x"), cp.Parameter((4, 3), name="F"), cp.Parameter(4, name="g")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(F @ x - g)), [x >= 0])
    return Program(problem, [F, g], [x, *duals(problem)], lambda r: [r.normal(size=(4, 3)), r.normal(size=4)])


def ridge() -> Program:
    """Ridge regression: no constraint is left, two defined variables, a scalar parameter in two places."""
    x, F, g = cp.Variable(3, name="x"), cp.Parameter((4, 3), name="F"), cp.Parameter(4, name="g")
    weight = cp.Parameter(nonneg=True, name="weight")
    problem = cp.Problem(
        cp.Minimize(cp.sum_squares(F @ x - g) + weight * cp.sum_squares(x) + weight * cp.sum(x))
    )
    return Program(
        problem,
        [F, g, weight],
        [x],
        lambda r: [r.normal(size=(4, 3)), r.normal(size=4), r.uniform(0.1, 1, ())],
    )


def parametric_quad_form() -> Program:
    """A portfolio: quad_form of a PSD parameter, maximisation, equality and bounds."""
    x, S, mu = cp.Variable(4, name="x"), cp.Parameter((4, 4), PSD=True, name="S"), cp.Parameter(4, name="mu")
    problem = cp.Problem(cp.Maximize(mu @ x - cp.quad_form(x, S)), [cp.sum(x) == 1, x >= 0, x <= 0.6])

    def sample(r: np.random.Generator) -> list[np.ndarray]:
        root = r.normal(size=(4, 4))
        return [root @ root.T + np.eye(4), r.normal(size=4)]

    return Program(problem, [mu, S], [x, *duals(problem)], lambda r: sample(r)[::-1])


def linear_program() -> Program:
    """A bounded linear program with a parametric objective, matrix and side."""
    x, c, F, g = cp.Variable(3, name="x"), cp.Parameter(3), cp.Parameter((2, 3)), cp.Parameter(2, pos=True)
    problem = cp.Problem(cp.Minimize(c @ x), [F @ x <= g, cp.norm_inf(x) <= 1])
    return Program(
        problem,
        [c, F, g],
        [x, problem.constraints[0].dual_variables[0]],
        lambda r: [r.normal(size=3), r.normal(size=(2, 3)), r.uniform(0.3, 1, 2)],
    )


def shapes() -> Program:
    """Matrix, symmetric, diagonal, sparse and bounded variables; symmetric, diagonal and sparse parameters."""
    X, S = cp.Variable((2, 3), name="X"), cp.Variable((3, 3), symmetric=True, name="S")
    D, N = cp.Variable((2, 2), diag=True, name="D"), cp.Variable(2, nonneg=True, name="N")
    W = cp.Variable((2, 3), sparsity=([0, 1], [1, 2]), name="W")
    B = cp.Variable(2, bounds=[-0.5, 0.5], name="B")
    M, T = cp.Parameter((2, 3), name="M"), cp.Parameter((3, 3), symmetric=True, name="T")
    E, V = (
        cp.Parameter((2, 2), diag=True, name="E"),
        cp.Parameter((2, 3), sparsity=([0, 1], [1, 2]), name="V"),
    )
    objective = (
        cp.sum_squares(X - M) + cp.sum_squares(S - T) + cp.sum_squares(D - E) + cp.sum_squares(W - V)
        + cp.sum_squares(N - M[:, 0]) + cp.sum_squares(B - M[:, 1]) + cp.sum_squares(cp.multiply(M, X))
    )  # fmt: skip
    problem = cp.Problem(cp.Minimize(objective), [X @ T <= M + 1, S[0, 1] == X[0, 2], cp.sum(W) == 1])

    def sample(r: np.random.Generator) -> list[np.ndarray]:
        half, sparse = r.normal(size=(3, 3)), np.zeros((2, 3))
        sparse[[0, 1], [1, 2]] = r.normal(size=2)
        return [r.normal(size=(2, 3)), half + half.T, np.diag(r.normal(size=2)), sparse]

    return Program(problem, [M, T, E, V], [X, S, D, N, W, B, *duals(problem)], sample)


def second_order() -> Program:
    """Norms in objective and constraints, and a cone constraint by columns."""
    x, F, g = cp.Variable(3, name="x"), cp.Parameter((3, 3), name="F"), cp.Parameter(3, name="g")
    t, U = cp.Variable(2, name="t"), cp.Variable((2, 2), name="U")
    columns = cp.SOC(t, U - cp.reshape(cp.hstack([g[:2], x[1:]]), (2, 2), order="F"))
    problem = cp.Problem(
        cp.Minimize(cp.norm(F @ x - g) + 0.1 * cp.sum_squares(x) + cp.sum(t) + cp.sum_squares(U)),
        [cp.norm(x) <= 0.7, columns],
    )
    sample: Callable[[np.random.Generator], list[np.ndarray]] = lambda r: [  # noqa: E731
        r.normal(size=(3, 3)),
        2 * r.normal(size=3),
    ]
    return Program(problem, [F, g], [x, t, U, *duals(problem)], sample)


def second_order_rows() -> Program:
    """A cone constraint by rows of a matrix, and one of a scalar and a vector."""
    t, U, M = cp.Variable(2, name="t"), cp.Variable((2, 2), name="U"), cp.Parameter((2, 2), name="M")
    problem = cp.Problem(
        cp.Minimize(cp.sum(t) + cp.sum_squares(U)), [cp.SOC(t, U - M, axis=1), cp.SOC(t[0] - 0.2, U[1])]
    )
    return Program(problem, [M], [t, U, *duals(problem)], lambda r: [2 * r.normal(size=(2, 2))])


def semidefinite() -> Program:
    """The nearest positive semidefinite matrix with unit trace below a bound."""
    X, M = cp.Variable((3, 3), PSD=True, name="X"), cp.Parameter((3, 3), symmetric=True, name="M")
    bound = cp.Parameter(pos=True, name="bound")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X - M)), [cp.trace(X) == 1, X << bound * np.eye(3)])

    def sample(r: np.random.Generator) -> list[np.ndarray]:
        half = r.normal(size=(3, 3))
        return [half + half.T, r.uniform(0.5, 0.8, ())]

    return Program(problem, [M, bound], [X, *duals(problem)], sample)


def exponential() -> Program:
    """Entropy and exponentials."""
    x, y, F = cp.Variable(3, name="x"), cp.Parameter(3, name="y"), cp.Parameter((2, 3), name="F")
    u = cp.Variable(2, name="u")
    cone = cp.ExpCone(u, np.ones(2), F @ x + 4)
    problem = cp.Problem(cp.Maximize(y @ x + cp.sum(cp.entr(x)) + cp.sum(u)), [cp.sum(x) == 1, cone])
    return Program(
        problem, [y, F], [x, u, *duals(problem)], lambda r: [r.normal(size=3), r.normal(size=(2, 3))]
    )


def power() -> Program:
    """Powers and a power cone."""
    x, y = cp.Variable(3, name="x"), cp.Parameter(3, name="y")
    cone = cp.PowCone3D(x[0] + 2, x[1] + 2, x[2] + 1, 0.3)
    problem = cp.Problem(cp.Minimize(cp.sum(cp.power(cp.abs(x - y), 1.5)) + cp.sum(x)), [cone])
    return Program(problem, [y], [x, *duals(problem)], lambda r: [r.normal(size=3)])


def mixture() -> Program:
    """All cones in one program, with a quadratic objective."""
    x, X = cp.Variable(3, name="x"), cp.Variable((2, 2), PSD=True, name="X")
    F, g = cp.Parameter((3, 3), name="F"), cp.Parameter(3, name="g")
    problem = cp.Problem(
        cp.Minimize(cp.sum_squares(F @ x - g) + cp.log_sum_exp(x) + cp.trace(X) + cp.norm(x - g)),
        [X[0, 0] >= x[0] + 1, X[0, 1] == x[1], cp.sum(x) <= 2, cp.PowCone3D(X[1, 1], 1, x[2], 0.4)],
    )
    return Program(
        problem, [F, g], [x, X, *duals(problem)], lambda r: [r.normal(size=(3, 3)), r.normal(size=3)]
    )


def geometric() -> Program:
    """A geometric program with parameters as coefficients and as an exponent."""
    z, a = cp.Variable(3, pos=True, name="z"), cp.Parameter(3, pos=True, name="a")
    e = cp.Parameter(name="e")
    problem = cp.Problem(
        cp.Minimize(a[0] * z[0] * z[1] + a[1] / (z[2] * z[0]) + z[2] ** e / z[1]),
        [z[0] <= 3, z[1] * z[2] >= a[2]],
    )
    return Program(
        problem, [a, e], [z, *duals(problem)], lambda r: [r.uniform(1, 2, 3), r.uniform(1, 2, ())], gp=True
    )


QUADRATIC = {f.__name__: f for f in (least_squares, ridge, parametric_quad_form, linear_program, shapes)}
CONIC = {
    f.__name__: f
    for f in (second_order, second_order_rows, semidefinite, exponential, power, mixture, geometric)
}
PROGRAMS = QUADRATIC | CONIC
