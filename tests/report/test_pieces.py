"""The pieces that the page looks up are the layer: solution, multipliers and derivative, everywhere one may drag to."""

import numpy as np
import pytest
import torch

from layers import solve_qp
from tools.report import pieces

Q, G = (torch.tensor(matrix, dtype=torch.float64) for matrix in (pieces.Q, pieces.G))


@pytest.fixture(scope="module")
def data():
    return pieces.pieces()


def positions(rng: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return linear costs and bounds that a reader may drag to."""
    cost = torch.tensor(rng.uniform(-pieces.LIMITS["cost"], pieces.LIMITS["cost"], (count, 2)))
    return -cost @ Q, torch.tensor(rng.uniform(*pieces.LIMITS["h"], (count, 4)))


def answer(data, q, h) -> tuple[list[float], list[float]]:
    """Return z and λ as the script of the page looks them up: of the piece that violates its conditions least."""
    found = []
    for piece in data["pieces"]:
        z, lam = (np.array(piece[name]) @ np.array((*q, *h)) for name in ("z", "lam"))
        margins = np.where(np.isin(range(4), piece["rows"]), lam, np.array(h) - np.array(pieces.G) @ z)
        found.append((margins.min(), z.tolist(), lam.tolist()))
    return max(found)[1:]


def test_the_page_answers_what_the_layer_answers(data, rng):
    q, h = positions(rng, 400)
    solved = solve_qp(Q, q, G, h)
    found = [answer(data, a, b) for a, b in zip(q.tolist(), h.tolist(), strict=True)]
    z, lam = (torch.tensor(part, dtype=torch.float64) for part in zip(*found, strict=True))
    assert torch.allclose(z, solved.z, rtol=0, atol=1e-8)
    assert torch.allclose(lam, solved.lam, rtol=0, atol=1e-8)


def test_every_number_of_active_rows_occurs_and_a_missing_piece_is_felt(data, rng):
    """Negative: without the pieces of one row the page would answer something else."""
    q, h = positions(rng, 400)
    counts = (solve_qp(Q, q, G, h).lam > 1e-9).sum(1)
    assert set(counts.tolist()) == {0, 1, 2}
    poorer = {**data, "pieces": [piece for piece in data["pieces"] if len(piece["rows"]) != 1]}
    at = int((counts == 1).nonzero()[0, 0])
    z, _ = answer(poorer, q[at].tolist(), h[at].tolist())
    assert max(abs(a - b) for a, b in zip(z, solve_qp(Q, q[at], G, h[at]).z.tolist(), strict=True)) > 1e-3


def test_the_derivative_of_a_piece_is_the_layer_s_derivative(data, rng):
    q, h = positions(rng, 40)
    for linear, bounds in zip(q, h, strict=True):
        theta = torch.cat([linear, bounds])
        jacobian = torch.autograd.functional.jacobian(lambda t: solve_qp(Q, t[:2], G, t[2:]).z, theta)
        lam = solve_qp(Q, linear, G, bounds).lam
        rows = [i for i in range(4) if lam[i] > 1e-9]
        (piece,) = [piece for piece in data["pieces"] if piece["rows"] == rows]
        assert torch.allclose(torch.tensor(piece["z"], dtype=torch.float64), jacobian, rtol=0, atol=1e-8)


def test_a_kink_is_what_the_layer_returns_anywhere_on_that_border(data, rng):
    """z = 0 again, but with other multipliers on the rows that hold and other slacks on those that are free."""
    for kink in data["kinks"]:
        lam, slack = torch.zeros(4, dtype=torch.float64), torch.tensor(rng.uniform(0.5, 2, 4))
        lam[kink["rows"]] = torch.tensor(rng.uniform(0.5, 2, len(kink["rows"])))
        slack[[*kink["rows"], kink["row"]]] = 0
        theta = torch.cat([-G.T @ lam, slack])
        jacobian = torch.autograd.functional.jacobian(lambda t: solve_qp(Q, t[:2], G, t[2:]).z, theta)
        assert torch.allclose(torch.tensor(kink["z"], dtype=torch.float64), jacobian, rtol=0, atol=1e-8)


def test_every_set_of_independent_rows_has_a_piece_and_every_border_a_kink(data):
    sets = [tuple(piece["rows"]) for piece in data["pieces"]]
    assert len(sets) == len(set(sets)) == 11
    borders = {(tuple(kink["rows"]), kink["row"]) for kink in data["kinks"]}
    assert borders == {(tuple(r for r in rows if r != row), row) for rows in sets for row in rows}


def test_pieces_are_the_same_every_time(data):
    assert pieces.pieces() == data
