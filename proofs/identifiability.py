r"""What a QP layer cannot identify: the null space common to its Jacobians is the tangent of the invariances.

Statement in `proofs.invariances`. The layer is z*(x) = argmin ½zᵀQz + (Wx + q₀)ᵀz subject to Gz ≤ h, Az = b,
with θ = (Q, W, q₀, G, h, A, b), Q symmetric. Its Jacobian in θ is taken by central differences at many
inputs x at which every inequality is active sometimes; the null space of the stacked Jacobians is computed
by SVD and compared with the predicted tangent space: same dimension, and the sine of the largest angle
between the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from proofs.common import generator
from proofs.common.differences import Array
from proofs.common.quadratic import Quadratic, optimum
from proofs.invariances import SOURCE
from proofs.ledger import check


class Layer(NamedTuple):
    """Parameters of the layer."""

    Q: Array
    W: Array
    q0: Array
    G: Array
    h: Array
    A: Array
    b: Array

    def at(self, x: Array) -> Quadratic:
        """The problem that the layer solves at x."""
        return Quadratic(self.Q, self.W @ x + self.q0, self.G, self.h, self.A, self.b)


def random_layer(rng: np.random.Generator, n: int, m: int, p: int) -> Layer:
    """A layer with the origin near the middle of its feasible set, and dim x = n − p."""
    half, G, A = rng.standard_normal((n, n)), rng.standard_normal((m, n)), rng.standard_normal((p, n))
    z = 0.2 * rng.standard_normal(n)
    W = rng.standard_normal((n, n - p))
    return Layer(
        half @ half.T / n + np.eye(n),
        W,
        rng.standard_normal(n),
        G,
        G @ z + rng.uniform(0.2, 0.6, m),
        A,
        A @ z,
    )


def layer_with_inputs(
    rng: np.random.Generator, n: int, m: int, p: int
) -> tuple[Layer, list[tuple[Array, tuple[int, ...]]]]:
    """A layer, and inputs with their active sets: four free ones, and four for each inequality alone.

    Layers at which some inequality is rarely the only active one are drawn again: an inequality that never
    acts is not identified at all.
    """
    while True:
        layer, found = random_layer(rng, n, m, p), []
        wanted: dict[tuple[int, ...], int] = {(): 4, **{(i,): 4 for i in range(m)}}
        for _ in range(200):
            x = 3 * rng.standard_normal(n - p)
            active = optimum(layer.at(x), tolerance=1e-12).active
            if wanted.get(active, 0) > 0:
                wanted[active] -= 1
                found.append((x, active))
            if not any(wanted.values()):
                return layer, found


def directions(layer: Layer) -> Iterator[Layer]:
    """A basis of the parameters, with dQ symmetric."""
    zero = Layer(*(np.zeros_like(part) for part in layer))
    for name, part in zip(Layer._fields, layer, strict=True):
        for index in np.ndindex(part.shape):
            if name == "Q" and index[0] > index[1]:
                continue
            change = np.zeros_like(part)
            change[index] = 1.0
            if name == "Q":
                change[index[::-1]] = 1.0
            yield zero._replace(**{name: change})


def stacked_jacobian(layer: Layer, points: list[tuple[Array, tuple[int, ...]]]) -> Array:
    """∂z*(x)/∂θ over all the inputs, by central differences."""
    step, columns = 1e-6, []
    for direction in directions(layer):
        ends = [Layer(*(a + s * d for a, d in zip(layer, direction, strict=True))) for s in (step, -step)]
        column = []
        for x, active in points:
            above, below = (optimum(end.at(x), first=active, tolerance=1e-12).z for end in ends)
            column.append((above - below).astype(float) / (2 * step))
        columns.append(np.concatenate(column))
    return np.stack(columns, axis=1)


def predicted_tangents(layer: Layer, families: tuple[str, ...]) -> Array:
    """Tangent vectors of the orbits as columns, in the coordinates of `directions`."""
    Q, W, q0, G, h, A, b = layer
    n, m, p, inputs_ = len(q0), len(h), len(b), W.shape[1]
    zero = Layer(*(np.zeros_like(part) for part in layer))

    def unit(*shape: int) -> Iterator[Array]:
        return (row.reshape(shape) for row in np.eye(int(np.prod(shape))))

    found: list[Layer] = []
    if "rows" in families:
        found += [zero._replace(G=e[:, None] * G, h=e * h) for e in unit(m)]
    if "equalities" in families:
        found += [zero._replace(A=E @ A, b=E @ b) for E in unit(p, p)]
    if "objective" in families:
        found += [zero._replace(Q=Q, W=W, q0=q0)]
    if "inequalities on the plane" in families:
        found += [zero._replace(G=M @ A, h=M @ b) for M in unit(m, p)]
    if "objective on the plane" in families:
        found += [zero._replace(Q=A.T @ S + S.T @ A, q0=-S.T @ b) for S in unit(p, n)]
        found += [zero._replace(q0=A.T @ r) for r in unit(p)]
        found += [zero._replace(W=A.T @ Y) for Y in unit(p, inputs_)]
    upper = np.triu_indices(n)
    return np.stack([np.concatenate([t.Q[upper], *(part.ravel() for part in t[1:])]) for t in found], axis=1)


FAMILIES = ("rows", "equalities", "objective", "inequalities on the plane", "objective on the plane")
SIZES = ((3, 3, 1), (3, 2, 1), (4, 2, 2), (2, 3, 0))


def null_space(matrix: Array) -> Array:
    """Right null space by SVD, with a relative threshold of 1e-6."""
    _, values, right = np.linalg.svd(matrix)
    return right[int(np.sum(values > 1e-6 * values[0])) :].T


def angle_errors(families: tuple[str, ...], instances: int) -> Iterator[float]:
    """Sine of the largest angle between the two spaces; infinite if their dimensions differ."""
    for k in range(instances):
        rng = generator("identifiability", k)
        layer, points = layer_with_inputs(rng, *SIZES[k % len(SIZES)])
        computed = null_space(stacked_jacobian(layer, points))
        tangents = predicted_tangents(layer, families)
        left, values, _ = np.linalg.svd(tangents, full_matrices=False)
        predicted = left[:, values > 1e-9 * values[0]]
        if predicted.shape[1] != computed.shape[1]:
            yield float("inf")
        else:
            yield float(np.linalg.norm(computed - predicted @ (predicted.T @ computed), 2))


@check(
    item=11,
    statement="the null space common to ∂z*(x)/∂θ over the inputs is exactly the tangent of the five "
    "families (sine of the angle)",
    source=SOURCE + ", extended",
    strength="numeric",
    tolerance=1e-6,
)
def null_space_predicted(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from angle_errors(FAMILIES, instances)


@null_space_predicted.negative("the row scalings alone, which is what the paper names")
def null_space_rows_only(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from angle_errors(FAMILIES[:1], min(instances, 4))


def count_errors(formula_offset: int, instances: int) -> Iterator[float]:
    """Rank of the predicted tangents against m + p² + 1 + mp + pn − p(p−1)/2 + p + p·dim x."""
    for k in range(instances):
        rng = generator("identifiability.count", k)
        n, p, m = int(rng.integers(3, 7)), int(rng.integers(0, 3)), int(rng.integers(1, 5))
        tangents = predicted_tangents(random_layer(rng, n, m, p), FAMILIES)
        predicted = m + p**2 + 1 + m * p + p * n - p * (p - 1) // 2 + p + p * (n - p) + formula_offset
        yield float(abs(np.linalg.matrix_rank(tangents) - predicted))


@check(
    item=11,
    statement="the dimension of that space is m + p² + 1 + mp + pn − p(p−1)/2 + p + p·dim x",
    source=SOURCE + ", extended",
    strength="numeric",
    tolerance=0,
)
def orbit_dimension(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from count_errors(0, instances)


@orbit_dimension.negative("one more")
def orbit_dimension_off(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from count_errors(1, instances)
