"""A program at its solution with a loss of it, and what an adjoint says of both."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from layers import adjoint, solve_qp
from layers.problem import QP
from layers.qp.gradients import Triple
from tests.layers.instances import Data, as_data

Gradients = tuple[Tensor, ...]


class Case:
    """A problem with its solution, cotangents, and the derivative by ``implicit``."""

    def __init__(self, data: Data, bars: Triple | None = None, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        found = solve_qp(*data, tol=1e-12)
        self.problem = QP(*(t.unsqueeze(0) for t in data)).flatten()
        self.x = Triple(found.z[None], found.lam[None], found.nu[None])
        drawn = Triple(*(torch.from_numpy(rng.normal(size=v.shape)) for v in self.x))
        self.bars = drawn if bars is None else bars
        self.right = self.by("implicit")

    def by(self, name: str, **settings: Any) -> Gradients:
        return adjoint(name, **settings).gradients(self.problem, self.x, self.bars)

    def without_arrival(self) -> Case:
        """The same, from a point at which an iteration never stops."""
        other = copy.copy(self)
        other.x = Triple(self.x.z + 1, self.x.lam, self.x.nu)
        return other

    def misses(self, name: str, **settings: Any) -> list[float]:
        """Largest error of each gradient, relative to its largest entry."""
        pairs = zip(self.by(name, **settings), self.right, strict=True)
        return [((g - r).abs().max() / r.abs().max()).item() for g, r in pairs]


def scalar(q: float, h: float = 0.0, curvature: float = 1.0) -> Case:
    """min ½ c z² + qz subject to z ≥ −h, with a loss of z."""
    data = as_data([[curvature]], [q], [[-1.0]], [h], np.zeros((0, 1)), [])
    one, none = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    return Case(data, Triple(one, none, none[:, :0]))
