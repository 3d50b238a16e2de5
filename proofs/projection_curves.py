"""The table behind the figure of the cone projections: a line across each cone, its polar and between.

For v(τ) on a line: the distance ‖v − Π(v)‖ and the trace of DΠ(v), both by the formulas of item 6. The
trace is the number of dimensions in which the projection moves with v: that of the space inside the cone, 0
in its polar, with a jump at every kink.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from proofs import exponential_cone, power_cone, second_order_cone
from proofs.common.high_precision import exact, mp
from proofs.ledger import Rows, table

POSITIONS = np.linspace(-1.6, 1.6, 129)
ALPHA = 0.3


def nonnegative(tau: float) -> tuple[float, float]:
    """Distance and trace at (τ − ½, τ, τ + ½)."""
    v = tau + np.array([-0.5, 0.0, 0.5])
    return float(np.linalg.norm(np.minimum(v, 0))), float(np.sum(v > 0))


def lorentz(tau: float) -> tuple[float, float]:
    """Distance and trace at (τ, 0.6, 0.8)."""
    v = np.array([tau, 0.6, 0.8])
    distance = np.linalg.norm(v - second_order_cone.project(v))
    return float(distance), float(np.trace(second_order_cone.jacobian(v)))


def semidefinite(tau: float) -> tuple[float, float]:
    """Distance and trace at diag(τ − ½, τ + ½), on the three-dimensional space of symmetric matrices."""
    low, high = tau - 0.5, tau + 0.5
    mixed = float(low > 0) if low * high > 0 else max(high, 0.0) / (high - low)
    return float(np.hypot(min(low, 0), min(high, 0))), float(low > 0) + mixed + float(high > 0)


def exponential(tau: float) -> tuple[float, float]:
    """Distance and trace at (0.3, 0.5, τ)."""
    v = np.array([0.3, 0.5, tau])
    if v[1] * np.exp(v[0] / v[1]) <= tau:
        return 0.0, 3.0
    if v[0] * np.exp((v[1] - v[0]) / v[0]) <= -tau:
        return float(np.linalg.norm(v)), 0.0
    p = exponential_cone.project(exact(v)).astype(float)
    return float(np.linalg.norm(v - p)), float(np.trace(exponential_cone.jacobian(exact(v))))


def power(tau: float) -> tuple[float, float]:
    """Distance and trace at (τ, τ, 1) for α = 0.3."""
    v = np.array([tau, tau, 1.0])
    if tau >= 1:
        return 0.0, 3.0
    if -tau >= ALPHA**ALPHA * (1 - ALPHA) ** (1 - ALPHA):
        return float(np.linalg.norm(v)), 0.0
    a = mp.mpf(ALPHA)
    p = np.array(power_cone.project(exact(v), a)).astype(float)
    return float(np.linalg.norm(v - p)), float(np.trace(power_cone.jacobian(exact(v), a)))


CURVES = {
    "nonnegative": nonnegative,
    "second_order": lorentz,
    "semidefinite": semidefinite,
    "exponential": exponential,
    "power": power,
}


@table("proofs/cone_projections")
def cone_projections() -> Rows:
    """Distance and trace of the derivative along one line for each of five cones."""
    return list(_rows())


def _rows() -> Iterator[dict[str, object]]:
    for name, curve in CURVES.items():
        for tau in POSITIONS:
            distance, trace = curve(float(tau))
            yield {"cone": name, "position": float(tau), "distance": distance, "trace": trace}
