"""Parts of a problem that nothing connects: variables belong together where a row, or an entry of Q, holds both."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def parts_of_variables(matrices: Sequence[Tensor]) -> Tensor:
    """The first variable of the part that each variable is in.

    Parameters
    ----------
    matrices : sequence of Tensor, shapes ``(k, n)`` or ``(B, k, n)``
        Whatever connects variables, a row at a time.

    Returns
    -------
    Tensor of int64, shape ``(n,)`` or ``(B, n)``
        All zero where everything is connected.

    Notes
    -----
    Cost: a few passes over the matrices; the host looks after each. A label jumps to the label of its own, so their
    number grows as the logarithm of the longest chain.
    """
    lead = torch.broadcast_shapes(*(M.shape[:-2] for M in matrices))
    n = matrices[0].shape[-1]
    label = torch.arange(n, device=matrices[0].device).expand(*lead, n)
    while True:
        before = label
        for M in matrices:
            if M.shape[-2]:
                first = parts_of_rows(M, label).unsqueeze(-1)
                label = label.minimum(torch.where(M != 0, first, n).amin(-2))
        label = label.gather(-1, label)
        if torch.equal(label, before):
            return label


def parts_of_rows(M: Tensor, label: Tensor) -> Tensor:
    """The part that each row of M is in; a row of zeros is in that of the last variable, as in any other."""
    held = torch.where(M != 0, label.unsqueeze(-2), M.shape[-1])
    return held.amin(-1).minimum(label.amax(-1, keepdim=True))


def largest_of_parts(values: Tensor, label: Tensor) -> Tensor:
    """For each variable the largest value in its part; both ``(B, n)``, the values not negative."""
    most = torch.zeros_like(values).scatter_reduce(-1, label, values, "amax")
    return most.gather(-1, label)
