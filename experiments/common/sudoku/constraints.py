"""The constraints that solved boards share, found from the boards alone, and their distance from the true ones.

The affine hull of boards y_1 .. y_N is mean + span of the right singular vectors of (y_i - mean) whose singular value
is not zero. The other singular vectors are the rows of A in Az = A mean: all equalities that these boards share follow
from these.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from experiments.common.sudoku.rules import Array

# Singular values of differences of 0-1 vectors are either of the size of one or rounding.
RANK_TOLERANCE = 1e-8


@dataclass(frozen=True)
class AffineHull:
    """All z with normals (z - mean) = 0: shapes (n - dimension, n), orthonormal rows, and (n,)."""

    mean: Array
    normals: Array


def affine_hull(points: Array) -> AffineHull:
    """The affine hull of the rows of `points`, shape (points, n); its cost grows as n^2 * points."""
    mean = points.mean(axis=0)
    # R has the singular values of the points, and no row for each of them.
    _, singular, basis = np.linalg.svd(np.linalg.qr(points - mean, mode="r"), full_matrices=True)
    rank = int((singular > RANK_TOLERANCE * max(singular[0], 1.0)).sum())
    return AffineHull(mean, basis[rank:])


def dimensions(points: Array) -> Array:
    """Dimension of the affine hull of the first k points for every k = 1 .. N, shape (points,), by Gram-Schmidt."""
    basis = np.empty((0, points.shape[1]))
    found: list[int] = []
    for point in points:
        rest = point - points[0]
        # Twice: what rounding leaves of the known directions after the first pass goes in the second.
        for _ in range(2):
            rest = rest - basis.T @ (basis @ rest)
        length = np.linalg.norm(rest)
        if length > RANK_TOLERANCE * np.sqrt(points.shape[1]):
            basis = np.vstack([basis, rest / length])
        found.append(len(basis))
    return np.array(found)


def independent_rows(matrix: Array) -> Array:
    """As many rows of `matrix` as its rank, chosen by pivoted elimination; they stay as sparse as they are."""
    # The declared result depends on the mode; its last entry is the order of the rows, the most independent first.
    order: Any = scipy.linalg.qr(matrix.T, mode="r", pivoting=True)[-1]
    return matrix[np.sort(order[: len(row_space(matrix))])]


def row_space(matrix: Array) -> Array:
    """Orthonormal rows that span those of `matrix`."""
    _, singular, basis = np.linalg.svd(matrix, full_matrices=False)
    return basis[singular > RANK_TOLERANCE * singular[0]]


def principal_angles(first: Array, second: Array) -> Array:
    """Principal angles in degrees, increasing, between spaces given by orthonormal rows (Björck & Golub 1973).

    There are as many as the smaller space has dimensions; it lies within the larger one if and only if all are zero.
    Angles below 45 degrees come from their sines, which keep their digits where cosines lose them.
    """
    small, large = sorted((first, second), key=len)
    product = small @ large.T
    cosines = np.linalg.svd(product, compute_uv=False).clip(0, 1)
    sines = np.linalg.svd(small - product @ large, compute_uv=False)[::-1].clip(0, 1)
    angles = np.where(cosines > np.sqrt(0.5), np.arcsin(sines), np.arccos(cosines))
    return np.degrees(angles)
