"""Every kind of problem that must be solved, each with a name; at one size they also form a batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.layers.instances import Array, Data, as_data, random_qp

Builder = Callable[[np.random.Generator], Data]


def _arrays(rng: np.random.Generator, n: int, m: int, p: int) -> list[Array]:
    return [t.numpy() for t in random_qp(rng, n, m, p)]


def strictly_convex(rng: np.random.Generator) -> Data:
    return random_qp(rng, 6, 8, 2)


def singular_cost(rng: np.random.Generator) -> Data:
    _, _, G, h, A, b = _arrays(rng, 6, 8, 2)
    root = rng.normal(size=(6, 2))
    # q in the range of [Q Gᵀ] with λ ≥ 0: bounded below
    q = root @ rng.normal(size=2) - G.T @ rng.uniform(0, 1, size=8)
    return as_data(root @ root.T, q, G, h, A, b)


def linear(rng: np.random.Generator) -> Data:
    _, _, G, h, A, b = _arrays(rng, 6, 8, 1)
    return as_data(np.zeros((6, 6)), -G.T @ rng.uniform(0, 1, size=8) - A.T @ rng.normal(size=1), G, h, A, b)


def no_inequalities(rng: np.random.Generator) -> Data:
    return random_qp(rng, 6, 0, 2)


def no_equalities(rng: np.random.Generator) -> Data:
    return random_qp(rng, 6, 8, 0)


def unconstrained(rng: np.random.Generator) -> Data:
    return random_qp(rng, 6, 0, 0)


def singular_unconstrained(rng: np.random.Generator) -> Data:
    root = rng.normal(size=(6, 3))
    return as_data(root @ root.T, root @ rng.normal(size=3), np.zeros((0, 6)), [], np.zeros((0, 6)), [])


def redundant_rows(rng: np.random.Generator) -> Data:
    Q, q, G, h, A, b = _arrays(rng, 6, 4, 1)
    # twice the active rows, a sum of two rows, and the equality twice with another scale
    G = np.vstack([G, 2 * G[:2], G[:1] + G[1:2]])
    h = np.concatenate([h, 2 * h[:2], h[:1] + h[1:2]])
    return as_data(Q, q, G, h, np.vstack([A, -3 * A]), np.concatenate([b, -3 * b]))


def zero_rows(rng: np.random.Generator) -> Data:
    Q, q, G, h, A, b = _arrays(rng, 6, 6, 1)
    G, h = np.vstack([G, np.zeros((2, 6))]), np.concatenate([h, [1.0, 0.0]])
    return as_data(Q, q, G, h, np.vstack([A, np.zeros((1, 6))]), np.append(b, 0.0))


def two_sided_rows(rng: np.random.Generator) -> Data:
    Q, q, G, h, A, b = _arrays(rng, 6, 4, 2)
    return as_data(Q, q, np.vstack([G, -G]), np.concatenate([h, 1.0 - h]), A, b)


def bounds_that_meet(rng: np.random.Generator) -> Data:
    Q, q, G, h, A, b = _arrays(rng, 6, 4, 2)
    return as_data(Q, q, np.vstack([G, -G[:2]]), np.concatenate([h, -h[:2]]), A, b)


def rows_of_many_sizes(rng: np.random.Generator) -> Data:
    Q, q, G, h, A, b = _arrays(rng, 6, 8, 2)
    g, a = 10 ** rng.permutation(np.linspace(-6, 6, 8)), np.array([1e-6, 1e6])
    return as_data(Q, q, g[:, None] * G, g * h, a[:, None] * A, a * b)


def variables_of_many_sizes(rng: np.random.Generator) -> Data:
    Q, q, G, h, A, b = _arrays(rng, 6, 8, 2)
    d = 10 ** rng.permutation(np.linspace(-3, 3, 6))
    return as_data(d[:, None] * Q * d, d * q, G * d, h, A * d, b)


def degenerate_vertex(rng: np.random.Generator) -> Data:
    # sixteen rows meet in the optimum, of which six would do
    Q, _, G, _, _, _ = _arrays(rng, 6, 16, 0)
    z = rng.normal(size=6)
    return as_data(Q, -(Q @ z) - G.T @ rng.uniform(0, 1, size=16), G, G @ z, np.zeros((0, 6)), [])


def degenerate_linear(rng: np.random.Generator) -> Data:
    _, _, G, _, _, _ = _arrays(rng, 6, 12, 0)
    z = rng.normal(size=6)
    return as_data(np.zeros((6, 6)), -G.T @ rng.uniform(0, 1, size=12), G, G @ z, np.zeros((0, 6)), [])


def one_variable(rng: np.random.Generator) -> Data:
    return as_data([[2.0]], [-6.0], [[1.0], [-1.0]], [1.0, 5.0], np.zeros((0, 1)), [])


#: all feasible and bounded
SOLVABLE: dict[str, Builder] = {
    builder.__name__: builder
    for builder in (
        strictly_convex, singular_cost, linear, no_inequalities, no_equalities, unconstrained,
        singular_unconstrained, redundant_rows, zero_rows, two_sided_rows, bounds_that_meet,
        rows_of_many_sizes, variables_of_many_sizes, degenerate_vertex, degenerate_linear, one_variable,
    )
}  # fmt: skip


def infeasible_inequalities(rng: np.random.Generator) -> Data:
    Q, q, G, h, A, b = _arrays(rng, 6, 6, 1)
    return as_data(Q, q, np.vstack([G, -G[:1]]), np.append(h, -h[0] - 1.0), A, b)


def infeasible_equalities(rng: np.random.Generator) -> Data:
    Q, q, G, h, A, b = _arrays(rng, 6, 6, 1)
    return as_data(Q, q, G, h, np.vstack([A, 2 * A]), np.append(b, 2 * b + 1.0))


def infeasible_zero_row(rng: np.random.Generator) -> Data:
    Q, q, G, h, A, b = _arrays(rng, 6, 6, 1)
    return as_data(Q, q, np.vstack([G, np.zeros((1, 6))]), np.append(h, -1.0), A, b)


def unbounded_linear(rng: np.random.Generator) -> Data:
    G = -np.eye(6)
    return as_data(np.zeros((6, 6)), -rng.uniform(0.5, 1, 6), G, np.zeros(6), [[1.0, -1, 0, 0, 0, 0]], [0.0])


def unbounded_singular(rng: np.random.Generator) -> Data:
    Q = np.diag([1.0, 2.0, 3.0, 0.0, 1.0, 1.0])
    G = rng.normal(size=(7, 6))
    G[:, 3] = -rng.uniform(0.1, 1, size=7)
    return as_data(Q, -np.ones(6), G, np.ones(7), np.zeros((0, 6)), [])


def unbounded_without_constraints(rng: np.random.Generator) -> Data:
    return as_data(
        np.diag([1.0, 1, 1, 1, 1, 0]), rng.normal(size=6), np.zeros((0, 6)), [], np.zeros((0, 6)), []
    )


INFEASIBLE: dict[str, Builder] = {
    b.__name__: b for b in (infeasible_inequalities, infeasible_equalities, infeasible_zero_row)
}
UNBOUNDED: dict[str, Builder] = {
    b.__name__: b for b in (unbounded_linear, unbounded_singular, unbounded_without_constraints)
}
