"""Sums of products as if in twice the working precision (Ogita, Rump & Oishi 2005).

The residual of a nearly solved system is the difference of large terms: in working precision it is their rounding. A
solution corrected by a residual that is right has the accuracy of its numbers, not that divided by the condition.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: splits the 53 bits of a float64 into halves whose products are exact (Veltkamp 1968)
SPLITTER = 2.0**27 + 1


def residual(right: Tensor, products: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """``right`` − Σ M x, rounded once.

    Parameters
    ----------
    right : Tensor of float64, shape ``(B, k)``
    products : sequence of (Tensor, Tensor)
        Matrices M, ``(k, n)`` or ``(B, k, n)``, and vectors x, ``(B, n)``.

    Returns
    -------
    Tensor, shape ``(B, k)``
        Off by at most ε|r| + (nε)² Σ |M||x|. Numbers beyond 10^±150 overflow, and give what is not finite.

    Notes
    -----
    Cost: about twenty times that of the products, and memory for each of their terms.
    """
    terms, errors = [right.unsqueeze(-1)], [torch.zeros_like(right).unsqueeze(-1)]
    for M, x in products:
        product, error = _product(M.expand(*right.shape[:-1], *M.shape[-2:]), -x.unsqueeze(-2))
        terms.append(product)
        errors.append(error)
    total, error = torch.cat(terms, dim=-1), torch.cat(errors, dim=-1).sum(-1)
    while total.shape[-1] > 1:
        half = (total.shape[-1] + 1) // 2
        rest = torch.nn.functional.pad(total[..., half:], (0, 2 * half - total.shape[-1]))
        total, lost = _sum(total[..., :half], rest)
        error = error + lost.sum(-1)
    return total.squeeze(-1) + error


def _sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """a + b and its rounding (Knuth 1969)."""
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)


def _product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """a b and its rounding (Dekker 1971)."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    error = a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)
    return product, error


def _halves(a: Tensor) -> tuple[Tensor, Tensor]:
    scaled = SPLITTER * a
    high = scaled - (scaled - a)
    return high, a - high
