"""Solution and derivative of an instance in exact arithmetic, sharing no code with the layer.

That (z, lam, nu) solves the program is checked in integers, without rounding. The derivative is that of the equations
that hold at the solution, K d = -(w, 0, 0) with K = [Q G_a' A'; G_a 0 0; A 0 0] (OptNet, eq. 7, on the active rows a),
by iterative refinement (Wilkinson 1963): corrections in double precision, residuals in integers, until d has 50
decimals.
"""

import math
from typing import Any

import numpy as np
from scipy.linalg import lu_factor, lu_solve

from experiments.common.differentiation.instances import NAMES, Array, Instance

#: binary digits of d behind the point, and of those the ones that a last correction no longer changes
DIGITS, SETTLED = 200, 165
CORRECTIONS = 60


def check(instance: Instance) -> None:
    """Raise a ValueError unless the KKT conditions of `instance` hold exactly."""
    scale = max(
        _exponent(value) for value in [*instance.data.values(), instance.z, instance.lam, instance.nu]
    )
    Q, G, A, z, lam, nu = (
        _integers(getattr(instance, name), scale) for name in ("Q", "G", "A", "z", "lam", "nu")
    )
    q, h, b = (_integers(getattr(instance, name), 2 * scale) for name in ("q", "h", "b"))
    gradient = Q @ z + q + G.T @ lam + A.T @ nu
    slack = h - G @ z
    holds = not gradient.any() and not (A @ z - b).any() and (slack >= 0).all() and (lam >= 0).all()
    if not (holds and not (slack * lam).any() and not slack[instance.active].any()):
        raise ValueError("the instance does not solve its own program")


def gradients(instance: Instance, active: Array | None = None) -> dict[str, Array]:
    """The derivative of w'z in each argument; of other `active` rows than the instance's if they are given."""
    rows = instance.active if active is None else active
    G = instance.G[rows]
    n, k, p = len(instance.q), len(G), len(instance.b)
    K = np.zeros((n + k + p, n + k + p))
    K[:n, :n], K[n : n + k, :n], K[n + k :, :n] = instance.Q, G, instance.A
    K[:n, n : n + k], K[:n, n + k :] = G.T, instance.A.T
    d = solve(K, np.concatenate([-instance.w, np.zeros(k + p)]))
    d_z, d_nu, d_lam = d[:n], d[n + k :], np.zeros(len(instance.h))
    d_lam[rows] = d[n : n + k]
    z, lam, nu = instance.z, instance.lam, instance.nu
    symmetric = np.outer(d_z, z)
    found = (
        *((symmetric + symmetric.T) / 2, d_z),
        *(np.outer(d_lam, z) + np.outer(lam, d_z), -d_lam),
        *(np.outer(d_nu, z) + np.outer(nu, d_z), -d_nu),
    )
    return dict(zip(NAMES, found, strict=True))


def solve(K: Array, r: Array) -> Array:
    """K^-1 r for the doubles K and r, rounded once from 50 decimals.

    Raises
    ------
    ValueError
        If K is too ill conditioned for refinement in double precision.
    """
    shift = _exponent(K)
    exact, left = _integers(K, shift), _integers(r, DIGITS + shift)
    factor = lu_factor(K)
    x = np.zeros(len(r), dtype=object)
    for _ in range(CORRECTIONS):
        residual = np.array([_double(value, DIGITS + shift) for value in left - exact @ x])
        step = lu_solve(factor, residual)
        x = x + np.array([int(math.ldexp(value, DIGITS)) for value in step], dtype=object)
        found = np.array([_double(value, DIGITS) for value in x])
        if np.abs(step).max() <= math.ldexp(np.abs(found).max(), -SETTLED):
            return found
    raise ValueError("refinement does not converge: the instance is too ill conditioned")


def _exponent(values: Array) -> int:
    """The least e for which 2^e times every entry is an integer."""
    return max((float(v).as_integer_ratio()[1].bit_length() - 1 for v in values.flat), default=0)


def _integers(values: Array, exponent: int) -> Any:
    """2^exponent times every entry, as integers of any length."""
    found = np.empty(values.shape, dtype=object)
    for place, value in np.ndenumerate(values):
        numerator, denominator = float(value).as_integer_ratio()
        found[place] = numerator * (2**exponent // denominator)
    return found


def _double(value: int, exponent: int) -> float:
    """value / 2^exponent, rounded once."""
    return value / (1 << exponent)
