"""Total-variation denoising of one-dimensional signals, exactly, for a whole grid of weights.

The regularisation path of the fused lasso signal approximator is piecewise linear in the weight, and along it
neighbouring segments only ever merge (Hoefling 2010, "A path algorithm for the fused lasso signal
approximator", section 2). Following the merges from weight 0 gives the solution at every weight, to rounding,
with no tolerance and no iteration limit.
"""

from collections.abc import Iterator

import numpy as np

Array = np.ndarray


def total_variation_path(noisy: Array, weights: Array) -> Iterator[Array]:
    """Minimise 1/2 ||z - y||^2 + weight * sum_i |z_{i+1} - z_i| for each weight in turn.

    Parameters
    ----------
    noisy : array, shape (signals, length)
        The signals y, one in each row.
    weights : array, shape (count,)
        Non-negative and non-decreasing.

    Yields
    ------
    array, shape (signals, length)
        The minimisers z, one array for each weight.

    Raises
    ------
    ValueError
        If the weights are negative or decrease, or the signals are not the finite rows of a matrix.

    Notes
    -----
    Cost: at most length - 1 merges and one stop per weight, each O(signals * length).
    """
    noisy, weights = np.asarray(noisy, dtype=float), np.asarray(weights, dtype=float)
    if noisy.ndim != 2 or not np.isfinite(noisy).all():
        raise ValueError(f"expected finite signals as rows of a matrix, got an array of shape {noisy.shape}")
    if not (np.diff(weights, prepend=0.0) >= 0).all():
        raise ValueError("expected weights that start at zero or above and never decrease")
    values = noisy.copy()
    joined = np.diff(values, axis=1) == 0
    reached = np.zeros(len(values))
    for weight in weights:
        behind = np.flatnonzero(reached < weight)
        while behind.size:
            _advance(values, joined, reached, behind, weight)
            behind = behind[reached[behind] < weight]
        yield values.copy()


def total_variation(noisy: Array, weight: float) -> Array:
    """Minimise 1/2 ||z - y||^2 + weight * TV(z) for each row y; see `total_variation_path`."""
    return next(total_variation_path(noisy, np.array([weight])))


def _advance(values: Array, joined: Array, reached: Array, rows: Array, weight: float) -> None:
    """Move `rows` to their next merge or to `weight`, whichever comes first; arrays change in place."""
    slopes = _slopes(values[rows], joined[rows])
    gaps, rates = np.diff(values[rows], axis=1), np.diff(slopes, axis=1)
    # Two neighbouring segments meet when their gap, which shrinks at a constant rate, is used up.
    closing = ~joined[rows] & (gaps * rates < 0)
    wait = np.where(closing, -gaps / np.where(closing, rates, 1.0), np.inf)
    first = wait.min(axis=1, initial=np.inf)
    left = weight - reached[rows]
    merges = first <= left
    values[rows] += slopes * np.minimum(first, left)[:, None]
    joined[rows] |= (wait <= first[:, None]) & merges[:, None]
    reached[rows] = np.where(merges, reached[rows] + first, weight)


def _slopes(values: Array, joined: Array) -> Array:
    """Derivative of every sample with respect to the weight."""
    # Summing the stationarity conditions over a segment of k samples cancels its inner subgradients and
    # leaves k z = sum(y) + weight (sign at the right end - sign at the left end).
    signs = np.where(joined, 0.0, np.sign(np.diff(values, axis=1)))
    pull = np.diff(np.pad(signs, ((0, 0), (1, 1))), axis=1)
    starts = np.pad(~joined, ((0, 0), (1, 0)), constant_values=True)
    segment = np.cumsum(starts.ravel()) - 1
    slopes = np.bincount(segment, weights=pull.ravel()) / np.bincount(segment)
    return slopes[segment].reshape(values.shape)
