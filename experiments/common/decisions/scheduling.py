"""Scheduling of generation a day ahead: Donti, Amos & Kolter 2017 (arXiv 1703.04529), section 5.2.

Of a load yᵢ in hour i, thought to be normal with mean μᵢ and deviation σᵢ, a schedule z costs

    f(z, y) = Σᵢ γ_u (yᵢ - zᵢ)⁺ + γ_o (zᵢ - yᵢ)⁺ + ½(zᵢ - yᵢ)²

and minimises its expectation subject to |zᵢ₊₁ - zᵢ| ≤ r. The expectation is smooth and convex, with the slope
(γ_u + γ_o)Φ(sᵢ) - γ_u + zᵢ - μᵢ, sᵢ = (zᵢ - μᵢ)/σᵢ, and the curvature (γ_u + γ_o)φ(sᵢ)/σᵢ + 1 (the published equation
10). Its minimiser is that of a quadratic program made of both where they are the minimiser's own: sequential quadratic
programming finds it, and the last program carries the derivative.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.common.errors import ConfigError, require
from layers import QPLayer

#: a schedule has come to rest that moves by less than this
REST = 1e-9


@dataclass
class Plant:
    """Most that two hours of a schedule may differ by, and what a unit too little and one too much cost."""

    ramp: float = 0.4  #: most that two hours of a schedule differ by [load]
    under: float = 50.0  #: of a unit too little in an hour [1/load]
    over: float = 0.5  #: of a unit too much in an hour [1/load]

    def check(self, name: str) -> None:
        """Raise a `ConfigError` about the section `name` of the settings unless there are schedules."""
        require(0 < self.ramp < math.inf, f"{name}.ramp", self.ramp, "a positive number: hours differ")
        for part in ("under", "over"):
            cost = getattr(self, part)
            require(0 <= cost < math.inf, f"{name}.{part}", cost, "zero or a positive number")

    def of(self, z: Tensor, load: Tensor) -> Tensor:
        """What every hour of a schedule costs, of the shape of `z`."""
        short, left = (load - z).clamp(min=0), (z - load).clamp(min=0)
        return self.under * short + self.over * left + 0.5 * (z - load).square()

    def expected(self, z: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """The expectation of `of` under the forecast, less ½σ², which no schedule changes."""
        away, s = z - mean, (z - mean) / deviation
        total, spread = self.under + self.over, deviation * _density(s)
        return total * (away * _below(s) + spread) - self.under * away + 0.5 * away.square()

    def slope(self, z: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """Its derivative in z, hour by hour."""
        total = self.under + self.over
        return total * _below((z - mean) / deviation) - self.under + z - mean

    def curvature(self, z: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """Its second derivative in z, hour by hour."""
        total = self.under + self.over
        return total * _density((z - mean) / deviation) / deviation + 1

    def rows(self, hours: int) -> tuple[Tensor, Tensor]:
        """G and h of the ramps, Gz ≤ h."""
        eye = torch.eye(hours, dtype=torch.float64)
        steps = eye[1:] - eye[:-1]
        return torch.cat((steps, -steps)), torch.full((2 * hours - 2,), self.ramp, dtype=torch.float64)


def schedule(plant: Plant, layer: QPLayer, mean: Tensor, deviation: Tensor) -> Tensor:
    """The best schedule under each forecast, differentiable in mean and deviation, all (batch, hours).

    Raises
    ------
    ConfigError
        If schedules do not come to rest: with their indices.
    """
    fixed = mean.detach(), deviation.detach()
    z = _sequence(plant, layer, *fixed)
    # At the minimiser a change of the curvature alone moves nothing, so it is a constant.
    curvature = plant.curvature(z, *fixed)
    return _step(plant, layer, z, plant.slope(z, mean, deviation), curvature)


def nearest(plant: Plant, layer: QPLayer, wanted: Tensor) -> Tensor:
    """The schedule within the ramps that is nearest to each row of `wanted`."""
    return _step(plant, layer, wanted, torch.zeros_like(wanted), torch.ones_like(wanted))


def _step(plant: Plant, layer: QPLayer, z: Tensor, slope: Tensor, curvature: Tensor) -> Tensor:
    """The minimiser of the model at z with this slope and curvature."""
    return layer(curvature.diag_embed(), slope - curvature * z, *plant.rows(z.shape[-1]))


def _sequence(plant: Plant, layer: QPLayer, mean: Tensor, deviation: Tensor, limit: int = 50) -> Tensor:
    z = _hourly(plant, mean, deviation)
    G, h = plant.rows(z.shape[-1])
    # Where no ramp is in the way, hour for hour is best.
    left = ((z @ G.mT - h).amax(-1) > 0).nonzero()[:, 0]
    z[left] = nearest(plant, layer, z[left])
    for _ in range(limit):
        if len(left) == 0:
            return z
        at, forecast = z[left], (mean[left], deviation[left])
        slope, curvature = plant.slope(at, *forecast), plant.curvature(at, *forecast)
        step = _step(plant, layer, at, slope, curvature) - at
        z[left] = at + _halved(plant, at, step, (slope * step).sum(-1), forecast)[:, None] * step
        left = left[step.abs().amax(-1) > REST]
    raise ConfigError(f"schedules of days {left[:5].tolist()} still move after {limit} quadratic programs")


def _hourly(plant: Plant, mean: Tensor, deviation: Tensor) -> Tensor:
    """The minimisers without ramps: Newton's method from the mean, which comes to each from one side."""
    z = mean.clone()
    for _ in range(60):
        step = plant.slope(z, mean, deviation) / plant.curvature(z, mean, deviation)
        z -= step
        if step.abs().max() < 0.1 * REST:
            break
    return z


def _halved(plant: Plant, z: Tensor, step: Tensor, gain: Tensor, forecast: tuple[Tensor, Tensor]) -> Tensor:
    """The largest of 1, ½, ¼, ... that keeps a ten-thousandth of the gain that the slope promises."""
    length, before = torch.ones_like(gain), plant.expected(z, *forecast).sum(-1)
    for _ in range(30):
        after = plant.expected(z + length[:, None] * step, *forecast).sum(-1)
        # Near rest a gain is less than the rounding of the sum.
        bad = after > before + 1e-4 * length * gain + 1e-12 * before.abs()
        if not bad.any():
            break
        length = torch.where(bad, length / 2, length)
    return length


def _below(s: Tensor) -> Tensor:
    return torch.special.ndtr(s)


def _density(s: Tensor) -> Tensor:
    return (-0.5 * s.square()).exp() / math.sqrt(2 * math.pi)
