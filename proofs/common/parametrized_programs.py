"""Small CVXPY programs with parameters, and CVXPY's own cone data for them: the material of item 8.

Each builder takes a function ``make(name, shape, nonneg)`` that returns a parameter or a constant, so that
the same program can be written with parameters and, from scratch, with numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np
from cvxpy.reductions.solution import Solution
from cvxpy.reductions.solvers.conic_solvers.scs_conif import dims_to_solver_dict

Make = Callable[..., Any]
Values = dict[str, np.ndarray]


class ConeData(NamedTuple):
    """A, b, c of min cᵀx s.t. Ax + s = b, s ∈ K, the cones in diffcp's format, and the retrieval.

    ``retrieve`` takes a canonical solution to the stacked variables by CVXPY's own inverse reductions.
    """

    A: np.ndarray
    b: np.ndarray
    c: np.ndarray
    cones: dict[str, Any]
    retrieve: Callable[[np.ndarray], np.ndarray]

    @property
    def stacked(self) -> np.ndarray:
        """A, b and c in one vector."""
        return np.concatenate([self.A.ravel(), self.b, self.c])


def typed(value: Any) -> Any:
    """The same object: CVXPY's operators and reductions have wider types than what they return here."""
    return value


def regression(make: Make) -> cp.Problem:
    """Norm-regularised regression with an upper bound and an equality."""
    x, F, g = cp.Variable(3), make("F", (4, 3)), make("g", (4,))
    cost = cp.norm(F @ x - g, 2) + make("weight", (), nonneg=True) * cp.norm1(x)
    return cp.Problem(cp.Minimize(cost), typed([x <= make("u", (3,)), cp.sum(x) == 1]))


def policy(make: Make) -> cp.Problem:
    """Control policy: quadratic cost with a square-root parameter, linear term, input in a ball."""
    u, S, q = cp.Variable(2), make("S", (2, 2)), make("q", (2,))
    cost = cp.sum_squares(S @ u) + make("x", (2,)) @ u + q @ u
    return cp.Problem(cp.Minimize(cost), [cp.norm(u, 2) <= 1])


def entropy(make: Make) -> cp.Problem:
    """Softmax with a bound: exponential cones and a variable with an attribute."""
    y = cp.Variable(3, nonneg=True)
    return cp.Problem(
        cp.Minimize(-make("x", (3,)) @ y - cp.sum(cp.entr(y))), typed([cp.sum(y) == 1, y <= make("u", (3,))])
    )


def semidefinite(make: Make) -> cp.Problem:
    """Semidefinite program with a symmetric variable."""
    X = cp.Variable((2, 2), PSD=True)
    return cp.Problem(
        cp.Minimize(cp.trace(make("C", (2, 2)) @ X)), typed([cp.trace(X) == 1, X[0, 1] <= make("u", ())])
    )


def not_dpp(make: Make) -> cp.Problem:
    """DCP, but with products of parameters and a nonlinear function of one: not DPP."""
    x, F, H = cp.Variable(2), make("F", (2, 2)), make("H", (2, 2))
    return cp.Problem(cp.Minimize(cp.norm(F @ H @ x - make("g", (2,)), 2)), [x >= cp.square(make("r", ()))])


def geometric() -> cp.Problem:
    """Geometric program: the least x y with x y ≥ 2 and x ≥ 1, in positive variables."""
    x, y = cp.Variable(pos=True), cp.Variable(pos=True)
    return cp.Problem(cp.Minimize(x * y + x), [x * y >= 2, x >= 1])


DPP = (regression, policy, entropy, semidefinite)


def random_values(build: Callable[[Make], cp.Problem], rng: np.random.Generator) -> Values:
    """Random positive multiples of 1/8, so that sums and products are exact in double precision."""
    values: Values = {}

    def record(name: str, shape: tuple[int, ...], nonneg: bool = False) -> Any:
        values[name] = rng.integers(1, 24, size=shape) / 8.0
        return cp.Parameter(shape, nonneg=nonneg)

    build(record)
    return values


def with_parameters(build: Callable[[Make], cp.Problem]) -> tuple[cp.Problem, dict[str, Any]]:
    """The program with parameters, and these by name."""
    parameters: dict[str, Any] = {}

    def make(name: str, shape: tuple[int, ...], nonneg: bool = False) -> Any:
        parameters[name] = cp.Parameter(shape, nonneg=nonneg, name=name)
        return parameters[name]

    return build(make), parameters


def with_constants(build: Callable[[Make], cp.Problem], values: Values) -> cp.Problem:
    """The program with numbers in place of its parameters."""
    return build(lambda name, shape, nonneg=False: cp.Constant(values[name]))


def cone_data(problem: cp.Problem, ignore_dpp: bool = False, gp: bool = False) -> ConeData:
    """CVXPY's cone data at the present values of the parameters."""
    data, chain, inverse = typed(problem).get_problem_data(cp.DIFFCP, gp=gp, ignore_dpp=ignore_dpp)
    # The last reduction is the interface of the solver, which would read the solver's own answer.
    steps = list(zip(chain.reductions, inverse, strict=True))[:-1]

    def retrieve(canonical: np.ndarray) -> np.ndarray:
        solution = Solution("optimal", 0.0, {data["param_prob"].x.id: canonical}, {}, {})
        for reduction, memory in reversed(steps):
            solution = reduction.invert(solution, memory)
        return np.concatenate([np.ravel(solution.primal_vars[v.id]) for v in problem.variables()])

    return ConeData(data["A"].toarray(), data["b"], data["c"], dims_to_solver_dict(data["dims"]), retrieve)


def data_at(build: Callable[[Make], cp.Problem], values: Values, ignore_dpp: bool = False) -> ConeData:
    """CVXPY's cone data of the parametrised program at `values`."""
    problem, parameters = with_parameters(build)
    for name, parameter in parameters.items():
        parameter.value = values[name]
    return cone_data(problem, ignore_dpp)


def coordinates(values: Values) -> list[tuple[str, tuple[int, ...]]]:
    """Every scalar of the parameters, as (name, index)."""
    return [(name, index) for name, value in values.items() for index in np.ndindex(np.shape(value))]


def unit(values: Values, name: str, index: tuple[int, ...]) -> Values:
    """Parameters that are 0 but for a 1 in one place."""
    zero = {key: np.zeros(np.shape(value)) for key, value in values.items()}
    zero[name][index] = 1.0
    return zero
