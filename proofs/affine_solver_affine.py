r"""Affine–solver–affine form: linear retrieval and the chain of adjoints.

Statement. A DPP program is x(θ) = R(s(C(θ))) with C affine (see `dpp_canonicalization`), s the solution map
of a cone program and R linear. Hence ∇_θ ℓ = Cᵀ (Dᵀs) (Rᵀ ∇_x ℓ), with C its linear part: each entry of (A,
b, c) in which θ_i occurs adds its share.

For geometric programs the retrieval is x = e^{R x̃}, not linear. CVXPY moreover clips variables that are
declared nonnegative, R x̃ = max(x̃, 0): the identity on feasible points, but no linear map.

Literature. Agrawal, Amos et al. (2019), §4.

Check. R is tried on random vectors; the chain uses diffcp for s and is compared with differences of the
optimum of the same QP found by trying every active set, which knows nothing of cones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cvxpy as cp
import diffcp
import numpy as np
from scipy import sparse

from proofs.common import central_difference, generator, relative_error
from proofs.common.parametrized_programs import (
    DPP,
    Make,
    Values,
    cone_data,
    coordinates,
    data_at,
    entropy,
    geometric,
    random_values,
    typed,
)
from proofs.common.quadratic import Quadratic, optimum
from proofs.dpp_canonicalization import affine_map
from proofs.ledger import check, erratum

SOURCE = "Agrawal, Amos et al. (2019), §4"
SIZE, ROWS = 3, 2


def constrained_projection(make: Make) -> cp.Problem:
    """Minimise ‖x − p‖² + qᵀx s.t. Gx ≤ h, 1ᵀx = 1, a parameter of which occurs in two places."""
    x, p, G, h = cp.Variable(SIZE), make("p", (SIZE,)), make("G", (ROWS, SIZE)), make("h", (ROWS,))
    cost = cp.sum_squares(x - p) + (make("q", (SIZE,)) + p) @ x
    return cp.Problem(cp.Minimize(cost), typed([G @ x <= h, cp.sum(x) == 1]))


def chain(values: Values, cotangent: np.ndarray, with_matrix: bool = True) -> np.ndarray:
    """The printed Cᵀ Dᵀs Rᵀ; `with_matrix` = False forgets the parameters in A."""
    data = data_at(constrained_projection, values)
    R = np.array([data.retrieve(e) for e in np.eye(len(data.c))]).T
    answer: Any = diffcp.solve_and_derivative(
        sparse.csc_matrix(data.A),
        data.b,
        data.c,
        data.cones,
        mode="dense",
        solve_method="SCS",
        eps=1e-12,
        verbose=False,
    )
    dA, db, dc = answer[4](R.T @ cotangent, np.zeros(len(data.b)), np.zeros(len(data.b)))
    stacked = np.concatenate([dA.toarray().ravel() * int(with_matrix), db, dc])
    return affine_map(constrained_projection, values)[0].T @ stacked


def by_enumeration(values: Values) -> np.ndarray:
    """The optimum of the QP ½zᵀ(2I)z + (q + p − 2p)ᵀz by trying every active set."""
    Q, q = 2 * np.eye(SIZE), values["q"] - values["p"]
    problem = Quadratic(Q, q, values["G"], values["h"], np.ones((1, SIZE)), np.ones(1))
    return np.asarray(optimum(problem, tolerance=1e-9).z, dtype=float)


def _instance(k: int) -> tuple[Values, np.ndarray]:
    rng = generator("affine–solver–affine", k)
    values: Values = {
        "p": rng.normal(size=SIZE),
        "G": rng.normal(size=(ROWS, SIZE)),
        "q": rng.normal(size=SIZE),
        "h": np.ones(ROWS),
    }
    # The bounds cut through the neighbourhood of the unconstrained answer, so that some are active.
    values["h"] = values["G"] @ by_enumeration({**values, "h": np.full(ROWS, 1e3)}) + rng.choice(
        [-0.3, 0.3], ROWS
    )
    return values, rng.normal(size=SIZE)


def _chain_errors(instances: int, with_matrix: bool) -> Iterator[float]:
    for k in range(instances):
        values, cotangent = _instance(k)
        places = coordinates(values)

        def loss(theta: np.ndarray, values=values, places=places, cotangent=cotangent) -> float:
            moved = {name: np.array(value) for name, value in values.items()}
            for entry, (name, index) in zip(theta, places, strict=True):
                moved[name][index] = entry
            return float(cotangent @ by_enumeration(moved))

        theta = np.array([values[name][index] for name, index in places])
        yield relative_error(chain(values, cotangent, with_matrix), central_difference(loss, theta))


@check(
    item=8,
    statement="∇_θ ℓ = Cᵀ Dᵀs Rᵀ ∇_x ℓ for a DPP program with parameters in A, b, c",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-6,
)
def adjoint_chain(instances: int) -> Iterator[float]:
    """Diffcp between CVXPY's maps, against differences of the enumerated optimum."""
    yield from _chain_errors(instances, with_matrix=True)


