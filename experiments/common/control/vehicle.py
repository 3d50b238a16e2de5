"""A car that follows a path at a wanted speed (Agrawal, Barratt, Boyd & Stellato, arXiv 1912.09529).

State: s, how far along the path (m); e, how far off it (m); ψ, heading against the path (rad); v, speed (m/s); v*,
the wanted speed (m/s); κ, curvature of the path (1/m). Control: a, acceleration (m/s²), and z = tan δ - Lκ, with
the steering angle δ: what is steered beyond the curve of the path. One period is 0.2 s:

    s⁺ = s + h v cos ψ / (1 - eκ)          e⁺ = e + h v sin ψ + w₁
    v⁺ = v + h a + w₃                      ψ⁺ = ψ + h v (κ + z/L - κ cos ψ / (1 - eκ)) + w₂

v* and κ stay as they are, or are drawn anew, with probabilities 0.02 and 0.05.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

WHEELBASE, PERIOD = 2.8, 0.2
# Greatest acceleration and tan of the steering angle.
REACH = (2.0, 0.68)
# Weights of e², ψ², a² and z²; (v - v*)² has weight one.
WEIGHTS = (1.0, 1.0, 10.0, 10.0)
START = (0.0, 0.5, 0.1, 3.0, 4.5, 0.0)
KEEP_CURVATURE, KEEP_SPEED = 0.95, 0.98
SPEEDS = (3.0, 6.0)
CURVATURE = 0.1
SHOCKS = (0.1, 0.01, 0.1)
# Numbers behind one period of one trajectory: uniform, normal, uniform, uniform and three normal ones.
NUMBERS = 7


@dataclass(frozen=True)
class Vehicle:
    """The car. Its noise is the seven numbers of `draw`."""

    def start(self, trajectories: int) -> Tensor:
        """States, shape (trajectories, 6), of a car beside the path that is to go faster."""
        return torch.tensor(START, dtype=torch.float64).repeat(trajectories, 1)

    def advance(self, x: Tensor, u: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Cost of the period, and the states after it."""
        s, e, psi, v, wanted, curvature = x.unbind(-1)
        a, z = u.unbind(-1)
        off, turned, pushed, steered = WEIGHTS
        cost = (v - wanted) ** 2 + off * e**2 + turned * psi**2 + pushed * a**2 + steered * z**2
        along = torch.cos(psi) / (1 - e * curvature)
        next_wanted, next_curvature = self._path(wanted, curvature, noise)
        e_shock, psi_shock, v_shock = (
            size * w for size, w in zip(SHOCKS, noise[..., 4:].unbind(-1), strict=True)
        )
        after = (
            s + PERIOD * v * along,
            e + PERIOD * v * torch.sin(psi) + e_shock,
            psi + PERIOD * v * (curvature + z / WHEELBASE - curvature * along) + psi_shock,
            v + PERIOD * a + v_shock,
            next_wanted,
            next_curvature,
        )
        return cost, torch.stack(after, -1)

    def predicted(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What a policy foresees: d and B, shapes (trajectories, 4) and (trajectories, 4, 2), of y = d + Bu.

        y is e after one period, ψ, v against the speed wanted on average, and e after a second period, which is the
        first that steering reaches; linear in u, because sin ψ of the second period is taken without steering.
        """
        _, e, psi, v, wanted, curvature = x.unbind(-1)
        step = PERIOD * v
        next_e = e + step * torch.sin(psi)
        next_psi = psi + step * (curvature - curvature * torch.cos(psi) / (1 - e * curvature))
        mean_wanted = KEEP_SPEED * wanted + (1 - KEEP_SPEED) * sum(SPEEDS) / 2
        d = torch.stack((next_e, next_psi, v - mean_wanted, next_e + step * torch.sin(next_psi)), -1)
        zero = torch.zeros_like(v)
        by_a = torch.stack((zero, zero, zero + PERIOD, zero), -1)
        by_z = torch.stack((zero, step / WHEELBASE, zero, step * step / WHEELBASE), -1)
        return d, torch.stack((by_a, by_z), -1)

    def _path(self, wanted: Tensor, curvature: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        low, high = SPEEDS
        drawn = low + (high - low) * noise[..., 3]
        next_curvature = torch.where(noise[..., 0] < KEEP_CURVATURE, curvature, CURVATURE * noise[..., 1])
        return torch.where(noise[..., 2] < KEEP_SPEED, wanted, drawn), next_curvature


def draw(periods: int, trajectories: int, stream: torch.Generator) -> Tensor:
    """Noise of shape (periods, trajectories, 7), in the order in which the published notebook draws it."""
    noise = torch.empty(periods, trajectories, NUMBERS, dtype=torch.float64)
    for period in range(periods):
        for number in range(NUMBERS):
            uniform = number in (0, 2, 3)
            make = torch.rand if uniform else torch.randn
            noise[period, :, number] = make(trajectories, generator=stream, dtype=torch.float64)
    return noise
