"""The cart-pole of mpc.pytorch, its cost of a horizon, and the derivatives of that cost in the forces.

A cart at x with speed v under a force u carries a pole at angle θ (0 upright) with speed ω. With M the whole mass and
k = m l (m the mass of the pole, l half its length),

    p = (u + k ω² sin θ) / M,   α = (g sin θ - p cos θ) / D,   D = l (4/3 - m cos² θ / M),   a = p - k α cos θ / M,

and a step of dt = 0.05 adds dt (v, a, ω, α) to (x, v, θ, ω).

The cost of a step is 1/2 Σ wᵢ zᵢ² + cᵢ zᵢ over z = (x, v, cos θ, sin θ, ω, u).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.common.mpc.plant import DT, Cost, Kind, Path


class Slopes(NamedTuple):
    """Gradient of the cost in the forces, (..., T); later, the costate after each step; the Jacobians of a step."""

    gradient: Tensor
    later: Tensor
    by_state: Tensor
    by_force: Tensor


class Bend(NamedTuple):
    """a and α: gradients (..., 3) and Hessians (..., 3, 3) in (θ, ω, u)."""

    cart: Tensor
    cart_bend: Tensor
    pole: Tensor
    pole_bend: Tensor


@dataclass(frozen=True)
class Cartpole:
    """Parameters (g, mass of the cart, mass of the pole, half its length), shape (4,)."""

    parameters: Tensor

    def accelerations(self, angle: Tensor, turn: Tensor, force: Tensor) -> tuple[Tensor, Tensor]:
        """a and α."""
        g, cart, m, length = self.parameters.unbind()
        whole, k = cart + m, m * length
        sin, cos = angle.sin(), angle.cos()
        push = (force + k * turn.square() * sin) / whole
        pole = (g * sin - cos * push) / (length * (4 / 3 - m * cos.square() / whole))
        return push - k * pole * cos / whole, pole

    def step(self, *state_and_control: Tensor) -> Path:
        """Position, speed, angle and turn after dt, from those before and the force."""
        x, v, angle, turn, force = state_and_control
        a, alpha = self.accelerations(angle, turn, force)
        return x + DT * v, v + DT * a, angle + DT * turn, turn + DT * alpha

    def rollout(self, start: Tensor, torques: Tensor) -> Path:
        """Positions, speeds, angles and turns (..., T) from `start` (..., 4); the last force has no effect."""
        path: list[Path] = [start.expand(*torques.shape[:-1], 4).unbind(-1)]
        for force in torques[..., :-1].unbind(-1):
            path.append(self.step(*path[-1], force))
        return tuple(torch.stack(part, -1) for part in zip(*path, strict=True))

    def cost(self, cost: Cost, path: Path, torques: Tensor) -> Tensor:
        """Cost of the horizon along `path`, shape (...)."""
        z = torch.stack((path[0], path[1], path[2].cos(), path[2].sin(), path[3], torques), -1)
        return ((0.5 * cost.weights * z + cost.linear) * z).sum((-1, -2))

    def bends(self, angle: Tensor, turn: Tensor, force: Tensor) -> Bend:
        """First and second derivatives of the accelerations, by the quotient rule."""
        g, cart, m, length = self.parameters.unbind()
        M, k = cart + m, m * length
        s, c = angle.sin(), angle.cos()
        zero, one = torch.zeros_like(s), torch.ones_like(s)
        # Every quantity: value, (θ, ω, u), (θθ, θω, ωω, θu).
        p = (force + k * turn.square() * s) / M
        p1 = (k * turn.square() * c / M, 2 * k * turn * s / M, one / M)
        p2 = (-k * turn.square() * s / M, 2 * k * turn * c / M, 2 * k * s / M, zero)
        D, D1, D2 = length * (4 / 3 - m * c * c / M), 2 * k * c * s / M, 2 * k * (c * c - s * s) / M
        n1 = (g * c + s * p - c * p1[0], -c * p1[1], -c * p1[2])
        n2 = (
            -g * s + c * p + 2 * s * p1[0] - c * p2[0],
            s * p1[1] - c * p2[1],
            -c * p2[2],
            s * p1[2],
        )
        A = (g * s - c * p) / D
        A1 = ((n1[0] - A * D1) / D, n1[1] / D, n1[2] / D)
        A2 = (
            (n2[0] - 2 * A1[0] * D1 - A * D2) / D,
            (n2[1] - A1[1] * D1) / D,
            n2[2] / D,
            (n2[3] - A1[2] * D1) / D,
        )
        r = k / M
        a1 = (p1[0] - r * (A1[0] * c - A * s), p1[1] - r * A1[1] * c, p1[2] - r * A1[2] * c)
        a2 = (
            p2[0] - r * (A2[0] * c - 2 * A1[0] * s - A * c),
            p2[1] - r * (A2[1] * c - A1[1] * s),
            p2[2] - r * A2[2] * c,
            -r * (A2[3] * c - A1[2] * s),
        )

        def matrix(second: tuple[Tensor, ...]) -> Tensor:
            tt, tw, ww, tu = second
            return torch.stack((tt, tw, tu, tw, ww, zero, tu, zero, zero), -1).unflatten(-1, (3, 3))

        return Bend(torch.stack(a1, -1), matrix(a2), torch.stack(A1, -1), matrix(A2))

    def jacobians(self, bend: Bend) -> tuple[Tensor, Tensor]:
        """∂(next state)/∂state (..., T, 4, 4) and ∂/∂force (..., T, 4)."""
        zero = torch.zeros_like(bend.cart[..., 0])
        rows = torch.stack(
            (
                torch.stack((zero, zero + 1, zero, zero), -1),
                torch.stack((zero, zero, bend.cart[..., 0], bend.cart[..., 1]), -1),
                torch.stack((zero, zero, zero, zero + 1), -1),
                torch.stack((zero, zero, bend.pole[..., 0], bend.pole[..., 1]), -1),
            ),
            -2,
        )
        by_force = torch.stack((zero, bend.cart[..., 2], zero, bend.pole[..., 2]), -1)
        return torch.eye(4, dtype=zero.dtype) + DT * rows, DT * by_force

    def slopes(self, cost: Cost, path: Path, torques: Tensor) -> Slopes:
        """Gradient of the cost in the forces by costates, λ⁻ = ℓ_s + f_s'λ and ∇J = ℓ_u + f_u'λ.

        Differentiable in the parameters and in the cost.
        """
        (x, v, angle, turn), (w, c) = path, cost
        by_state, by_force = self.jacobians(self.bends(angle, turn, torques))
        of_state = torch.stack(
            (
                w[0] * x + c[0],
                w[1] * v + c[1],
                (w[3] - w[2]) * angle.sin() * angle.cos() + c[3] * angle.cos() - c[2] * angle.sin(),
                w[4] * turn + c[4],
            ),
            -1,
        )
        costate = torch.zeros_like(of_state[..., 0, :])
        later: list[Tensor] = [costate]
        for t in range(torques.shape[-1] - 1, 0, -1):
            costate = of_state[..., t, :] + (by_state[..., t, :, :].mT @ costate.unsqueeze(-1)).squeeze(-1)
            later.append(costate)
        after = torch.stack(later[::-1], -2)
        gradient = w[5] * torques + c[5] + (by_force * after).sum(-1)
        return Slopes(gradient, after, by_state, by_force)

    def responses(self, slopes: Slopes) -> Tensor:
        """Derivative of each state in each force, (..., T, 4, T)."""
        T = slopes.gradient.shape[-1]
        moved = slopes.by_force.new_zeros(*slopes.gradient.shape[:-1], 4, T)
        states = [moved]
        for t in range(T - 1):
            moved = slopes.by_state[..., t, :, :] @ moved
            moved = torch.cat((moved[..., :t], slopes.by_force[..., t, :, None], moved[..., t + 1 :]), -1)
            states.append(moved)
        return torch.stack(states, -3)

    def curvatures(self, cost: Cost, path: Path, slopes: Slopes, torques: Tensor) -> tuple[Tensor, Tensor]:
        """Hessian of the cost in the forces, exact and in Gauss and Newton's approximation, (..., T, T) each.

        H = Σ_t dz' (ℓ_zz + dt (λ_v a_zz + λ_ω α_zz)) dz over z = (x, v, θ, ω, u); the approximation, which
        linearises the steps and (cos θ, sin θ), keeps w_cos sin² θ + w_sin cos² θ of the first term and nothing of the
        second.
        """
        (_, _, angle, turn), (w, c) = path, cost
        T = torques.shape[-1]
        bend = self.bends(angle, turn, torques)
        s, cos = angle.sin(), angle.cos()
        moved = self.responses(slopes)
        own = torch.eye(T, dtype=torques.dtype).expand(*torques.shape[:-1], T, T).unsqueeze(-2)
        z = torch.cat((moved[..., 2:, :], own), -2)  # (θ, ω, u) in all forces, (..., T, 3, T)
        curved = DT * (
            slopes.later[..., 1, None, None] * bend.cart_bend
            + slopes.later[..., 3, None, None] * bend.pole_bend
        )
        exact_angle = (w[3] - w[2]) * (cos * cos - s * s) - c[3] * s - c[2] * cos
        linear_angle = w[2] * s * s + w[3] * cos * cos
        rest = w[0] * moved[..., 0, :].mT @ moved[..., 0, :] + w[1] * moved[..., 1, :].mT @ moved[..., 1, :]
        rest = rest + w[4] * moved[..., 3, :].mT @ moved[..., 3, :] + w[5] * torch.eye(T, dtype=torques.dtype)
        by_angle = moved[..., 2, :]
        exact = rest + by_angle.mT @ (exact_angle.unsqueeze(-1) * by_angle)
        exact = exact + (z.mT @ (curved @ z)).sum(-3)
        return exact, rest + by_angle.mT @ (linear_angle.unsqueeze(-1) * by_angle)


def _features(states: Tensor) -> tuple[Tensor, ...]:
    x, v, angle, turn = states.unbind(-1)
    return x, v, angle.cos(), angle.sin(), turn


def _believed(cartpole: Cartpole) -> dict[str, tuple[float, str]]:
    names = {"gravity": "m/s^2", "mass_cart": "kg", "mass_pole": "kg", "length_pole": "m"}
    pairs = zip(names.items(), cartpole.parameters, strict=True)
    return {name: (value.item(), unit) for (name, unit), value in pairs}


#: the published cart-pole: weights on the distance of (x, v, cos θ, sin θ, ω) from (0, 0, 1, 0, 0), 0.001 on the force
CARTPOLE = Kind(
    make=Cartpole,
    features=_features,
    states=4,
    true=(9.8, 1.0, 0.1, 0.5),
    start=(9.8, 3.0, 0.1, 1.0),
    weights=(0.1, 0.1, 1.0, 1.0, 0.1, 0.001),
    linear=(0.0, 0.0, -1.0, 0.0, 0.0, 0.0),
    believed=_believed,
    squared="m^2, m^2/s^2, 1 and rad^2/s^2",
    smallest=0.01,
)
