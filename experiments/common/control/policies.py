"""Control that looks one step ahead: a quadratic program whose value function is learned.

With a convex quadratic guess V(y) = ‖Sy‖² + r'y of what the next state y will cost, the control is

    u = argmin u'Ru + c'u + V(d + Bu)   subject to   Gu <= h,

where d is the next state without control. Written out, 1/2 u'Qu + q'u with Q = 2 (R + (SB)'SB) and
q = c + 2 (SB)'Sd + B'r, so the constraints alone depend on neither S nor r.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from layers import QPLayer


@dataclass(frozen=True)
class Value:
    """V(y) = ‖Sy‖² + r'y: `root` S, shape (states, states), and `slope` r, shape (states,); both may be learned."""

    root: Tensor
    slope: Tensor

    @classmethod
    def learned(cls, root: Tensor, slope: Tensor) -> "Value":
        """A value function with leaves of its own that start at `root` and `slope`."""
        return cls(root.detach().clone().requires_grad_(), slope.detach().clone().requires_grad_())

    @property
    def parameters(self) -> list[Tensor]:
        """What is learned."""
        return [self.root, self.slope]

    def frozen(self) -> "Value":
        """The same numbers, as constants."""
        return Value(self.root.detach().clone(), self.slope.detach().clone())


@dataclass(frozen=True)
class Box:
    """|u - centre| <= reach, entry by entry, as rows Gu <= h of a program; `reach` has shape (controls,)."""

    reach: Tensor

    def rows(self, centre: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """G and h; `centre` is zero unless given, with or without a batch axis."""
        eye = torch.eye(len(self.reach), dtype=self.reach.dtype)
        upper, lower = self.reach, self.reach
        if centre is not None:
            upper, lower = self.reach + centre, self.reach - centre
        return torch.cat((eye, -eye)), torch.cat((upper, lower), -1)


def look_ahead(
    layer: QPLayer,
    cost: tuple[Tensor, Tensor | None],
    value: Value,
    reached: tuple[Tensor, Tensor],
    rows: tuple[Tensor, Tensor] | tuple[None, None] = (None, None),
) -> Tensor:
    """The control that is best for one step and `value` after it.

    Parameters
    ----------
    layer : QPLayer
    cost : tuple
        R, positive definite unless (SB)'SB makes up for it, and c, shape (controls,) with or without a batch axis,
        or None for zero.
    value : Value
    reached : tuple
        d, shape (batch, states), and B, shape (states, controls) with or without a batch axis.
    rows : tuple
        G and h of the constraints, or nothing.

    Returns
    -------
    Tensor, shape (batch, controls)
        Differentiable in every tensor.
    """
    (R, c), (d, B) = cost, reached
    SB = value.root @ B
    q = 2 * torch.einsum("...su,...s->...u", SB, d @ value.root.mT) + value.slope @ B
    return layer(2 * (R + SB.mT @ SB), q if c is None else q + c, *rows)
