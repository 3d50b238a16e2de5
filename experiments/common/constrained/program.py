"""The programs of DC3 and of HardNet, rebuilt from their random numbers, and their exact answers.

DC3 (Donti, Rolnick & Kolter 2021, arXiv 2104.12225) minimises ½yᵀQy + pᵀy subject to Ay = x, Gy ≤ h, with Q diagonal,
and the same with pᵀsin(y); HardNet (Min & Azizan, arXiv 2410.10807) the second with other draws.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.common.constrained.problem import Manifold, Problem, times
from experiments.common.errors import ConfigError, require
from layers import Status, solve_qp

#: numpy seed of all published data, and the shares of the examples for validation and for the test
SEED, SHARE = 17, 0.0833
#: below this determinant the published generators choose other free variables
SMALL = 1e-4
ORDERS = ("dc3", "hardnet")


@dataclass
class Size:
    """Variables, inequalities, equalities, and examples, a twelfth of which are for validation and one for the test."""

    variables: int = 100  #: of a program [variables]
    inequalities: int = 50  #: of a program [rows]
    equalities: int = 50  #: of a program [rows]
    examples: int = 10_000  #: in all; a twelfth is for validation and one for the test [programs]

    def check(self, name: str) -> None:
        """Raise a `ConfigError` about the section `name` of the settings unless such programs can be drawn."""
        require(self.examples >= 24, f"{name}.examples", self.examples, "at least 24 examples")
        require(self.inequalities > 0, f"{name}.inequalities", self.inequalities, "a positive number of rows")
        fits = 0 < self.equalities < self.variables
        require(fits, f"{name}.equalities", self.equalities, "from 1 to less than the number of variables")


class Program(Problem):
    """Minimise ½ Σᵢ Qᵢyᵢ² + Σᵢ pᵢφ(yᵢ) subject to Ay = x, Gy ≤ h, where φ is the identity or the sine.

    h = Σⱼ|GA⁺|, so that A⁺x is feasible for every x in [-1, 1]ᵖ. Examples, all arrays and the free variables come in
    the order of the published generators; `order` says whose.
    """

    def __init__(self, name: str, size: Size, order: str, sines: bool) -> None:
        rng = np.random.RandomState(SEED)
        n, m, p = size.variables, size.inequalities, size.equalities
        Q, cost = rng.random_sample(n), rng.random_sample(n)
        if order == "dc3":
            A, x = rng.normal(size=(p, n)), rng.uniform(-1, 1, (size.examples, p))
            G = rng.normal(size=(m, n))
        else:
            G, A = rng.normal(size=(m, n)), rng.normal(size=(p, n))
            x = rng.uniform(-1, 1, (size.examples, p))
        h = np.abs(G @ np.linalg.pinv(A)).sum(axis=1)
        free = _free(A, rng)
        self.name, self.sines = name, sines
        self.Q, self.cost, self.G, self.h = (torch.from_numpy(array) for array in (Q, cost, G, h))
        self.manifold = Manifold(torch.from_numpy(A), torch.from_numpy(free))
        # Rounded as in the published programs, which decide so where the test begins.
        first = int(size.examples * (1 - SHARE - SHARE))
        last = int(size.examples * ((1 - SHARE - SHARE) + SHARE))
        parts = {"train": x[:first], "validation": x[first:last], "test": x[last:]}
        self.inputs = {split: torch.from_numpy(part) for split, part in parts.items()}

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The objective, shape (batch,)."""
        return (0.5 * self.Q * y * y + self.cost * (y.sin() if self.sines else y)).sum(-1)

    def rows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """G, shape (m, n), and h, shape (m,): the same for every input."""
        return self.G, self.h


def optimum(program: Program, x: Tensor, **options: Any) -> Tensor:
    """The minimiser of each instance, shape (batch, n); a local one, from A⁺x on, where there are sines.

    `options` are those of `solve_qp`.

    Raises
    ------
    ConfigError
        If instances are infeasible or were not solved: with their indices, before anything is averaged over the rest.
    """
    y = x @ program.manifold.inverse.mT
    if not program.sines:
        return y + _model(program, y, program.Q.expand_as(y), options)
    return _descend(program, y, options)


def _free(A: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    p, n = A.shape
    for _ in range(100):
        free = rng.choice(n, n - p, replace=False)
        if abs(np.linalg.det(A[:, np.setdiff1d(np.arange(n), free)])) >= SMALL:
            return free
    raise ConfigError(
        f"{n} variables, {p} equalities: no choice of free variables lets the rest be completed"
    )


def _model(program: Program, y: Tensor, curvature: Tensor, options: dict[str, Any]) -> Tensor:
    """argmin_d ∇f(y)ᵀd + ½ Σᵢ cᵢdᵢ² subject to Ad = 0, G(y + d) ≤ h, for feasible y; all (batch, n)."""
    basis = program.manifold.basis
    Q = (basis.mT * curvature.unsqueeze(-2)) @ basis
    G, h = program.G @ basis, program.h - times(program.G, y)
    found = solve_qp(Q, _slope(program, y) @ basis, G, h, **options, on_failure="ignore")
    failed = (found.status != Status.OPTIMAL).nonzero()[:, 0].tolist()
    if failed:
        said = ", ".join(f"{i} ({Status(int(found.status[i])).name})" for i in failed[:5])
        raise ConfigError(
            f"{program.name}: {len(failed)} of {len(y)} instances have no optimum to be measured against: {said}"
            f"{', ...' if len(failed) > 5 else ''}; leave them out of the data, or loosen h"
        )
    return found.z @ basis.mT


def _slope(program: Program, y: Tensor) -> Tensor:
    return program.Q * y + program.cost * (y.cos() if program.sines else 1)


def _descend(program: Program, y: Tensor, options: dict[str, Any], limit: int = 200) -> Tensor:
    """Sequential quadratic programming: models with the diagonal second derivative, made positive, and halved steps.

    Every iterate is feasible, and no step raises the objective. It ends where a model predicts nothing to gain.
    """
    y, left = y.clone(), torch.arange(len(y))
    for _ in range(limit):
        at = y[left]
        curvature = (program.Q - program.cost * at.sin()).abs().clamp(min=1e-2)
        step = _model(program, at, curvature, options)
        gain = -(_slope(program, at) * step).sum(-1)
        going = gain > 1e-10 * (1 + program.loss(at, at).abs())
        left, at, step, gain = left[going], at[going], step[going], gain[going]
        if len(left) == 0:
            return y
        y[left] = at + _halved(program, at, step, gain).unsqueeze(-1) * step
    raise ConfigError(
        f"{program.name}: {len(left)} instances still descend after {limit} steps: {left[:5].tolist()}"
    )


def _halved(program: Program, y: Tensor, step: Tensor, gain: Tensor) -> Tensor:
    """The largest of 1, ½, ¼, ... that keeps a ten-thousandth of the gain that the slope promises."""
    length, before = torch.ones_like(gain), program.loss(y, y)
    for _ in range(40):
        after = program.loss(y, y + length.unsqueeze(-1) * step)
        bad = after > before - 1e-4 * length * gain
        if not bad.any():
            break
        length = torch.where(bad, length / 2, length)
    return length
