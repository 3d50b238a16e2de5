"""Accelerated projected gradient for quadratic programs with bounds: an iteration that autograd can run through."""

import torch
from torch import Tensor


def projected_gradient(H: Tensor, q: Tensor, bound: float, iterations: int) -> Tensor:
    """Iterate `iterations` times towards argmin 1/2 u'Hu + q'u subject to |u| <= bound, from u = 0.

    u⁺ = clip(y - (Hy + q)/L), y⁺ = u⁺ + (√κ - 1)/(√κ + 1) (u⁺ - u), with L the largest eigenvalue of H and κ its
    condition number (Nesterov 2004, (2.2.11)): the error falls by 1 - 1/√κ in a step. Differentiable in H and q by
    unrolling; the step length, which does not move the limit, is a constant of the derivative.

    Parameters
    ----------
    H : Tensor, shape (n, n)
        Symmetric positive definite, shared over the batch.
    q : Tensor, shape (batch, n)

    Returns
    -------
    Tensor, shape (batch, n)
    """
    values = torch.linalg.eigvalsh(H.detach())
    root = (values[-1] / values[0]).sqrt()
    momentum = (root - 1) / (root + 1)
    u = y = torch.zeros_like(q)
    for _ in range(iterations):
        before, u = u, (y - (y @ H + q) / values[-1]).clamp(-bound, bound)
        y = u + momentum * (u - before)
    return u
