"""Control of a linear system at quadratic cost over a finite horizon, as one quadratic program:

    minimise sum_t 1/2 tau_t'tau_t + c'tau_t   subject to   x_0 = x(0),  x_{t+1} = A x_t + B u_t,  |u_t| <= bound,

with tau_t = (x_t, u_t), t = 0, ..., T - 1 (Amos et al., arXiv 1810.13400, problem (1) with cost I). `LinearQuadratic`
keeps all states as variables; `condensed` eliminates them and leaves the controls.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from layers import QPLayer

# Q, q, G, h, A, b of a quadratic program.
Program = tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]


@dataclass(frozen=True)
class LinearQuadratic:
    """What does not change while the dynamics are learned: sizes, linear cost, bound.

    Attributes
    ----------
    horizon, states, controls : int
    linear : Tensor, shape (states + controls,)
        The linear cost c of every step, float64.
    bound : float or None
        Of every control in absolute value.
    """

    horizon: int
    states: int
    controls: int
    linear: Tensor
    bound: float | None = None

    def program(self, A: Tensor, B: Tensor, start: Tensor) -> Program:
        """The program in tau = (x_0, u_0, ..., x_{T-1}, u_{T-1}); only b differs between elements.

        Parameters
        ----------
        A, B : Tensor, shapes (states, states) and (states, controls)
        start : Tensor, shape (batch, states)
        """
        T, states = self.horizon, self.states
        size = T * (states + self.controls)
        Q = torch.eye(size, dtype=torch.float64)
        G, h = self._box
        shift = torch.diag(torch.ones(T - 1, dtype=torch.float64), -1)
        keep = torch.eye(states, states + self.controls, dtype=torch.float64)
        rows = torch.kron(torch.eye(T, dtype=torch.float64), keep) - torch.kron(shift, torch.cat((A, B), 1))
        b = torch.cat((start, start.new_zeros(len(start), (T - 1) * states)), 1)
        return Q, self.linear.repeat(T), G, h, rows, b

    def solve(self, layer: QPLayer, A: Tensor, B: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Optimal states (batch, T, states) and controls (batch, T, controls)."""
        tau = layer(*self.program(A, B, start))
        tau = tau.reshape(len(start), self.horizon, self.states + self.controls)
        return tau[..., : self.states], tau[..., self.states :]

    def condensed(self, A: Tensor, B: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(H, q, constant) with cost 1/2 u'Hu + q'u + constant in u = (u_0, ..., u_{T-1}).

        States are x = Mu + Nx(0), so H = I + M'M and q = M'(Nx(0) + c_x) + c_u.

        Returns
        -------
        H : Tensor, shape (T controls, T controls)
        q : Tensor, shape (batch, T controls)
        constant : Tensor, shape (batch,)
        """
        T, powers = self.horizon, [torch.eye(self.states, dtype=torch.float64)]
        for _ in range(T - 1):
            powers.append(A @ powers[-1])
        zero = torch.zeros_like(B)
        M = torch.cat(
            [torch.cat([powers[t - k - 1] @ B if k < t else zero for k in range(T)], 1) for t in range(T)]
        )
        free = start @ torch.cat(powers).mT
        state_cost, control_cost = self.linear[: self.states].repeat(T), self.linear[self.states :].repeat(T)
        H = torch.eye(T * self.controls, dtype=torch.float64) + M.mT @ M
        constant = (0.5 * free.square() + free * state_cost).sum(-1)
        return H, (free + state_cost) @ M + control_cost, constant

    @cached_property
    def _box(self) -> tuple[Tensor | None, Tensor | None]:
        if self.bound is None:
            return None, None
        # The controls of tau.
        rows = torch.eye(self.controls, dtype=torch.float64)
        rows = torch.cat((torch.zeros(self.controls, self.states, dtype=torch.float64), rows), 1)
        rows = torch.kron(torch.eye(self.horizon, dtype=torch.float64), rows)
        return torch.cat((rows, -rows)), torch.full((2 * len(rows),), self.bound, dtype=torch.float64)


def box(size: int, bound: float) -> tuple[Tensor, Tensor]:
    """G and h of |z| <= bound for z of `size` entries."""
    eye = torch.eye(size, dtype=torch.float64)
    return torch.cat((eye, -eye)), torch.full((2 * size,), bound, dtype=torch.float64)


def published_draw(generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers in single precision, as the published programs draw them, then float64."""
    return torch.randn(*shape, generator=generator).double()


def published_dynamics(generator: torch.Generator, states: int, controls: int) -> tuple[Tensor, Tensor]:
    """A = I + 0.2 N(0, 1) and B = N(0, 1), in the order of the published program (imitation_lqr/train.py)."""
    A = torch.eye(states, dtype=torch.float64) + 0.2 * published_draw(generator, states, states)
    return A, published_draw(generator, states, controls)
