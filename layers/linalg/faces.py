"""How many dimensions a set of directions has: what tells how many minimisers there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from layers.linalg.generalised import Array, Indices
from layers.linalg.shortest import null_space, rank

#: a row that takes no direction farther than this, relative to its terms, does not see them
BLIND = 1e-13


def face_dimension(held: Any, one_sided: Array, shown: Indices | None = None) -> int:
    """Dimension of {d : held d = 0, one_sided d ≤ 0}, of its image in the entries ``shown`` if there are any to name.

    The cone lies in the null space V of ``held``, and in that of the rows of ``one_sided`` that vanish on all of it.
    These are the rows i with a combination ∑ μⱼ wⱼ = 0 of all rows, μ ≥ 0 and μᵢ > 0 (Farkas), found at once by a
    linear program that makes as many μᵢ as large as one as it can. Ranks as in :func:`layers.linalg.shortest.rank`.
    """
    V = null_space(held)
    if V.shape[1] and one_sided.shape[0]:
        W, pinned = _seen(V, one_sided)
        if W.any():
            V = V @ null_space(W[pinned])
    if shown is None or not V.shape[1]:
        return V.shape[1]
    seen = V[shown]
    return rank(np.where(abs(seen) > BLIND * abs(V).max(axis=0), seen, 0.0))


def pinned_rows(held: Any, one_sided: Array) -> NDArray[np.bool_]:
    """Which rows of ``one_sided`` vanish on {d : held d = 0, one_sided d ≤ 0} though not on the null space of ``held``.

    Rows that pin each other, as d ≤ 0 and −d ≤ 0: what they say together is an equality.
    """
    return _seen(null_space(held), one_sided)[1]


def _seen(V: Array, one_sided: Array) -> tuple[Array, NDArray[np.bool_]]:
    """The rows on the space spanned by V, rounding set to zero, and which of those that are left pin each other."""
    pinned = np.zeros(one_sided.shape[0], dtype=bool)
    W: Array = one_sided @ V
    W = np.where(abs(W) > BLIND * (abs(one_sided) @ abs(V)), W, 0.0)
    alive = abs(W).max(axis=1, initial=0.0) > 0
    if alive.sum() > 1:
        size = abs(W).max(axis=0)
        scaled = W[alive] / np.where(size > 0, size, 1.0)
        pinned[alive] = _vanishing(scaled / abs(scaled).max(axis=1, keepdims=True))
    return W, pinned


def _vanishing(W: Array) -> NDArray[np.bool_]:
    """Which rows are zero wherever all of W d ≤ 0; bool."""
    k = W.shape[0]
    # maximise Σ t over μ = t + u ≥ 0 with Wᵀ μ = 0 and 0 ≤ t ≤ 1
    found: Any = scipy.optimize.linprog(
        np.r_[-np.ones(k), np.zeros(k)],
        A_eq=np.hstack([W.T, W.T]),
        b_eq=np.zeros(W.shape[1]),
        bounds=[(0, 1)] * k + [(0, None)] * k,
    )
    return found.x[:k] > 0.5 if found.x is not None else np.zeros(k, dtype=bool)
