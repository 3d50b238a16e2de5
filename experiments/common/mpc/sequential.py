"""Control of a plant by a sequence of box-constrained linear-quadratic programs, and its derivative.

Every iteration solves the program in the torques v

    minimise 1/2 (v - u)'H(v - u) + ∇J(u)'(v - u)   subject to   |v| <= bound

through the shared layer and goes along v - u as far as the cost falls most. H is the exact curvature in the torques
that the bound does not hold, where that is positive definite (projected Newton, Bertsekas 1982), else the curvature of
the linearised plant (Gauss-Newton). The fixed points are the stationary points of the control problem whatever H
is. The derivative of such a point is that of one more program with the exact H: its solution is the same point, and it
moves with the parameters as the point does (implicit function theorem; with the linearised H, as in arXiv 1810.13400,
section 4.2, the derivative is that of another problem).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.common.mpc.linear_quadratic import box
from experiments.common.mpc.plant import Cost, Path, Plant
from layers import QPLayer

# Lengths tried along a step; zero, which is always there, keeps the cost from rising.
LENGTHS = (1.0, 0.5, 0.25, 0.1, 0.03, 0.01, 0.001, 0.0)
ROUNDING = 1e-12


@dataclass(frozen=True)
class Controller:
    """Bound of the torque (N m), and when the iteration ends: after `iterations`, or with steps below `tolerance`."""

    layer: QPLayer
    bound: float = 2.0
    iterations: int = 100
    tolerance: float = 1e-6

    def solve(self, plant: Plant, cost: Cost, start: Tensor, torques: Tensor) -> tuple[Tensor, Tensor]:
        """Torques of a stationary point, from the given ones, without a derivative, and which have converged.

        Parameters
        ----------
        start : Tensor, shape (batch, 2)
            Angles and speeds.
        torques : Tensor, shape (batch, T)
        """
        torques, enough = torques.clone(), max(self.tolerance, 10 * self.layer.tol)
        left = torch.arange(len(start))
        with torch.no_grad():
            here, path = torques, plant.rollout(start, torques)
            for _ in range(self.iterations):
                slopes = plant.slopes(cost, path, here)
                exact, linearised = plant.curvatures(cost, path, slopes, here)
                exact, definite = self._reduced(exact, slopes.gradient, here)
                H = torch.where(definite[:, None, None], exact, linearised)
                wanted = self._program(H, slopes.gradient, here)
                going = (wanted - here).abs().amax(-1) > enough
                here, path = _descended(plant, cost, start[left], here, wanted)
                torques[left] = here
                if not going.any():
                    left = left[:0]
                    break
                left, here, path = left[going], here[going], tuple(part[going] for part in path)
        converged = torch.ones(len(start), dtype=torch.bool)
        converged[left] = False
        return torques, converged

    def attach(
        self, plant: Plant, cost: Cost, start: Tensor, torques: Tensor, use: Tensor, exact: bool = True
    ) -> Tensor:
        """The stationary `torques` as a differentiable function of plant and cost.

        Elements outside `use`, and those that are no strict minimum, become constants. `exact=False` takes the
        linearised H.
        """
        path = plant.rollout(start, torques)
        slopes = plant.slopes(cost, path, torques)
        with torch.no_grad():
            H = plant.curvatures(cost, path, slopes, torques)[0 if exact else 1]
            H, definite = self._reduced(H, slopes.gradient, torques)
            use = (use & definite).unsqueeze(-1)
            H = torch.where(use.unsqueeze(-1), H, torch.eye(torques.shape[-1], dtype=torques.dtype))
        # The others get a program whose solution is zero, away from the bounds.
        zero = torch.zeros_like(torques)
        point = torch.where(use, torques, zero)
        return torch.where(use, self._program(H, torch.where(use, slopes.gradient, zero), point), torques)

    def _program(self, H: Tensor, gradient: Tensor, torques: Tensor) -> Tensor:
        """The minimiser v; the last torque moves nothing: a program of its own, for qpth fails on both in one."""
        last = torques[..., -1:] - gradient[..., -1:] / H[..., -1:, -1]
        H, gradient, torques = H[..., :-1, :-1], gradient[..., :-1], torques[..., :-1]
        linear = gradient - (H @ torques.unsqueeze(-1)).squeeze(-1)
        v = self.layer(H, linear, *box(torques.shape[-1], self.bound))
        return torch.cat((v, last.clamp(-self.bound, self.bound)), -1)

    def _reduced(self, H: Tensor, gradient: Tensor, torques: Tensor) -> tuple[Tensor, Tensor]:
        """H in the torques that are free, a multiple of the identity in those held; and whether it is definite."""
        held = (torques.abs() >= self.bound * (1 - 1e-9)) & (gradient * torques < 0)
        free = (~held).to(torques.dtype)
        scale = H.diagonal(dim1=-2, dim2=-1).abs().amax(-1, keepdim=True)
        H = H * free.unsqueeze(-1) * free.unsqueeze(-2) + torch.diag_embed(scale * (1 - free))
        return H, torch.linalg.cholesky_ex(H).info == 0


def _descended(plant: Plant, cost: Cost, start: Tensor, here: Tensor, wanted: Tensor) -> tuple[Tensor, Path]:
    """The best torques on the way from `here` to `wanted`, with their angles and speeds."""
    lengths = torch.tensor(LENGTHS, dtype=here.dtype)[:, None, None]
    tried = here + lengths * (wanted - here)
    path = plant.rollout(start, tried)
    costs = plant.cost(cost, path, tried)
    # Near the end the cost changes by less than its rounding: then the whole step is right.
    costs[0] -= ROUNDING * (1 + costs[-1].abs())
    best = costs.argmin(0), torch.arange(len(here))
    return tried[best], tuple(part[best] for part in path)
