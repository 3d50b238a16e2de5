"""Projection on a cone at 50 digits, by Newton's method on the Lagrange system of its curved boundary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from proofs.common.high_precision import Vector, mp, root
from proofs.common.oracle import project


def boundary_projector(
    near: np.ndarray,
    cone: tuple[str, float],
    surface: Callable[[Vector], Any],
    gradient: Callable[[Vector], Vector],
) -> Callable[[Vector], Vector]:
    """Map v ↦ argmin ½‖p − v‖² s.t. g(p) = 0, for v close to the point `near`.

    Parameters
    ----------
    near : array
        A point outside the cone and its polar; Clarabel's projection of it starts Newton's method.
    cone : (name, size)
        The cone as `oracle.project` takes it.
    surface, gradient : callable
        g, whose zero set is the curved boundary, and ∇g.

    Returns
    -------
    callable
        Takes and returns lists of 50-digit numbers.
    """
    start = project(near, [cone])
    slope = np.array([float(value) for value in gradient([mp.mpf(value) for value in start])])
    multiplier = float(slope @ (near - start) / (slope @ slope))

    def projector(v: Vector) -> Vector:
        def lagrange(*unknown: Any) -> Vector:
            *p, mu = unknown
            stationarity = [pi - vi + mu * gi for pi, vi, gi in zip(p, v, gradient(p), strict=True)]
            return [*stationarity, surface(p)]

        return root(lagrange, [*start, multiplier])[:-1]

    return projector
