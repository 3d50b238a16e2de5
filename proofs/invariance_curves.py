"""The table behind the figure of the invariances: the loss of a layer's output along curves through its parameters.

Each curve θ(t) starts at the same random program. Those of `together` stay on one of the orbits of
`proofs/invariances.py`; `alone` leaves behind the part of the data that the orbit moves along. ½‖z − z₀‖² is constant
along the first and not along the second, so training can find the parameters up to the orbit alone (item 11).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from proofs.common import generator
from proofs.common.quadratic import Quadratic, optimum, random_quadratic
from proofs.ledger import Rows, table

SIZES = (5, 5, 2)
STEPS = np.linspace(-0.6, 0.6, 25)
Curve = Callable[[float], Quadratic]


def curves(problem: Quadratic) -> dict[str, tuple[Curve, Curve]]:
    """By orbit: the curve on it, and the one that leaves h, b or q behind."""
    Q, q, G, h, A, b = problem
    n, m, p = SIZES
    rng = generator("invariance_curves", 1)
    d, T, M = rng.standard_normal(m), rng.standard_normal((p, p)) / 2, rng.standard_normal((m, p))
    S, r = rng.standard_normal((p, n)) / 4, rng.standard_normal(p)

    def both(moved: Callable[[float], Quadratic], part: str) -> tuple[Curve, Curve]:
        return moved, lambda t: moved(t)._replace(**{part: getattr(problem, part)})

    def plane(t: float) -> Quadratic:
        return problem._replace(Q=Q + t * (A.T @ S + S.T @ A), q=q - t * (S.T @ b - A.T @ r))

    return {
        "rows": both(lambda t: problem._replace(G=np.exp(t * d)[:, None] * G, h=np.exp(t * d) * h), "h"),
        "equalities": both(lambda t: problem._replace(A=A + t * T @ A, b=b + t * T @ b), "b"),
        "objective": both(lambda t: problem._replace(Q=np.exp(t) * Q, q=np.exp(t) * q), "q"),
        "rows on the plane": both(lambda t: problem._replace(G=G + t * M @ A, h=h + t * M @ b), "h"),
        "objective on the plane": both(plane, "q"),
    }


@table("proofs/invariance_curves")
def invariance_curves() -> Rows:
    """Loss along each curve, the optimum found by enumeration of the active sets."""
    rng = generator("invariance_curves", 0)
    problem = random_quadratic(rng, *SIZES, active=2)
    target = optimum(problem, tolerance=1e-9).z + rng.standard_normal(SIZES[0]) / 2
    return [
        {"orbit": orbit, "moved": moved, "t": float(t), "loss": _loss(curve(float(t)), target)}
        for orbit, pair in curves(problem).items()
        for moved, curve in zip(("together", "alone"), pair, strict=True)
        for t in STEPS
    ]


def _loss(problem: Quadratic, target: np.ndarray) -> float:
    away = optimum(problem, tolerance=1e-9).z - target
    return float(away @ away / 2)
