"""Advice is checked by following it: lists, options and tensors of a convex layer, and the same after the message."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

from layers import ConvexLayer, LayerError

x, y, other = cp.Variable(3, name="x"), cp.Variable(name="y"), cp.Variable(3, name="other")
F, g, foreign = cp.Parameter((2, 3), name="F"), cp.Parameter(2, name="g"), cp.Parameter(name="foreign")
problem = cp.Problem(cp.Minimize(cp.sum_squares(F @ x - g) + cp.sum_squares(x) + cp.square(y - 1)))
tensors = {
    "F": torch.tensor([[1.0, 0.5, -1.0], [0.0, 2.0, 0.3]], dtype=torch.float64),
    "g": torch.tensor([1.0, -2.0], dtype=torch.float64),
}
NAMES = {"cvxpy": cp, "torch": torch, "F": F, "g": g, "x": x, "y": y}


def expected() -> Tensor:
    """x = (FᵀF + I)⁻¹Fᵀg."""
    F, g = tensors.values()
    return torch.linalg.solve(F.mT @ F + torch.eye(3).double(), F.mT @ g)


def check(*arguments: Any, place: int = 0, **options: Any) -> None:
    """The layer gives the closed form."""
    found = ConvexLayer(*arguments, **options)(*tensors.values())[place]
    torch.testing.assert_close(found, expected(), rtol=1e-7, atol=1e-8)


#: the lists, and the options, that are wrong, what the message says, and what is right
LISTS: dict[str, tuple[tuple[Any, ...], dict[str, Any], str, tuple[Any, ...], dict[str, Any]]] = {
    "parameter left out": (([F], [x]), {}, "missing: g", ([F, g], [x]), {}),
    "parameter of another problem": (([F, g, foreign], [x]), {}, "it has F, g", ([F, g], [x]), {}),
    "parameter twice": (([F, g, g], [x]), {}, "more than once: g", ([F, g], [x]), {}),
    "no list of parameters": ((F, [x]), {}, "must be a list or tuple", ([F, g], [x]), {}),
    "variable of another problem": (([F, g], [other]), {}, "its variables are x, y", ([F, g], [x]), {}),
    "no list of variables": (([F, g], x), {}, "must be a list or tuple", ([F, g], [x]), {}),
    "solver misspelt": (([F, g], [x]), {"solver": "claarabel"}, "did you mean 'clarabel'?", ([F, g], [x]),
                        {"solver": "clarabel"}),
    "adjoint that is not there": (([F, g], [x]), {"adjoint": "lsqr"}, "'implicit'", ([F, g], [x]),
                                  {"adjoint": "implicit"}),
    "backend of CVXPY that is not there": (([F, g], [x]), {"canon_backend": "scipy"}, "'SCIPY'", ([F, g], [x]),
                                           {"canon_backend": "SCIPY"}),
    "solver arguments that are no dictionary": (([F, g], [x]), {"solver_args": "eps"}, "{'eps': 1e-8}", ([F, g], [x]),
                                                {"solver_args": {"eps": 1e-8}}),
    "tolerance as text": (([F, g], [x]), {"solver_args": {"eps": "1e-9"}}, "float('1e-9')", ([F, g], [x]),
                          {"solver_args": {"eps": float("1e-9")}}),
    "setting of the wrong kind": (([F, g], [x]), {"solver": "clarabel", "solver_args": {"max_threads": "two"}},
                                  "of the kind of its default, 0", ([F, g], [x]),
                                  {"solver": "clarabel", "solver_args": {"max_threads": 0}}),
    "iterations": (([F, g], [x]), {"max_iterations": 1.5}, "a whole number", ([F, g], [x]), {"max_iterations": 1e3}),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_advice_on_lists_and_options_gives_the_solution(name: str) -> None:
    lists, options, said, right, instead = LISTS[name]
    with pytest.raises(LayerError) as caught:
        ConvexLayer(problem, *lists, **options)
    assert said in str(caught.value)
    check(problem, *right, **instead)


def test_advice_on_a_solver_that_takes_no_cones_gives_the_solution() -> None:
    capped = cp.Problem(problem.objective, [cp.norm(x) <= 100])
    with pytest.raises(LayerError, match="choose auto, native, clarabel"):
        ConvexLayer(capped, [F, g], [x], solver="interior_point")
    check(capped, [F, g], [x], solver="clarabel")


def test_advice_on_integer_variables_gives_an_answer() -> None:
    k = cp.Variable(name="k", boolean=True)
    with pytest.raises(LayerError, match=r"cvxpy.Variable\(..., bounds=\[0, 1\]\)"):
        ConvexLayer(cp.Problem(cp.Minimize(cp.square(k - foreign))), [foreign], [k])
    k = cp.Variable(bounds=[0, 1])
    (found,) = ConvexLayer(cp.Problem(cp.Minimize(cp.square(k - foreign))), [foreign], [k])(
        torch.tensor(3.0).double()
    )
    assert found.item() == pytest.approx(1.0)


layer = ConvexLayer(problem, [F, g], [x])

#: tensors, and the code of the message that mends each
TENSORS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "array": ({"F": tensors["F"].numpy()}, {"F": "torch.as_tensor(F, dtype=torch.float64)"}),
    "list": ({"g": tensors["g"].tolist()}, {"g": "torch.as_tensor(g, dtype=torch.float64)"}),
    "complex": ({"g": torch.complex(tensors["g"], tensors["g"])}, {"g": "g.real"}),
    "sparse": ({"F": tensors["F"].to_sparse()}, {"F": "F.to_dense()"}),
    "transposed": ({"F": tensors["F"].mT}, {"F": "F.mT"}),
    "column": ({"g": tensors["g"][:, None]}, {"g": "g.squeeze(-1)"}),
}


@pytest.mark.parametrize("name", TENSORS)
def test_advice_on_tensors_gives_the_solution(name: str) -> None:
    change, advice = TENSORS[name]
    wrong = tensors | change
    for call in (layer, layer.solve):
        with pytest.raises(LayerError) as caught:
            call(*wrong.values())
        assert all(code in str(caught.value) for code in advice.values())
    mended = wrong | {key: eval(code, {"torch": torch} | wrong) for key, code in advice.items()}
    torch.testing.assert_close(layer(*mended.values())[0].detach(), expected(), rtol=1e-7, atol=1e-8)


def test_advice_on_the_order_of_tensors_gives_the_solution() -> None:
    with pytest.raises(LayerError, match="pass F, g, as parameters were listed"):
        layer(tensors["g"], tensors["F"])
    torch.testing.assert_close(layer(tensors["F"], tensors["g"])[0], expected(), rtol=1e-7, atol=1e-8)


def test_advice_on_a_sparse_matrix_gives_the_solution() -> None:
    """minimise |D x − 1|² with a diagonal D: x = 1/D."""
    D, diagonal = cp.Parameter((3, 3), name="D"), torch.tensor([1.0, 2.0, -4.0], dtype=torch.float64)
    with pytest.raises(LayerError) as caught:
        ConvexLayer(cp.Problem(cp.Minimize(cp.sum_squares(D @ x - 1))), [D], [x])(
            torch.diag(diagonal).to_sparse_csr()
        )
    code = "cvxpy.Parameter(shape, sparsity=(rows, columns))"
    assert code in str(caught.value)
    assert "D.to_dense()" in str(caught.value)
    D = eval(code, {"cvxpy": cp, "shape": (3, 3), "rows": np.arange(3), "columns": np.arange(3)})
    kept = ConvexLayer(cp.Problem(cp.Minimize(cp.sum_squares(D @ x - 1))), [D], [x])
    torch.testing.assert_close(kept(torch.diag(diagonal).to_sparse_csr().to_dense())[0], 1 / diagonal)