@adjoint_chain.negative("the parameters that occur in A left out")
def _without_matrix(instances: int) -> Iterator[float]:
    yield from _chain_errors(instances, with_matrix=False)


def _retrieval_errors(instances: int, is_geometric: bool) -> Iterator[float]:
    for k in range(instances):
        rng, build = generator("retrieval", k), DPP[k % len(DPP)]
        data = cone_data(geometric(), gp=True) if is_geometric else data_at(build, random_values(build, rng))
        # Multiples of 1/8 and weights of powers of two keep every sum exact.
        first, second = rng.integers(0, 17, size=(2, len(data.c))) / 8.0
        combined = 2 * data.retrieve(first) + 0.5 * data.retrieve(second)
        yield relative_error(data.retrieve(2 * first + 0.5 * second), combined)


@check(
    item=8,
    statement="retrieval of the variables from the canonical solution is linear on points with x̃ ≥ 0",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-15,
)
def retrieval_is_linear(instances: int) -> Iterator[float]:
    """CVXPY's own inverse reductions on random canonical vectors."""
    yield from _retrieval_errors(instances, is_geometric=False)


@retrieval_is_linear.negative("a geometric program, whose retrieval ends with the exponential")
def _geometric(instances: int) -> Iterator[float]:
    yield from _retrieval_errors(instances, is_geometric=True)


def _clipping_errors(instances: int, clip: bool) -> Iterator[float]:
    for k in range(instances):
        rng = generator("clipping", k)
        data = data_at(entropy, random_values(entropy, rng))
        canonical = rng.normal(size=len(data.c))
        linear = np.array([data.retrieve(e) for e in np.eye(len(data.c))]).T @ canonical
        yield relative_error(data.retrieve(canonical), np.maximum(linear, 0) if clip else linear)


@check(
    item=8,
    statement="CVXPY retrieves a variable declared nonneg as max(R x̃, 0)",
    source="CVXPY, reduction of attributes; against “affine map” in Agrawal, Amos et al. (2019), §4",
    strength="numeric",
    tolerance=1e-15,
)
def retrieval_clips(instances: int) -> Iterator[float]:
    """Random canonical vectors of both signs."""
    yield from _clipping_errors(instances, clip=True)


@retrieval_clips.negative("the linear map alone")
def _linear(instances: int) -> Iterator[float]:
    yield from _clipping_errors(instances, clip=False)


erratum(
    item=8,
    where="Agrawal, Amos et al. (2019), §4, as implemented in CVXPY",
    printed="the retrieval is an affine map of the solver's solution",
    correct=(
        "linear on feasible canonical points; for a variable declared nonneg CVXPY clips at 0, which hides "
        "infeasibility of the solver's answer and has a kink where a component is 0"
    ),
    checks=(retrieval_clips,),
)
