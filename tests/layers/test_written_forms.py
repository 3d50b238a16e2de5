"""Forms that DPP refuses and the layer writes out, beside the same programs with a parameter computed in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

from layers import ConvexLayer, ProblemError

x, X = cp.Variable(3), cp.Variable((2, 2))
BOX = [x >= -1, x <= 1]


def toeplitz(p: Tensor) -> Tensor:
    """conv(p, ·) of three entries, as a matrix."""
    return torch.stack([torch.nn.functional.pad(p, (i, 2 - i)) for i in range(3)], 1)


def kronecker(M: Tensor, *, left: bool) -> Tensor:
    """kron(M, ·) or kron(·, M) of two rows and columns, row-major."""
    units = torch.eye(4, dtype=M.dtype).reshape(4, 2, 2)
    return torch.stack([(torch.kron(M, E) if left else torch.kron(E, M)).flatten() for E in units], 1)


def vec(expression: Any) -> Any:
    return cp.vec(expression, order="C")


Objective = Callable[[Any], Any]

#: shape and value of the parameter, objective, constraints, the objective with what is computed, and its computation
FORMS: dict[str, tuple[tuple[int, ...], list[float], Objective, list[Any], Objective, Callable[[Tensor], Tensor]]] = {
    "convolution": (
        (2,), [1.0, -0.5], lambda p: cp.sum_squares(cp.convolve(p, x) - 1), BOX,
        lambda T: cp.sum_squares(T @ x - 1), toeplitz,
    ),
    "Kronecker product from the left": (
        (2, 2), [1.0, 0.5, -0.3, 2.0], lambda M: cp.sum_squares(vec(cp.kron(M, X)) - np.arange(16.0)), [],
        lambda T: cp.sum_squares(T @ vec(X) - np.arange(16.0)), lambda M: kronecker(M, left=True),
    ),
    "Kronecker product from the right": (
        (2, 2), [1.0, 0.5, -0.3, 2.0], lambda M: cp.sum_squares(vec(cp.kron(X, M)) - np.arange(16.0)), [],
        lambda T: cp.sum_squares(T @ vec(X) - np.arange(16.0)), lambda M: kronecker(M, left=False),
    ),
    "cumulative sum": (
        (3,), [1.0, -2.0, 0.5], lambda p: cp.cumsum(p) @ x + cp.sum_squares(x), BOX,
        lambda r: r @ x + cp.sum_squares(x), lambda p: p.cumsum(0),
    ),
    "cumulative sums along rows": (
        (2, 2), [1.0, -2.0, 0.5, 3.0], lambda M: cp.sum_squares(cp.cumsum(M, axis=1) @ x[:2] - 1) + x[2] ** 2, BOX,
        lambda R: cp.sum_squares(R @ x[:2] - 1) + x[2] ** 2, lambda M: M.cumsum(1),
    ),
    "square over a parameter": (
        (), [1.5], lambda r: cp.quad_over_lin(x, r) + cp.sum(x), BOX,
        lambda w: w * cp.sum_squares(x) + cp.sum(x), lambda r: 1 / r,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_a_form_that_is_written_out_is_the_program_with_a_computed_parameter(name: str) -> None:
    shape, entries, objective, constraints, other, computed = FORMS[name]
    value = torch.tensor(entries, dtype=torch.float64).reshape(shape).requires_grad_()
    given = cp.Parameter(shape, nonneg=not shape)
    problem = cp.Problem(cp.Minimize(objective(given)), constraints)
    matrix = computed(value)
    made = cp.Parameter(tuple(matrix.shape), nonneg=not shape)
    advised = cp.Problem(cp.Minimize(other(made)), constraints)
    (variable,) = problem.variables()
    (found,) = ConvexLayer(problem, [given], [variable])(value)
    (right,) = ConvexLayer(advised, [made], [variable])(matrix)
    assert (found - right).abs().max() < 1e-8
    weights = torch.arange(1.0, found.numel() + 1).reshape(found.shape).double()
    pairs = ((weights * v).sum() for v in (found, right))
    one, two = (torch.autograd.grad(loss, value, retain_graph=True)[0] for loss in pairs)
    assert two.abs().max() > 1e-3
    assert torch.allclose(one, two, rtol=1e-6, atol=1e-8)


def test_dual_variables_and_constraints_keep_their_names() -> None:
    """The row that holds the form is written anew, and its multiplier is found under the old one."""
    p = cp.Parameter(2)
    row = cp.sum(cp.convolve(p, x)) <= 1
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - 2)), [row, x >= -5])
    value = torch.tensor([1.0, 1.0], dtype=torch.float64)
    z, dual = ConvexLayer(problem, [p], [x, row.dual_variables[0]])(value)
    # 2 Σx = 1: x = 2 − λ, each entry with 2(x − 2) + 2λ = 0
    assert torch.allclose(z, torch.full((3,), 1 / 6).double(), atol=1e-9)
    assert dual.item() == pytest.approx(2 - 1 / 6)


def test_what_cannot_be_written_out_is_refused_as_before() -> None:
    p, q = cp.Parameter(2), cp.Parameter(nonneg=True)
    with pytest.raises(ProblemError, match="both factors"):
        ConvexLayer(cp.Problem(cp.Minimize(cp.sum_squares(cp.convolve(p, q * x)))), [p, q], [x])
