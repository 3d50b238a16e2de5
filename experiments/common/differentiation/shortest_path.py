"""Shortest paths on a grid with costs that have to be predicted: the benchmark of PyEPO (Tang & Khalil 2024).

From the top left to the bottom right of a grid, to the right or down. Edges are numbered row by row: those along the
row, then those that leave it downwards. As a linear program: minimise c'w, w >= 0, one unit of flow; its vertices are
paths.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from experiments.common.errors import require

#: what PyEPO draws with, seed 0 here
PUBLISHED_SEED = 42


@dataclass
class Paths:
    """The published setting; `noise` is the half-width of the factor on each cost, `degree` that of the polynomial."""

    grid: int = 5  #: on a side of the grid [nodes]
    features: int = 5  #: from which costs are predicted [features]
    degree: int = 4  #: of the polynomial from features to costs [1]
    noise: float = 0.5  #: half-width of the factor on each cost [1]
    train: int = 1000  #: to learn from [samples]
    test: int = 1000  #: that are reported [samples]

    def check(self) -> None:
        """Raise a `ConfigError` unless there are such grids and costs."""
        require(self.grid > 1, "paths.grid", self.grid, "at least 2 nodes on a side")
        for name in ("features", "degree", "train", "test"):
            require(getattr(self, name) > 0, f"paths.{name}", getattr(self, name), "a positive number")
        require(0 <= self.noise < 1, "paths.noise", self.noise, "a number from 0 to below 1")


@dataclass(frozen=True)
class Sample:
    """Features, costs, best decisions and what those cost: (samples, .) each, the last (samples,)."""

    features: Tensor
    costs: Tensor
    best: Tensor
    optimum: Tensor

    def take(self, rows: Tensor) -> "Sample":
        """Some of the samples."""
        return Sample(self.features[rows], self.costs[rows], self.best[rows], self.optimum[rows])


def edges(grid: int) -> list[tuple[int, int]]:
    """The nodes that each edge leads from and to."""
    found: list[tuple[int, int]] = []
    for row in range(grid):
        found += [(row * grid + j, row * grid + j + 1) for j in range(grid - 1)]
        found += [(row * grid + j, (row + 1) * grid + j) for j in range(grid if row < grid - 1 else 0)]
    return found


def flow(grid: int) -> tuple[Tensor, Tensor]:
    """A and b of the flow equations Aw = b, without that of the last node, which follows from the others."""
    A = torch.zeros(grid**2, len(edges(grid)), dtype=torch.float64)
    for place, (tail, head) in enumerate(edges(grid)):
        A[tail, place], A[head, place] = -1.0, 1.0
    b = torch.zeros(grid**2, dtype=torch.float64)
    b[0] = -1.0
    return A[:-1], b[:-1]


def solver(grid: int) -> Callable[[Tensor], Tensor]:
    """The function from costs (..., edges) to the indicator of a shortest path, by dynamic programming.

    Costs may be negative: the grid has no cycles. Of two equal ways into a node the one along the row is taken.
    """
    arcs = edges(grid)
    into: dict[int, list[int]] = {}
    for place, (_, head) in enumerate(arcs):
        into.setdefault(head, []).append(place)

    def solve(costs: Tensor) -> Tensor:
        zero = torch.zeros_like(costs[..., 0])
        far, chosen = {0: zero}, dict[int, Tensor]()
        for node in range(1, grid**2):
            ways = torch.stack([far[arcs[place][0]] + costs[..., place] for place in into[node]], -1)
            far[node], best = ways.min(-1)
            chosen[node] = torch.tensor(into[node])[best]
        on_path = {grid**2 - 1: torch.ones_like(zero)}
        decision = torch.zeros_like(costs)
        for node in range(grid**2 - 1, 0, -1):
            for place in into[node]:
                taken = torch.where(chosen[node] == place, on_path[node], 0.0)
                decision[..., place] = taken
                tail = arcs[place][0]
                on_path[tail] = on_path.get(tail, zero) + taken
        return decision

    return solve


def make_data(settings: Paths, seed: int) -> dict[str, Sample]:
    """Training and test samples; those of seed 0 are the published ones.

    c = (((Bx)/sqrt(p) + 3)^degree + 1) / 3.5^degree times a uniform factor, B of zeros and ones, x standard normal: the
    generator of Elmachtoub & Grigas (2022, section 6.1) as PyEPO draws from it, halved at random as in its notebook.
    """
    rng = np.random.RandomState(PUBLISHED_SEED + seed)
    count, d = settings.train + settings.test, len(edges(settings.grid))
    B = rng.binomial(1, 0.5, (d, settings.features))
    x = rng.normal(0, 1, (count, settings.features))
    c = ((x @ B.T / np.sqrt(settings.features) + 3) ** settings.degree + 1) / 3.5**settings.degree
    c *= rng.uniform(1 - settings.noise, 1 + settings.noise, c.shape)
    parts = train_test_split(x, c, test_size=settings.test, random_state=PUBLISHED_SEED + seed)
    tensors = [torch.from_numpy(part) for part in parts]
    names = {"train": (tensors[0], tensors[2]), "test": (tensors[1], tensors[3])}
    solve, samples = solver(settings.grid), dict[str, Sample]()
    for name, (features, costs) in names.items():
        best = solve(costs)
        samples[name] = Sample(features, costs, best, (costs * best).sum(-1))
    return samples


def regret(predicted: Tensor, sample: Sample, solve: Callable[[Tensor], Tensor]) -> float:
    """What the decisions for the predicted costs cost beyond the best ones, over the cost of the best ones."""
    paid = (sample.costs * solve(predicted)).sum(-1)
    return float((paid - sample.optimum).sum() / sample.optimum.sum())
