"""The layer in the reader's hands: every affine piece of a small program's solution map, asked of the layer.

The program is min ½zᵀQz + qᵀz subject to Gz ≤ h, in two variables, with Q and G fixed. For a set of rows S that
hold with equality, z and λ are linear in (q, h), so the layer's derivative at one point of a piece is its answer on
the whole piece. At z = 0 with λ = 1 on S and slack 1 elsewhere, that is at h = 1 off S, h = 0 on S, q = −Σ_S G_i,
exactly the rows of S are active, and strictly so. The page picks the piece whose multipliers and slacks are
nonnegative.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

Q = ((1.0, 0.3), (0.3, 0.7))
G = ((1.0, 0.25), (-0.4, 1.0), (-1.0, -0.5), (0.5, -1.0))
#: what the page begins with, and how far the reader may drag
START = {"cost": (1.4, 0.75), "h": (1.0, 0.9, 1.2, 1.0), "target": (-0.9, -0.35)}
LIMITS = {"cost": 2.4, "h": (0.2, 2.2)}
DIGITS = 10


def pieces() -> dict[str, Any]:
    """Return the program, its pieces and its kinks, as numbers of ten digits.

    A piece has its rows, ``z`` (2 × 6) and ``lam`` (4 × 6), the derivatives in (q, h). A kink is the border of two
    pieces, where one row more is weakly active: ``z`` is the derivative that the layer returns there. Cost: 27 solves.
    """
    import torch

    from layers import solve_qp

    matrices = torch.tensor(Q, dtype=torch.float64), torch.tensor(G, dtype=torch.float64)

    def solution(data: Any) -> Any:
        found = solve_qp(matrices[0], data[:2], matrices[1], data[2:])
        return torch.cat([found.z, found.lam])

    def derivative(active: tuple[int, ...], weak: tuple[int, ...] = ()) -> list[list[float]]:
        data = torch.tensor(point(active, weak), dtype=torch.float64)
        jacobian: Any = torch.autograd.functional.jacobian(solution, data)
        return [[_rounded(float(value)) for value in row] for row in jacobian]

    found = {active: derivative(active) for active in independent()}
    return {
        "Q": Q,
        "G": G,
        "start": START,
        "limits": LIMITS,
        "pieces": [{"rows": list(rows), "z": map_[:2], "lam": map_[2:]} for rows, map_ in found.items()],
        "kinks": [
            {"rows": list(rows), "row": weak, "z": derivative(rows, (weak,))[:2]}
            for rows in found
            for weak in range(len(G))
            if tuple(sorted((*rows, weak))) in found and weak not in rows
        ],
    }


def independent() -> Iterator[tuple[int, ...]]:
    """Yield every set of at most two rows of G that are independent."""
    yield ()
    for size in (1, 2):
        for rows in combinations(range(len(G)), size):
            if size == 1 or abs(G[rows[0]][0] * G[rows[1]][1] - G[rows[0]][1] * G[rows[1]][0]) > 1e-9:
                yield rows


def point(active: tuple[int, ...], weak: tuple[int, ...] = ()) -> list[float]:
    """Return data (q, h) whose optimum is 0, with λ = 1 on ``active`` and 0 on ``weak``, both without slack."""
    linear = [-sum(G[row][axis] for row in active) for axis in range(2)]
    return [float(value) for value in linear] + [
        0.0 if row in (*active, *weak) else 1.0 for row in range(len(G))
    ]


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}") if abs(value) > 1e-12 else 0.0
