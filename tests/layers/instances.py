"""Quadratic programs that the tests share, and an independent solver (Clarabel) to compare with."""

from __future__ import annotations

import clarabel
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

Array = NDArray[np.float64]
Data = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
NAMES = ("Q", "q", "G", "h", "A", "b")


def random_qp(rng: np.random.Generator, n: int, m: int, p: int, batch: tuple[int, ...] = ()) -> Data:
    """Strictly convex problems made from their solution: up to half of the inequalities active, none weakly."""
    root, G, A = (rng.normal(size=(*batch, k, n)) for k in (n, m, p))
    z, nu = rng.normal(size=(*batch, n)), rng.normal(size=(*batch, p))
    size = rng.uniform(0.5, 1.5, size=(*batch, m))
    active = np.arange(m) < min((m + 1) // 2, n - p - 1)
    lam, s = np.where(active, size, 0.0), np.where(active, 0.0, size)
    Q = root @ root.swapaxes(-1, -2) / n + 0.5 * np.eye(n)

    def times(M: Array, x: Array) -> Array:
        return (M @ x[..., None])[..., 0]

    q = -(times(Q, z) + times(G.swapaxes(-1, -2), lam) + times(A.swapaxes(-1, -2), nu))
    return as_data(Q, q, G, times(G, z) + s, A, times(A, z))


def as_data(*arrays: object) -> Data:
    """Six arrays as float64 tensors."""
    Q, q, G, h, A, b = (torch.as_tensor(np.asarray(a, dtype=np.float64)) for a in arrays)
    return Q, q, G, h, A, b


def stack(problems: list[Data]) -> Data:
    """Problems of one size as one batch."""
    Q, q, G, h, A, b = (torch.stack(tensors) for tensors in zip(*problems, strict=True))
    return Q, q, G, h, A, b


def padded(data: Data, n: int, m: int, p: int) -> Data:
    """The same problem at sizes (n, m, p): further variables stay at zero, further rows are zero."""
    arrays = [t.numpy() for t in data]
    Q, q, G, h, A, b = arrays
    more = n - q.size
    Q_full = np.eye(n)
    Q_full[: q.size, : q.size] = Q
    return as_data(
        Q_full,
        np.pad(q, (0, more)),
        np.pad(G, ((0, m - h.size), (0, more))),
        np.pad(h, (0, m - h.size), constant_values=1.0),
        np.pad(A, ((0, p - b.size), (0, more))),
        np.pad(b, (0, p - b.size)),
    )


def clarabel_solution(data: Data, tolerance: float = 1e-12) -> tuple[Array, Array, Array]:
    """(z, λ, ν) of one problem by Clarabel; its word is checked, so a test cannot rest on a failed solve."""
    Q, q, G, h, A, b = (t.detach().numpy() for t in data)
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tolerance
    cones = [clarabel.ZeroConeT(b.size), clarabel.NonnegativeConeT(h.size)]
    upper = sparse.csc_matrix(np.triu(Q))
    rows = sparse.csc_matrix(np.vstack([A, G]))
    solver = clarabel.DefaultSolver(upper, q, rows, np.concatenate([b, h]), cones, settings)
    found = solver.solve()
    assert found.status == clarabel.SolverStatus.Solved, found.status
    y = np.asarray(found.z)
    return np.asarray(found.x), y[b.size :], y[: b.size]


def weigh(x: Tensor) -> Tensor:
    """A scalar to which every entry contributes differently."""
    return (x * torch.linspace(1.0, 2.0, x.numel(), dtype=x.dtype).reshape(x.shape)).sum()


def leaves(data: Data) -> Data:
    """Fresh leaves that record gradients."""
    Q, q, G, h, A, b = (t.detach().clone().requires_grad_() for t in data)
    return Q, q, G, h, A, b


def assert_close(found: Tensor, expected: Tensor, tolerance: float, name: str = "") -> None:
    """Largest error at most ``tolerance`` times the largest expected entry (or 1e-3, if that is larger)."""
    assert found.shape == expected.shape, name
    if expected.numel():
        scale = max(expected.abs().max().item(), 1e-3)
        error = (found - expected).abs().max().item()
        assert error <= tolerance * scale, f"{name}: {error / scale:.1e}"
