r"""Certified optimum and derivative of second-order cone programs.

Statement. For the given doubles (A, b, c) the program minimise cᵀx s.t. Ax + s = b, s ∈ {0} × R²₊ × L³ has
the enclosed optimum, it is differentiable in the data along the given change, and the derivative by the
embedding (least squares on M, in double precision) lies within the tolerance of the true one. Each instance
is a proof: with the active rows as equations, Lagrange's conditions in (x, y₀, y₂, μ),

    c + Aᵀy = 0,  s₀ = 0,  s₂ = 0,  ‖s̄‖² = t²,   y = (y₀, 0, y₂, 2μt, −2μs̄),  s = b − Ax,

are a polynomial map of degree two. Krawczyk's test proves a root for complex data in a disc about the given
ones, Cauchy's estimate bounds the error of a difference quotient of it; t > 0, s₁ > 0, y₂ > 0, μ > 0 over
the enclosure make the root primal and dual feasible and complementary, hence optimal for the convex
program.

Literature. Krawczyk (1969); Agrawal, Barratt, Boyd, Busseti & Moursi (2019), for the derivative.

Check. python-flint at 320 bits; the error is a rigorous bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from flint import acb

from proofs import second_order_cone
from proofs.common import generator
from proofs.common.balls import Family, NotProved, certified_derivative, distance_above, precision
from proofs.ledger import check
from proofs.quadratic_as_cone_program import embedding_derivative

BITS, VARIABLES = 320, 4
ZERO, POSITIVE = 1, 2
ROWS = ZERO + POSITIVE + 3
Data = tuple[np.ndarray, np.ndarray, np.ndarray]


def random_instance(k: int) -> tuple[Data, Data, np.ndarray]:
    """Data and change, as doubles that are then exact, and (x, y₀, y₂, μ) close to the optimum."""
    rng = generator("certified cone program", k)
    A, x, bent = rng.normal(size=(ROWS, VARIABLES)), rng.normal(size=VARIABLES), rng.normal(size=2)
    v = np.array([rng.uniform(-0.5, 0.5) * np.linalg.norm(bent), *bent])
    p = second_order_cone.project(v)
    s = np.array([0.0, rng.uniform(0.5, 1.5), 0.0, *p])
    y = np.array([rng.normal(), 0.0, rng.uniform(0.5, 1.5), *(p - v)])
    change = (rng.normal(size=A.shape), rng.normal(size=ROWS), rng.normal(size=VARIABLES))
    return (A, A @ x + s, -A.T @ y), change, np.array([*x, y[0], y[2], y[3] / (2 * s[3])])


def slack_and_dual(unknown: np.ndarray, A: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The printed s and y."""
    s, (y0, y2, mu) = b - A @ unknown[:VARIABLES], unknown[VARIABLES:]
    two = acb(2)
    return s, np.array([y0, acb(0), y2, two * mu * s[3], -two * mu * s[4], -two * mu * s[5]], dtype=object)


def lagrange(data: Data, change: Data) -> Family:
    """The printed equations at data + t · change."""
    given, moved = (tuple(_balls(part) for part in parts) for parts in (data, change))

    def family(unknown: np.ndarray, t: Any) -> np.ndarray:
        A, b, c = (part + t * step for part, step in zip(given, moved, strict=True))
        s, y = slack_and_dual(unknown, A, b)
        return np.concatenate([c + A.T @ y, [s[0], s[2], s[4] ** 2 + s[5] ** 2 - s[3] ** 2]])

    return family


def certify(k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Enclosure of dx along the change, and of x; and dx by the embedding in doubles.

    Raises
    ------
    NotProved
        If existence, a sign or the disc is not proved.
    """
    data, change, near = random_instance(k)
    root, slope = certified_derivative(lagrange(data, change), _balls(near), bits=BITS)
    s, y = slack_and_dual(root, _balls(data[0]), _balls(data[1]))
    if not all(bool(value.real > 0) for value in (s[3], s[1], y[2], root[-1])):
        raise NotProved("a sign of the optimality conditions was not proved")
    point = tuple(np.array([float(value.real) for value in part]) for part in (root[:VARIABLES], y, s))
    computed = embedding_derivative(data, change, point, (ZERO, POSITIVE))
    return slope[:VARIABLES], root[:VARIABLES], computed


def _balls(values: np.ndarray) -> np.ndarray:
    return np.array([acb(float(value)) for value in values.ravel()], dtype=object).reshape(values.shape)


def _errors(instances: int, scale: float) -> Iterator[float]:
    for k in range(instances):
        with precision(BITS):
            enclosed, _, computed = certify(k)
            size = max(1.0, float(np.max(np.abs(computed))))
            yield (
                max(distance_above(acb(scale * a), b) for a, b in zip(computed, enclosed, strict=True)) / size
            )


@check(
    item=7,
    statement="second-order cone programs: optimum and derivative enclosed; the embedding agrees",
    source="Agrawal, Barratt, Boyd, Busseti & Moursi (2019)",
    strength="certified",
    tolerance=1e-9,
)
def certified_derivatives(instances: int) -> Iterator[float]:
    """Rigorous bound on the error of the embedding's derivative, relative to its size."""
    yield from _errors(instances, 1.0)


@certified_derivatives.negative("the derivative scaled by 1 + 1e-7")
def _scaled(instances: int) -> Iterator[float]:
    yield from _errors(instances, 1.0 + 1e-7)
