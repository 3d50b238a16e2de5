"""What puzzles teach the layer without z >= 0, where its best equalities are an eigenvalue problem.

Without inequalities and with curvature c the layer answers z = P (x/c - m) + m, P the projection on the space that the
equalities leave, m a point of it. Let each cell of a board y be given with probability s, so that x/s = y + e with e of
mean zero, and let c = s. Then

    E |z - y|^2 = E |(I - P)(y - m)|^2 + tr(P Cov e)

and Cov e = (1 - s) / (9 s) I, as cells are given independently and hold each of the 9 digits equally often: the loss of
principal component analysis of whole boards plus a constant. So there are no bad minima (Baldi & Hornik 1989), and the
normals are the eigenvectors of least eigenvalue of the covariance of boards, as far as the data tell it.
"""

import numpy as np

from experiments.common.sudoku.rules import Array


def covariance_of_pairs(boards: Array, shares: list[float], order: int, rng: np.random.Generator) -> Array:
    """The matrix S for which the loss over puzzles and their solutions is a constant - tr(P S), shape (n, n).

    With u = x/s - m and v = y - m it is the mean of u v' + v u' - u u' = v v' - (u - v)(u - v)'.

    Parameters
    ----------
    boards : array, shape (boards, n)
        One-hot solved boards, the targets.
    shares : list of float
        Share of givens of each masking; every board is masked once for each.
    order : int
        k, with n = k^6.
    rng : numpy.random.Generator
        Chooses the givens.
    """
    cells, size = order**4, order**2
    centred = boards - 1 / size
    noise = np.zeros((boards.shape[1], boards.shape[1]))
    for share in shares:
        given = rng.random((len(boards), cells)) < share
        error = (given.repeat(size, axis=1) / share - 1) * boards
        noise += error.T @ error
    return (centred.T @ centred - noise / len(shares)) / len(boards)


def covariance_of_givens(givens: Array, order: int) -> Array:
    """The covariance of boards as unsolved puzzles tell it, shape (n, n), from one-hot puzzles (puzzles, n).

    An entry of it is about two cells: the mean over those puzzles that give both, zero where none does. Hiding some
    givens and predicting them from the others estimates the same, averaged over all ways to hide.
    """
    size = order**2
    given = givens.reshape(len(givens), -1, size).sum(axis=2)
    together = (given.T @ given).repeat(size, axis=0).repeat(size, axis=1)
    mean = givens.T @ givens / np.maximum(together, 1)
    return np.where(together > 0, mean - size**-2.0, 0.0)


def least_normals(covariance: Array, count: int) -> Array:
    """The `count` eigenvectors of least eigenvalue as rows, shape (count, n)."""
    return np.linalg.eigh(covariance)[1][:, :count].T
