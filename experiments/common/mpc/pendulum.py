"""The pendulum of gymnasium's Pendulum-v1, its cost of a horizon, and the derivatives of that cost in the torques.

With angle θ (0 upright), speed ω and torque u, gymnasium's equations are

    ω⁺ = ω + dt (3g/(2l) sin θ + 3/(m l²) u),    θ⁺ = θ + dt ω⁺,

dt = 0.05, here without its limit on the speed, as in arXiv 1810.13400. The study's other pendulum has sin(θ + bias) and
a force -damping θ of the angle between -π and π, which is what the published program computes. Only g/l and m l²
matter: g, m and l by themselves cannot be identified.

The cost of a step is 1/2 Σ wᵢ xᵢ² + cᵢ xᵢ over x = (cos θ, sin θ, ω, u).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.common.mpc.plant import DT, Cost, Kind, Path


class Slopes(NamedTuple):
    """Gradient of the cost in the torques, (..., T), and what the curvature needs as well.

    `later` is what one unit more speed after step t costs, zero for the last; `by_angle` and `by_speed` are the
    responses to it, (..., T, T).
    """

    gradient: Tensor
    later: Tensor
    by_angle: Tensor
    by_speed: Tensor


@dataclass(frozen=True)
class Pendulum:
    """Parameters (g, m, l), shape (3,), in m/s², kg and m, with damping (1/s²) and bias (rad) as numbers."""

    parameters: Tensor
    damping: float = 0.0
    bias: float = 0.0

    def gains(self) -> tuple[Tensor, Tensor]:
        """3g/(2l) and 3/(m l²): what gravity and torque do to the speed in a second."""
        g, m, length = self.parameters.unbind()
        return 1.5 * g / length, 3 / (m * length**2)

    def step(self, *state_and_control: Tensor) -> Path:
        """Angle and speed after dt, from those before and the torque."""
        angle, speed, torque = state_and_control
        gravity, force = self.gains()
        return self._step(DT * gravity, angle, speed, DT * force * torque)

    def _step(self, pull: Tensor, angle: Tensor, speed: Tensor, push: Tensor) -> tuple[Tensor, Tensor]:
        """Angle and speed after dt, from what gravity at sin = 1 and what the torque add to the speed."""
        speed = torch.addcmul(speed + push, pull, (angle + self.bias if self.bias else angle).sin())
        if self.damping:
            speed = speed - DT * self.damping * torch.atan2(angle.sin(), angle.cos())
        return torch.add(angle, speed, alpha=DT), speed

    def rollout(self, start: Tensor, torques: Tensor) -> Path:
        """Angles and speeds (..., T) from `start` (..., 2) under `torques` (..., T); the last torque has no effect."""
        angle, speed = start.expand(*torques.shape[:-1], 2).unbind(-1)
        angles, speeds, (gravity, force) = [angle], [speed], self.gains()
        pull, pushes = DT * gravity, DT * force * torques
        for push in pushes[..., :-1].unbind(-1):
            angle, speed = self._step(pull, angle, speed, push)
            angles.append(angle)
            speeds.append(speed)
        return torch.stack(angles, -1), torch.stack(speeds, -1)

    def cost(self, cost: Cost, path: Path, torques: Tensor) -> Tensor:
        """Cost of the horizon along `path`, the angles and speeds under `torques`, shape (...)."""
        angles, speeds = path
        x = torch.stack((angles.cos(), angles.sin(), speeds, torques), -1)
        return ((0.5 * cost.weights * x + cost.linear) * x).sum((-1, -2))

    def slopes(self, cost: Cost, path: Path, torques: Tensor) -> Slopes:
        """Gradient of the cost in the torques along `path`, with what the curvature needs.

        By the chain rule: ∇J = S_θ' ℓ_θ + S_ω' ℓ_ω + ℓ_u, where S holds the derivatives of angles and speeds in the
        torques. Differentiable in the parameters and in the cost.
        """
        (angles, speeds), (w, c), (_, force) = path, cost, self.gains()
        by_angle, by_speed = self.responses(angles)
        sin, cos = angles.sin(), angles.cos()
        of_angle = (w[1] - w[0]) * sin * cos + c[1] * cos - c[0] * sin
        of_speed = w[2] * speeds + c[2]
        later = (by_angle.mT @ of_angle.unsqueeze(-1) + by_speed.mT @ of_speed.unsqueeze(-1)).squeeze(-1)
        return Slopes(w[3] * torques + c[3] + DT * force * later, later, by_angle, by_speed)

    def responses(self, angles: Tensor) -> tuple[Tensor, Tensor]:
        """What one unit more speed, given by the torque of step k, adds to angles and speeds, (..., T, T) each.

        With the speed eliminated, dω = (dθ - dθ⁻)/dt, the linearised equations of motion

            dθ⁺ - (2 + dt² (3g/(2l) cos(θ + bias) - damping)) dθ + dθ⁻ = dt kick

        are one unit lower triangular system in the angles after the first.
        """
        turning = DT * (self.gains()[0] * (angles + self.bias).cos() - self.damping)
        count = angles.shape[-1] - 1
        below = torch.diag_embed(-2 - DT * turning[..., 1:-1], -1)
        constant = torch.eye(count, dtype=angles.dtype) + torch.ones(count, count, dtype=angles.dtype).tril(
            -2
        ).triu(-2)
        kicks = DT * torch.eye(count, dtype=angles.dtype)
        moved = torch.linalg.solve_triangular(below + constant, kicks, upper=False, unitriangular=True)
        by_angle = torch.nn.functional.pad(moved, (0, 1, 1, 0))
        by_speed = torch.nn.functional.pad(by_angle.diff(dim=-2) / DT, (0, 0, 1, 0))
        return by_angle, by_speed

    def curvatures(self, cost: Cost, path: Path, slopes: Slopes, torques: Tensor) -> tuple[Tensor, Tensor]:
        """Hessian of the cost in the torques, exact and in Gauss and Newton's approximation, (..., T, T) each.

        Only sin θ and the cost bend: H = Σ_t κ_t dθ dθ' + w_ω dω dω' + w_u I with
        κ = ℓ_θθ - dt 3g/(2l) sin(θ + bias) V, V the cost of a unit more speed; the approximation, which linearises
        (cos θ, sin θ) before it squares, has κ = w_cos sin² θ + w_sin cos² θ.
        """
        angles, (w, c), (gravity, force) = path[0], cost, self.gains()
        sin, cos = angles.sin(), angles.cos()
        exact = (w[1] - w[0]) * (cos.square() - sin.square()) - c[1] * sin - c[0] * cos
        exact = exact - DT * gravity * (angles + self.bias).sin() * slopes.later
        linearised = w[0] * sin.square() + w[1] * cos.square()
        by_angle, by_speed = DT * force * slopes.by_angle, DT * force * slopes.by_speed
        rest = w[2] * by_speed.mT @ by_speed + w[3] * torch.eye(angles.shape[-1], dtype=angles.dtype)

        def hessian(bend: Tensor) -> Tensor:
            return by_angle.mT @ (bend.unsqueeze(-1) * by_angle) + rest

        return hessian(exact), hessian(linearised)


def _features(states: Tensor) -> tuple[Tensor, ...]:
    angle, speed = states.unbind(-1)
    return angle.cos(), angle.sin(), speed


def _believed(pendulum: Pendulum) -> dict[str, tuple[float, str]]:
    gains = zip(("gain_gravity", "gain_torque"), pendulum.gains(), strict=True)
    return {name: (gain.item(), "1/s^2 per unit of sin or N m") for name, gain in gains}


#: the published pendulum: weights 1, 1, 0.1 on the distance of (cos θ, sin θ, ω) from (1, 0, 0), 0.001 on the torque
PENDULUM = Kind(
    make=Pendulum,
    features=_features,
    states=2,
    true=(10.0, 1.0, 1.0),
    start=(15.0, 3.0, 0.5),
    weights=(1.0, 1.0, 0.1, 0.001),
    linear=(-1.0, 0.0, 0.0, 0.0),
    believed=_believed,
    squared="1 and rad^2/s^2",
)
