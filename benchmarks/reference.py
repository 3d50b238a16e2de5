"""What an answer has to be before its time counts: KKT residual at most 1e-8, gradients within 1e-6."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks import oracle
from benchmarks.problems import NAMES, Data
from layers import solve_qp

RESIDUAL, GRADIENT = 1e-8, 1e-6
#: the tolerance of our own tight solve: the polish that ends it leaves far less
TIGHT = 1e-11
#: what our own tight solve may differ from the oracle by, and on how many elements that is looked at
AGREEMENT, LOOKED_AT = 1e-7, 3
#: below this a gradient is rounding: nothing that is learned may have one
TINY = 1e-9

#: z, and λ and ν where an engine gives them
Answer = tuple[Tensor, ...]


@dataclass(frozen=True)
class Reference:
    """Gradients of sum(w * z) in the learned arguments, for a fixed random cotangent w of z."""

    cotangent: Tensor
    gradients: dict[str, Tensor]


def cotangent(data: Data) -> Tensor:
    """The same standard normal w, shape ``(batch, n)``, for every engine."""
    generator = torch.Generator().manual_seed(data.draw)
    n, _, _ = data.sizes
    w = torch.randn(data.batch, n, generator=generator, dtype=torch.float64)
    return w.to(data.q.device)


def make_reference(data: Data) -> Reference:
    """Our torch engine at its tightest, on unshared copies where the data are; the oracle looks at a few elements.

    Raises
    ------
    ArithmeticError
        If the two do not agree to 1e-7 relative in the solution and in all six gradients, at a degenerate point in
        those of what is learned.
    """
    w = cotangent(data)
    wide = [t.detach().clone().requires_grad_() for t in data.expanded().tensors]
    z = solve_qp(*wide, solver="interior_point", tol=TIGHT).z
    each = dict(zip(NAMES, torch.autograd.grad(z, wide, w), strict=True))
    for name in data.learned:
        if not each[name].abs().max() > TINY:
            raise ArithmeticError(f"the gradient in {name} vanishes: such a row tells nothing")
    for i in range(min(LOOKED_AT, data.batch)):
        point = oracle.solve(*(t[i].detach().cpu().numpy() for t in wide))
        expected = oracle.gradients(point, w[i].cpu().numpy()) | {"z": point["z"]}
        if data.degenerate:
            expected = {name: expected[name] for name in ("z", *data.learned)}
        found = {name: g[i].cpu().numpy() for name, g in each.items()} | {"z": z[i].detach().cpu().numpy()}
        for name, value in expected.items():
            # A gradient can vanish in one element (at a vertex), so the batch says what is large.
            everyone = z.detach() if name == "z" else each[name]
            size = float(everyone.abs().max()) if value.size else 1.0
            error = float(np.abs(found[name] - value).max(initial=0.0)) / max(size, TINY)
            if not error <= AGREEMENT:
                raise ArithmeticError(f"reference and oracle differ by {error:.1e} in {name} of element {i}")
    total = {name: each[name].sum(0) if name in data.shared else each[name] for name in data.learned}
    return Reference(w, {name: symmetric(name, g) for name, g in total.items()})


def gradient_error(found: Mapping[str, Tensor], reference: Reference) -> float:
    """Largest relative error over the learned arguments, each against its own largest entry; Q's made symmetric."""
    errors = [relative_error(symmetric(name, found[name]), g) for name, g in reference.gradients.items()]
    return max(errors, default=0.0)


def symmetric(name: str, gradient: Tensor) -> Tensor:
    """Gradient of Q as a symmetric matrix: packages differ in the part that symmetric changes do not see."""
    return 0.5 * (gradient + gradient.mT) if name == "Q" else gradient


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest deviation over the largest entry; infinite where something is not finite."""
    if expected.numel() == 0:
        return 0.0
    size = float(expected.abs().max())
    error = float((found.detach().to(expected.dtype) - expected).abs().max()) / (size if size > 0 else 1.0)
    return error if np.isfinite(error) else float("inf")


def kkt_residual(data: Data, answer: Answer) -> float:
    """Largest relative violation of the optimality conditions over the batch, the packages' own customary measure.

    Stationarity, feasibility and the product of multiplier and slack, each divided by one plus the largest of the
    terms that it is the sum of.
    """
    z, lam, nu = (v.detach() for v in answer)
    Q, q, G, h, A, b = (t.detach() for t in data.expanded().tensors)
    Qz, Gz, Az = (_times(M, z) for M in (Q, G, A))
    GtL, AtN = _times(G.mT, lam), _times(A.mT, nu)
    dual = _largest(Qz + q + GtL + AtN) / (1 + _max(Qz, q, GtL, AtN))
    primal = torch.maximum(_largest((Gz - h).clamp(min=0)), _largest(Az - b)) / (1 + _max(Gz, h, Az, b))
    sign = _largest(lam.clamp(max=0)) / (1 + _max(lam, nu))
    value = (0.5 * z * Qz).sum(-1).abs() + (q * z).sum(-1).abs()
    product = _largest(lam * (h - Gz)) / (1 + value)
    worst = float(torch.stack([dual, primal, sign, product]).max())
    return worst if np.isfinite(worst) else float("inf")


def _times(M: Tensor, v: Tensor) -> Tensor:
    return (M @ v.unsqueeze(-1)).squeeze(-1)


def _largest(v: Tensor) -> Tensor:
    return v.abs().amax(-1) if v.shape[-1] else v.new_zeros(v.shape[0])


def _max(*vectors: Tensor) -> Tensor:
    return torch.stack([_largest(v) for v in vectors]).amax(0)
