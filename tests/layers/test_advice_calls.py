"""Advice is checked by following it: calls with wrong data and options, and the same after what the message says."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

from layers import ConvexLayer, LayerError, QPLayer, Solution, Status, solve_qp
from tests.layers.instances import NAMES, random_qp

Data = dict[str, Any]


def data_of(*batch: int) -> Data:
    return dict(zip(NAMES, random_qp(np.random.default_rng(0), 4, 3, 2, batch=batch), strict=True))


GOOD, BATCH = data_of(), data_of(2)
EYE = torch.eye(4, dtype=torch.float64)
skew = torch.zeros(4, 4, dtype=torch.float64)
skew[0, 1] = 0.5
sunk = torch.diag(torch.tensor([0.0, 0.0, 0.0, -3.0], dtype=torch.float64))


def with_infinite_row(bound: float) -> Data:
    """A bound that does not bind, in a row of its own."""
    row, far = torch.ones(1, 4, dtype=torch.float64), torch.full((1,), bound, dtype=torch.float64)
    return GOOD | {"G": torch.cat([GOOD["G"], row]), "h": torch.cat([GOOD["h"], far])}


#: data, the code of the message for each argument that it mends, and the data whose answer comes out, if known
DATA: dict[str, tuple[Data, dict[str, str], Data | None]] = {
    "numpy array": (GOOD | {"h": GOOD["h"].numpy()}, {"h": "torch.as_tensor(h, dtype=torch.float64)"}, GOOD),
    "list of numbers": (GOOD | {"q": GOOD["q"].tolist()}, {"q": "torch.as_tensor(q, dtype=torch.float64)"}, GOOD),
    "list of tensors": (GOOD | {"G": list(GOOD["G"])}, {"G": "torch.stack(G)"}, GOOD),
    "integers": (GOOD | {"h": torch.ones(3).long()}, {"h": "h.double()"}, GOOD | {"h": torch.ones(3).double()}),
    "booleans": (GOOD | {"h": torch.ones(3).bool()}, {"h": "h.double()"}, GOOD | {"h": torch.ones(3).double()}),
    "complex": (GOOD | {"q": torch.complex(GOOD["q"], GOOD["q"])}, {"q": "q.real"}, GOOD),
    "quantized": (GOOD | {"h": torch.quantize_per_tensor(torch.ones(3), 0.5, 0, torch.qint8)},
                  {"h": "h.dequantize().double()"}, None),
    "sparse vector": (GOOD | {"q": GOOD["q"].to_sparse()}, {"q": "q.to_dense()"}, GOOD),
    "nested": (GOOD | {"h": torch.nested.nested_tensor([torch.ones(3), torch.ones(2)]).double()},
               {"h": "torch.nested.to_padded_tensor(h, 0.0)"}, None),
    "meta": (GOOD | {"q": GOOD["q"].to("meta")}, {"q": "torch.zeros_like(q, device='cpu')"},
             GOOD | {"q": torch.zeros_like(GOOD["q"])}),
    "column for a vector": (GOOD | {"q": GOOD["q"][:, None]}, {"q": "q.squeeze(-1)"}, GOOD),
    "column of bounds": (GOOD | {"h": GOOD["h"][:, None]}, {"h": "h.squeeze(-1)"}, GOOD),
    "transposed": (GOOD | {"G": GOOD["G"].mT}, {"G": "G.mT"}, GOOD),
    "asymmetric": (GOOD | {"Q": GOOD["Q"] + skew}, {"Q": "0.5 * (Q + Q.mT)"},
                   GOOD | {"Q": GOOD["Q"] + 0.5 * (skew + skew.mT)}),
    "indefinite": (GOOD | {"Q": sunk}, {"Q": "Q + 3.03 * torch.eye(4).to(Q)"}, GOOD | {"Q": sunk + 3.03 * EYE}),
    "NaN": (GOOD | {"h": torch.full((3,), nan).double()}, {"h": "h.nan_to_num(0.0, 0.0, 0.0)"},
            GOOD | {"h": torch.zeros(3).double()}),
    "infinity in q": (GOOD | {"q": torch.full((4,), inf).double()}, {"q": "q.nan_to_num(0.0, 0.0, 0.0)"},
                      GOOD | {"q": torch.zeros(4).double()}),
    "infinite bound": (with_infinite_row(inf), {"h": "h.clamp(max=1e+07)"}, GOOD),
}  # fmt: skip


def solved(data: Data) -> Tensor:
    """z of data, which is that of the module too; differentiable and finite."""
    given = {name: v.detach().clone().requires_grad_() for name, v in data.items()}
    solution = solve_qp(**given)
    assert (solution.status == Status.OPTIMAL).all()
    gradients = torch.autograd.grad(solution.z.sum(), list(given.values()))
    assert all(torch.isfinite(g).all() for g in gradients)
    torch.testing.assert_close(QPLayer()(**data), solution.z.detach())
    return solution.z.detach()


@pytest.mark.parametrize("name", DATA)
def test_advice_on_data_gives_an_answer(name: str) -> None:
    data, advice, same = DATA[name]
    for call in (lambda **d: solve_qp(**d), QPLayer()):
        with pytest.raises(LayerError) as caught:
            call(**data)
        # What the message says of each is said of all: "call .to(torch.float64) on each".
        for code in advice.values():
            assert (
                code.removeprefix("h") in str(caught.value) if ".to(" in code else code in str(caught.value)
            )
    mended = data | {argument: eval(code, {"torch": torch} | data) for argument, code in advice.items()}
    z = solved(mended)
    if same is not None:
        torch.testing.assert_close(z, solved(same), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bound", [1e20, 1e50, 1e200, inf])
def test_a_bound_that_stands_for_infinity_is_solved_or_its_row_is_to_be_left_out(bound: float) -> None:
    found, said = None, ""
    try:
        found = solve_qp(**with_infinite_row(bound)).z
    except LayerError as error:
        said = str(error)
    if found is None:
        assert "bound" in said
        assert "leave out" in said
        assert bound > 1e20
    else:
        torch.testing.assert_close(found, solve_qp(**GOOD).z, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("bound", [1e20, 1e50, 1e100])
def test_a_large_bound_does_no_harm_to_the_rows_beside_it(bound: float) -> None:
    """Once lost in its rounding; z = (−5, −1) meets the first row alone, whose multiplier is 4."""
    rows = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).double()
    sides = torch.tensor([-5.0, bound], dtype=torch.float64)
    found = solve_qp(torch.eye(2).double(), torch.ones(2).double(), rows, sides)
    torch.testing.assert_close(found.z, torch.tensor([-5.0, -1.0]).double(), rtol=1e-14, atol=0)
    torch.testing.assert_close(found.lam, torch.tensor([4.0, 0.0]).double(), rtol=1e-14, atol=0)


#: what is passed beside the data, what the message says, and what is passed instead
OPTIONS: dict[str, tuple[Data, str, Data]] = {
    "negative tolerance": ({"tol": -1e-8}, "as 1e-8", {"tol": 1e-8}),
    "tolerance as text": ({"tol": "1e-6"}, "float('1e-6')", {"tol": float("1e-6")}),
    "tolerance in words": ({"tol": "tight"}, "as 1e-8", {"tol": 1e-8}),
    "infinite tolerance": ({"tol": inf}, "as 1e-8", {"tol": 1e-8}),
    "no tolerance": ({"tol": None}, "as 1e-8", {"tol": 1e-8}),
    "several tolerances": ({"tol": torch.ones(2)}, "as 1e-8", {"tol": 1e-8}),
    "no iterations": ({"max_iterations": 0}, "a whole number, at least 1", {"max_iterations": 100}),
    "one and a half": ({"max_iterations": 1.5}, "a whole number, at least 1", {"max_iterations": 100}),
    "iterations as text": ({"max_iterations": "50"}, "write 50", {"max_iterations": 50}),
    "solver of another layer": ({"solver": "clarabel"}, "'native'", {"solver": "native"}),
    "solver misspelt": ({"solver": "Native"}, "did you mean 'native'?", {"solver": "native"}),
    "solver of CVXPY": ({"solver": "OSQP"}, "'auto'", {"solver": "auto"}),
    "solver as array": ({"solver": torch.ones(3).numpy()}, "'auto'", {"solver": "auto"}),
    "adjoint that is not there": ({"adjoint": "implict"}, "did you mean 'implicit'?", {"adjoint": "implicit"}),
    "policy that is not there": ({"on_failure": "skip"}, "'ignore'", {"on_failure": "ignore"}),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_advice_on_options_gives_an_answer(name: str) -> None:
    wrong, said, right = OPTIONS[name]
    for call in (lambda **o: solve_qp(**GOOD, **o).z, lambda **o: QPLayer(**o)(**GOOD)):
        with pytest.raises(LayerError) as caught:
            call(**wrong)
        assert said in str(caught.value)
        torch.testing.assert_close(call(**right), solve_qp(**GOOD).z, rtol=1e-6, atol=1e-6)


def test_numbers_of_every_type_are_numbers() -> None:
    numbers = ({"max_iterations": 1e3}, {"max_iterations": torch.tensor(50)}, {"tol": torch.tensor(1e-8)},
               {"tol": torch.tensor(1e-8).numpy()})  # fmt: skip
    for options in numbers:
        for z in (solve_qp(**GOOD, **options).z, QPLayer(**options)(**GOOD)):
            torch.testing.assert_close(z, solve_qp(**GOOD).z, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "said", "right"),
    [
        ({"Q": None}, "Q is required", {"Q": EYE}),
        ({"h": None}, "pass both or neither of G, h", {"G": None, "h": None}),
        ({"A": None}, "pass both or neither of A, b", {"A": None, "b": None}),
    ],
)
def test_advice_on_what_is_missing_gives_an_answer(wrong: Data, said: str, right: Data) -> None:
    with pytest.raises(LayerError) as caught:
        solve_qp(**(GOOD | wrong))
    assert said in str(caught.value)
    assert torch.isfinite(solve_qp(**(GOOD | right)).z).all()


def test_advice_on_tensors_from_inference_gives_a_gradient() -> None:
    with torch.inference_mode():
        q = GOOD["q"].clone()
    Q = GOOD["Q"].clone().requires_grad_()
    for call in (
        lambda q: solve_qp(**(GOOD | {"Q": Q, "q": q})).z,
        lambda q: QPLayer()(**(GOOD | {"Q": Q, "q": q})),
    ):
        with pytest.raises(
            LayerError, match=r"^q must not come from torch.inference_mode\(\).*pass q.clone\(\)"
        ):
            call(q)
        (found,) = torch.autograd.grad(call(q.clone()).sum(), Q)
        (expected,) = torch.autograd.grad(call(GOOD["q"]).sum(), Q)
        torch.testing.assert_close(found, expected)


def test_advice_on_batch_axes_gives_an_answer() -> None:
    with pytest.raises(LayerError, match="leave them out, or make them 1"):
        solve_qp(**(BATCH | {"h": GOOD["h"].expand(3, 3)}))
    assert torch.isfinite(solve_qp(**(BATCH | {"h": GOOD["h"]})).z).all()
    assert torch.isfinite(solve_qp(**(BATCH | {"h": GOOD["h"].expand(1, 3)})).z).all()


sums = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1]])
margins = [torch.tensor([0.1, 0.2, third, 0.3 - third]) for third in (0.3 / 7, 0.05, 0.1 / 3)]


@pytest.mark.parametrize("margin", margins)
def test_float32_equalities_that_contradict_each_other_by_rounding_are_told_of_float64(
    margin: Tensor,
) -> None:
    """The plan (t₁₁, t₁₂, t₂₁, t₂₂) has row and column sums; the last sum follows from the others."""
    assert margin.double()[:2].sum() != margin.double()[2:].sum()
    cost = torch.tensor([0.3, 0.1, 0.7, 0.2])
    for call in (solve_qp, QPLayer()):
        with pytest.raises(LayerError, match="compute their values in float64"):
            call(torch.eye(4), cost, None, None, sums, margin)
    exact = margin.double()
    exact[3] = exact[:2].sum() - exact[2]
    z = solve_qp(torch.eye(4).double(), cost.double(), None, None, sums.double(), exact).z
    torch.testing.assert_close(sums.double() @ z, exact, rtol=1e-8, atol=1e-8)


x, target, limit = cp.Variable(3, name="x"), cp.Parameter(3, name="target"), cp.Parameter(3, name="limit")
square = ConvexLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - target)), [x >= 0]), [target], [x])
ball = ConvexLayer(
    cp.Problem(cp.Minimize(cp.sum_squares(x - target)), [cp.norm(x) <= 1, x >= -limit]), [target, limit], [x]
)
other = cp.Variable(3)
tilted = ConvexLayer(
    cp.Problem(cp.Minimize(cp.sum_squares(other - target)), [cp.norm(other) <= 1]), [target], [other]
)
one = torch.ones(3, dtype=torch.float64)


@pytest.mark.parametrize(
    "wrong",
    [True, "cold", 1, one, lambda: square.solve(one), lambda: solve_qp(EYE[:2, :2], one[:2])],
    ids=["True", "text", "number", "tensor", "of ConvexLayer", "of other sizes"],
)  # fmt: skip
def test_advice_on_a_warm_start_of_solve_qp_gives_an_answer(wrong: Any) -> None:
    wrong = wrong() if callable(wrong) else wrong
    for call in (
        lambda w: solve_qp(EYE, GOOD["q"], warm_start=w),
        lambda w: QPLayer().solve(EYE, GOOD["q"], warm_start=w),
    ):
        with pytest.raises(
            LayerError, match=r"warm_start.*(Solution|solution of problems of the same sizes)"
        ):
            call(wrong)
        earlier = call(None)
        assert isinstance(earlier, Solution)
        torch.testing.assert_close(call(earlier).z, -GOOD["q"])


@pytest.mark.parametrize(
    "wrong",
    ["cold", 1, one, lambda: solve_qp(EYE, GOOD["q"]), lambda: ball.solve(one, one), lambda: square.solve(one)],
    ids=["text", "number", "tensor", "of solve_qp", "of a ball", "of a box"],
)  # fmt: skip
def test_advice_on_a_warm_start_of_a_convex_layer_gives_an_answer(wrong: Any) -> None:
    wrong = wrong() if callable(wrong) else wrong
    layer = tilted if isinstance(getattr(wrong, "warm", None), Solution) else square
    for call in (layer, layer.solve):
        with pytest.raises(
            LayerError, match=r"True, False, or the ConvexSolution that .* of this layer returned"
        ):
            call(one, warm_start=wrong)
    for right in (True, False, layer.solve(one)):
        torch.testing.assert_close(layer(one, warm_start=right)[0], layer(one)[0])
