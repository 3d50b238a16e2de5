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

DT = 0.05


class Cost(NamedTuple):
    """Weights w and linear terms c of (cos θ, sin θ, ω, u), shape (4,) each."""

    weights: Tensor
    linear: Tensor


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

    def step(self, angle: Tensor, speed: Tensor, torque: Tensor) -> tuple[Tensor, Tensor]:
        """Angle and speed after dt."""
        return self._step(self.gains(), angle, speed, torque)

    def _step(
        self, gains: tuple[Tensor, Tensor], angle: Tensor, speed: Tensor, torque: Tensor
    ) -> tuple[Tensor, Tensor]:
        gravity, force = gains
        turning = gravity * (angle + self.bias).sin() + force * torque
        if self.damping:
            turning = turning - self.damping * torch.atan2(angle.sin(), angle.cos())
        speed = speed + DT * turning
        return angle + DT * speed, speed

    def rollout(self, start: Tensor, torques: Tensor) -> tuple[Tensor, Tensor]:
        """Angles and speeds (..., T) from `start` (..., 2) under `torques` (..., T); the last torque has no effect."""
        angle, speed = start.expand(*torques.shape[:-1], 2).unbind(-1)
        angles, speeds, gains = [angle], [speed], self.gains()
        for torque in torques[..., :-1].unbind(-1):
            angle, speed = self._step(gains, angle, speed, torque)
            angles.append(angle)
            speeds.append(speed)
        return torch.stack(angles, -1), torch.stack(speeds, -1)

    def cost(self, cost: Cost, start: Tensor, torques: Tensor) -> Tensor:
        """Cost of the horizon, shape (...)."""
        angles, speeds = self.rollout(start, torques)
        x = torch.stack((angles.cos(), angles.sin(), speeds, torques), -1)
        return ((0.5 * cost.weights * x + cost.linear) * x).sum((-1, -2))

    def slopes(self, cost: Cost, start: Tensor, torques: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient of the cost in the torques, by costates, with the angles and what one unit more speed costs.

        With P, W the derivatives in the angle and the speed of step t, and V = W + dt P one step later,

            P = ℓ_θ + P⁺ + dt (3g/(2l) cos(θ + bias) - damping) V,    W = ℓ_ω + V,    dJ/du = ℓ_u + dt 3/(m l²) V.

        Returns
        -------
        gradient, angles, V : Tensor, shape (..., T)
            Differentiable in the parameters and in the cost; V of the last step is zero.
        """
        angles, speeds = self.rollout(start, torques)
        (gravity, force), (w, c) = self.gains(), cost
        pull = (w[1] - w[0]) * angles.sin() * angles.cos() + c[1] * angles.cos() - c[0] * angles.sin()
        turning = DT * (gravity * (angles + self.bias).cos() - self.damping)
        drag = w[2] * speeds + c[2]
        P = V = torch.zeros_like(angles[..., 0])
        values = [V]
        for t in range(torques.shape[-1] - 1, 0, -1):
            P = pull[..., t] + P + turning[..., t] * V
            V = drag[..., t] + V + DT * P
            values.append(V)
        later = torch.stack(values[::-1], -1)
        return w[3] * torques + c[3] + DT * force * later, angles, later

    def sensitivities(self, angles: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives of angles and speeds in the torques along `angles`, shape (..., T, T) each."""
        gravity, force = self.gains()
        turning = DT * (gravity * (angles + self.bias).cos() - self.damping)
        horizon = angles.shape[-1]
        angle = speed = torch.zeros_like(angles)
        kick = DT * force * torch.eye(horizon, dtype=angles.dtype)
        rows = [(angle, speed)]
        for t in range(horizon - 1):
            speed = speed + turning[..., t, None] * angle + kick[t]
            angle = angle + DT * speed
            rows.append((angle, speed))
        return torch.stack([a for a, _ in rows], -2), torch.stack([s for _, s in rows], -2)

    def curvatures(self, cost: Cost, angles: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
        """Hessian of the cost in the torques, exact and in Gauss and Newton's approximation, (..., T, T) each.

        Only sin θ and the cost bend: H = Σ_t κ_t dθ dθ' + w_ω dω dω' + w_u I with
        κ = ℓ_θθ - dt 3g/(2l) sin(θ + bias) V; the approximation, which linearises (cos θ, sin θ) before it squares, has
        κ = w_cos sin² θ + w_sin cos² θ.
        """
        (w, c), (gravity, _) = cost, self.gains()
        sin, cos = angles.sin(), angles.cos()
        exact = (w[1] - w[0]) * (cos.square() - sin.square()) - c[1] * sin - c[0] * cos
        exact = exact - DT * gravity * (angles + self.bias).sin() * later
        linearised = w[0] * sin.square() + w[1] * cos.square()
        by_angle, by_speed = self.sensitivities(angles)
        rest = w[2] * by_speed.mT @ by_speed + w[3] * torch.eye(angles.shape[-1], dtype=angles.dtype)

        def hessian(bend: Tensor) -> Tensor:
            return by_angle.mT @ (bend.unsqueeze(-1) * by_angle) + rest

        return hessian(exact), hessian(linearised)
