"""The quadratic programs of the benchmark: random ones, and those of real layers.

Each generator takes `draw`, 0 or 1: two mini-batches of one layer. Timings alternate between them, so that no engine
can live on the answer, or on the factorisation, of the call before; what a layer holds constant is equal in both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

NAMES: tuple[str, ...] = ("Q", "q", "G", "h", "A", "b")


@dataclass(frozen=True)
class Data:
    """minimise 1/2 z'Qz + q'z subject to Gz <= h, Az = b; float64, a missing batch axis means shared.

    Attributes
    ----------
    Q, q, G, h, A, b : Tensor
        Shapes ``(..., n, n)``, ``(..., n)``, ``(..., m, n)``, ``(..., m)``, ``(..., p, n)``, ``(..., p)``.
    learned : tuple of str
        The arguments that gradients are asked of.
    draw : int
        Which of the two mini-batches.
    previous : Data, optional
        The same samples one epoch earlier, where an engine may start warm.
    degenerate : bool
        Active rows depend on each other or have no multiplier: only what is learned has a gradient.
    """

    Q: Tensor
    q: Tensor
    G: Tensor
    h: Tensor
    A: Tensor
    b: Tensor
    learned: tuple[str, ...] = NAMES
    draw: int = 0
    previous: Data | None = None
    degenerate: bool = False

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The six arguments in order."""
        return self.Q, self.q, self.G, self.h, self.A, self.b

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(n, m, p)."""
        return self.q.shape[-1], self.h.shape[-1], self.b.shape[-1]

    @property
    def batch(self) -> int:
        """Number of problems."""
        return max(
            len(t) if self.is_batched(name) else 1 for name, t in zip(NAMES, self.tensors, strict=True)
        )

    @property
    def shared(self) -> tuple[str, ...]:
        """The arguments that all problems of the batch have in common."""
        return tuple(name for name in NAMES if not self.is_batched(name))

    def is_batched(self, name: str) -> bool:
        """Whether an argument has a batch axis."""
        value: Tensor = getattr(self, name)
        return value.dim() == (3 if name.isupper() else 2)

    def leaves(self) -> Data:
        """A copy whose learned arguments are leaves that ask for gradients."""
        return replace(self, **{k: getattr(self, k).detach().clone().requires_grad_() for k in self.learned})

    def expanded(self) -> Data:
        """All arguments with a batch axis, as views: torch sums the gradients of what was shared."""
        wide = {k: getattr(self, k).expand(self.batch, *getattr(self, k).shape) for k in self.shared}
        return replace(self, **wide)

    def first(self, count: int) -> Data:
        """The first problems of the batch."""
        some = {k: getattr(self, k)[:count] for k in NAMES if self.is_batched(k)}
        return replace(self, **some, previous=None)

    def to(self, device: str) -> Data:
        """The same problems on another device."""
        return replace(self, **{k: getattr(self, k).to(device) for k in NAMES})


def random_programs(draw: int, batch: int, n: int, m: int, p: int) -> Data:
    """Strictly convex programs of OptNet's kind, nothing shared: Q = LL'/n + I/10, h = Gz0 + s0, b = Az0."""
    rng = np.random.default_rng((n, m, p, batch, draw))
    root = rng.standard_normal((batch, n, n))
    G, A = rng.standard_normal((batch, m, n)), rng.standard_normal((batch, p, n))
    z0, slack = rng.standard_normal((batch, n, 1)), rng.uniform(size=(batch, m))
    q = rng.standard_normal((batch, n))
    Q = root @ root.transpose(0, 2, 1) / n + 0.1 * np.eye(n)
    present = "Qq" + "Gh" * (m > 0) + "Ab" * (p > 0)
    return data_of(Q, q, G, (G @ z0)[..., 0] + slack, A, (A @ z0)[..., 0], learned=tuple(present), draw=draw)


def sudoku_4x4(draw: int, batch: int = 150) -> Data:
    """OptNet's mini-Sudoku at the start of training: Q = I/10, z >= 0, A (40 x 64) learned, b = A 1, q = -puzzle."""
    rng = np.random.default_rng((4, draw))
    A = np.random.default_rng(40).uniform(size=(40, 64)) + 1e-2 * draw
    q = -_puzzles(rng, batch, side=2, givens=5).reshape(batch, 64)
    eye = np.eye(64)
    return data_of(0.1 * eye, q, -eye, np.zeros(64), A, A.sum(1), learned=("A", "b"), draw=draw)


def sudoku_4x4_second_epoch(draw: int, batch: int = 150) -> Data:
    """The same after one more epoch of small steps: every entry of A moved by one per cent of its mean."""
    before = sudoku_4x4(draw, batch)
    rng = np.random.default_rng((5, draw))
    A = before.A + 0.005 * torch.from_numpy(rng.standard_normal(before.A.shape))
    return replace(before, A=A, b=A.sum(1), previous=before)


