"""The table behind the figure of the shadow price: the optimal value of one program against one bound.

min ½‖z‖² − 2z₁ − z₂ subject to z₁ + z₂ ≤ h, z ≥ 0. With λ the multiplier of the first row, dp*/dh = −λ (item 5), also
where the active set changes, at h = 1 and h = 3: there λ has a kink and p* has none.
"""

from __future__ import annotations

import numpy as np

from proofs.common.quadratic import Quadratic, optimum
from proofs.ledger import Rows, table

BOUNDS = np.linspace(0.0, 4.0, 81)


def program(bound: float) -> Quadratic:
    """The data at h = `bound`."""
    G = np.array([[1.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    h = np.array([bound, 0.0, 0.0])
    return Quadratic(np.eye(2), np.array([-2.0, -1.0]), G, h, np.zeros((0, 2)), np.zeros(0))


@table("proofs/value_curve")
def value_curve() -> Rows:
    """Bound, optimal value and multiplier, the optimum found by enumeration of the active sets."""
    rows: list[dict[str, object]] = []
    # At h = 0 the three rows meet in one point, and the multipliers are not unique.
    for bound in BOUNDS[1:]:
        problem = program(float(bound))
        point = optimum(problem, tolerance=1e-12)
        value = float(point.z @ point.z / 2 + problem.q @ point.z)
        rows.append({"bound": float(bound), "value": value, "multiplier": float(point.lam[0])})
    return rows