def sudoku_9x9(draw: int) -> Data:
    """The guess of a network projected on the relaxed 9 x 9 Sudoku: 729 variables, the 249 independent rules."""
    rng = np.random.default_rng((9, draw))
    rules = (1 + 1e-3 * draw) * _sudoku_rules(3)
    logits = rng.standard_normal((9, 9, 9)) + 2 * _puzzles(rng, 1, side=3, givens=25)[0]
    guess = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    eye = np.eye(729)
    return data_of(0.1 * eye, -0.1 * guess.reshape(1, 729), -eye, np.zeros(729), rules, rules.sum(1) / 9,
                 learned=("q", "A", "b"), draw=draw)  # fmt: skip


def denoising(draw: int, batch: int = 150) -> Data:
    """OptNet's tuned total variation, n = 199, m = 198: Q diagonal, q = (-y, 13), G = [D, -I; -D, -I], all learned."""
    rng = np.random.default_rng((100, draw))
    pieces = rng.integers(10, 100, size=(batch, 10)).astype(float)
    noisy = np.repeat(pieces, 10, axis=1) + 10 * rng.standard_normal((batch, 100))
    D, eye = np.diff(np.eye(100), axis=0), np.eye(99)
    q = np.concatenate([-noisy, np.full((batch, 99), 13.0)], 1)
    Q = (1 + 1e-3 * draw) * np.diag(np.r_[np.ones(100), np.full(99, 1e-4)])
    G = (1 + 1e-3 * draw) * np.block([[D, -eye], [-D, -eye]])
    return data_of(Q, q, G, np.zeros(198), learned=("Q", "q", "G", "h"), draw=draw)


def portfolio(draw: int, batch: int = 128) -> Data:
    """Markowitz over 20 assets: risk of a factor model, shared; predicted returns q = -mu; z >= 0, sum z = 1."""
    fixed, rng = np.random.default_rng(20), np.random.default_rng((20, draw))
    factors = fixed.standard_normal((20, 4))
    Q = factors @ factors.T + np.diag(fixed.uniform(0.2, 1.0, 20))
    eye = np.eye(20)
    return data_of(Q, -rng.standard_normal((batch, 20)), -eye, np.zeros(20), np.ones((1, 20)), np.ones(1),
                 learned=("q",), draw=draw)  # fmt: skip


def control(draw: int, batch: int) -> Data:
    """Linear MPC with 2 inputs over 5 steps, states eliminated: n = 10, bounds |u| <= 1; Q and q learned, Q shared."""
    fixed, rng = np.random.default_rng(10), np.random.default_rng((10, draw))
    A = 0.9 * np.eye(4) + 0.1 * fixed.standard_normal((4, 4))
    B = 0.5 * fixed.standard_normal((4, 2))
    powers = [np.linalg.matrix_power(A, k) for k in range(6)]
    zero = np.zeros((4, 2))
    response = np.block([[powers[i - j] @ B if j <= i else zero for j in range(5)] for i in range(5)])
    Q = response.T @ response + (0.1 + 0.01 * draw) * np.eye(10)
    q = 2.4 * rng.standard_normal((batch, 4)) @ np.concatenate(powers[1:]).T @ response
    eye = np.eye(10)
    return data_of(Q, q, np.concatenate([eye, -eye]), np.ones(20), learned=("Q", "q"), draw=draw)


def data_of(
    Q: np.ndarray,
    q: np.ndarray,
    G: np.ndarray,
    h: np.ndarray,
    A: np.ndarray | None = None,
    b: np.ndarray | None = None,
    learned: tuple[str, ...] = NAMES,
    draw: int = 0,
) -> Data:
    """Arrays as programs; equalities that are absent get no row."""
    n = q.shape[-1]
    A, b = (np.zeros((0, n)), np.zeros(0)) if A is None or b is None else (A, b)
    t = [torch.from_numpy(np.ascontiguousarray(x)) for x in (Q, q, G, h, A, b)]
    return Data(t[0], t[1], t[2], t[3], t[4], t[5], learned=learned, draw=draw)


def _puzzles(rng: np.random.Generator, batch: int, side: int, givens: int) -> np.ndarray:
    """One-hot puzzles with some cells given, zeros elsewhere; shape (batch, s, s, s) for s = side squared."""
    s = side * side
    cells = np.arange(s)
    pattern = (side * (cells % side) + cells // side)[:, None] + cells[None, :]
    boards = np.stack([rng.permutation(s)[pattern % s] for _ in range(batch)])
    keep = np.stack([rng.permutation(s * s) < givens for _ in range(batch)]).reshape(batch, s, s, 1)
    return np.eye(s)[boards] * keep


def _sudoku_rules(side: int) -> np.ndarray:
    """A largest independent set of the rules: one digit a cell, each digit once in a row, a column, a box."""
    s = side * side
    axes = np.indices((s, s, s))
    row, column, digit = (axis.ravel() for axis in axes)
    box = side * (row // side) + column // side
    groups = (s * row + column, s * row + digit, s * column + digit, s * box + digit)
    rules = np.concatenate([(group == np.arange(s * s)[:, None]).astype(float) for group in groups])
    # Gram-Schmidt in order: a rule that adds a direction stays.
    kept: list[np.ndarray] = []
    basis = np.zeros((0, s**3))
    for rule in rules:
        rest = rule - basis.T @ (basis @ rule)
        if np.abs(rest).max() > 1e-9:
            kept.append(rule)
            basis = np.vstack([basis, rest / np.linalg.norm(rest)])
    return np.stack(kept)
