"""Data and options that are refused: the message names the argument, what was expected and what was found."""

import dataclasses
import math
import re

import pytest
import torch
from torch import Tensor

from layers import LayerError, ProblemError, QPLayer, UnavailableError, engines, solve_qp
from layers.backends import BACKENDS
from layers.policy import POLICIES
from layers.qp_layer import ADJOINTS
from tests.layers.instances import NAMES, random_qp


@pytest.fixture
def data(rng) -> dict[str, Tensor]:
    return dict(zip(NAMES, random_qp(rng, 4, 3, 2, batch=(2,)), strict=True))


def zeros(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.float64)


SHAPES = {
    "Q": (zeros(4, 5), "(4, 4)", "(4, 5)"),
    "q": (torch.tensor(0.0).double(), "(rows,)", "()"),
    "G": (zeros(3, 5), "(3, 4)", "(3, 5)"),
    "h": (zeros(7), "(7, 4)", "(2, 3, 4)"),
    "A": (zeros(4), "at least 2 axes", "(4,)"),
    "b": (zeros(3), "(3, 4)", "(2, 2, 4)"),
}


@pytest.mark.parametrize("name", NAMES)
def test_shape_that_does_not_fit(data, name: str) -> None:
    value, expected, found = SHAPES[name]
    # the size of the vector decides, so a wrong h or b is reported as a G or A that does not fit it
    with pytest.raises(ProblemError, match=f"^{ {'h': 'G', 'b': 'A'}.get(name, name) } must") as caught:
        solve_qp(**(data | {name: value}))
    assert expected in str(caught.value)
    assert f"found {found}" in str(caught.value) or f"found shape {found}" in str(caught.value)


def test_no_variables() -> None:
    with pytest.raises(ProblemError, match="q must have at least one variable"):
        solve_qp(zeros(0, 0), zeros(0))


def test_batch_axes_that_do_not_broadcast(data) -> None:
    with pytest.raises(ProblemError, match=re.escape("do not broadcast")) as caught:
        solve_qp(**(data | {"q": data["q"].expand(3, 1, 2, 4)[:, 0].repeat(1, 2, 1)[:, :3]}))
    assert "q: (3, 3)" in str(caught.value)
    assert "Q: (2,)" in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", NAMES)
def test_value_that_is_not_finite(data, name: str, value: float) -> None:
    broken = data[name].clone()
    broken[1].view(-1)[0] = value
    pattern = re.escape(f"{name} must be finite; found NaN or infinity in batch element (1,)")
    with pytest.raises(ProblemError, match=f"^{pattern}"):
        solve_qp(**(data | {name: broken}))


def test_asymmetric_Q(data) -> None:
    Q = data["Q"].clone()
    Q[1, 0, 1] += 0.5
    with pytest.raises(ProblemError, match=r"Q must be symmetric; found .* 0\.5 in batch element \(1,\)"):
        solve_qp(**(data | {"Q": Q}))


def test_rounding_in_the_symmetry_of_Q_is_no_reason(data) -> None:
    Q = data["Q"].clone()
    Q[0, 0, 1] *= 1 + 1e-12
    torch.testing.assert_close(solve_qp(**(data | {"Q": Q})).z, solve_qp(**data).z, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [1.0, 1e-6, 1e6])
def test_indefinite_Q_at_every_scale(data, size: float) -> None:
    Q = torch.diag(torch.tensor([1.0, 2.0, -0.01, 1.0], dtype=torch.float64)) * size
    with pytest.raises(ProblemError, match="Q must be positive semidefinite; its smallest eigenvalue is -"):
        solve_qp(**(data | {"Q": Q}))


@pytest.mark.parametrize("name", NAMES)
def test_mixed_dtypes_are_promoted_as_torch_promotes_them(data, name: str) -> None:
    single = data | {name: data[name].float()}
    found = solve_qp(**single)
    assert found.z.dtype == torch.float64
    # Q made in float32 may be less symmetric and less convex, which the core asks in another order: last bits differ.
    expected = solve_qp(**{k: v.double() for k, v in single.items()}).z
    torch.testing.assert_close(found.z, expected, rtol=1e-13, atol=1e-13)


class Elsewhere(torch.Tensor):
    """A tensor on a device that this machine need not have."""

    @property
    def device(self) -> torch.device:
        return torch.device("cuda:0")


def test_mixed_devices(data) -> None:
    elsewhere = torch.zeros(2, 3, dtype=torch.float64).as_subclass(Elsewhere)
    with pytest.raises(ProblemError, match=r"must share one device.*Call \.to\(q.device\), cpu") as caught:
        solve_qp(**(data | {"h": elsewhere}))
    assert "h: cuda:0" in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex128])
@pytest.mark.parametrize("name", NAMES)
def test_dtype_that_is_not_real_floating(data, name: str, dtype: torch.dtype) -> None:
    remedy = f"pass {name}.real and {name}.imag" if dtype.is_complex else f"call {name}.double()"
    pattern = f"^{name} must have a real floating dtype .* found {dtype}; {re.escape(remedy)}"
    with pytest.raises(ProblemError, match=pattern):
        solve_qp(**(data | {name: data[name].to(dtype)}))


@pytest.mark.parametrize("name", NAMES)
def test_argument_that_is_no_tensor(data, name: str) -> None:
    with pytest.raises(ProblemError, match=f"^{name} must be a torch.Tensor, found ndarray"):
        solve_qp(**(data | {name: data[name].numpy()}))


@pytest.mark.parametrize(("given", "missing"), [("G", "h"), ("h", "G"), ("A", "b"), ("b", "A")])
def test_half_of_a_pair(data, given: str, missing: str) -> None:
    with pytest.raises(ProblemError, match=f"^{missing} is missing: {given} was given without it"):
        solve_qp(**(data | {missing: None}))


@pytest.mark.parametrize("name", ["Q", "q"])
def test_required_argument_that_is_none(data, name: str) -> None:
    with pytest.raises(ProblemError, match=f"^{name} is required: expected a tensor, found None"):
        solve_qp(**(data | {name: None}))


OPTIONS = {
    "solver": ("simplex", list(engines())),
    "adjoint": ("magic", ["auto", *ADJOINTS]),
    "on_failure": ("shrug", list(POLICIES)),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_unknown_name_lists_the_valid_ones(data, option: str) -> None:
    wrong, valid = OPTIONS[option]
    for call in (lambda **o: solve_qp(**data, **o), QPLayer):
        with pytest.raises(LayerError, match=f"^{option} must be one of .*; found '{wrong}'") as caught:
            call(**{option: wrong})
        assert all(repr(name) in str(caught.value) for name in valid)


@pytest.mark.parametrize(
    ("option", "value"),
    [("tol", 0.0), ("tol", -1e-8), ("tol", math.nan), ("max_iterations", 0)],
)
def test_number_out_of_range(data, option: str, value: float) -> None:
    for call in (lambda **o: solve_qp(**data, **o), QPLayer):
        with pytest.raises(LayerError, match=f"^{option} must be .*; found {value!r}"):
            call(**{option: value})


def test_own_adjoint_does_not_go_with_a_third_party_layer(data) -> None:
    with pytest.raises(LayerError, match="brings its own derivative"):
        solve_qp(**data, solver="qpth", adjoint="implicit")


@pytest.mark.parametrize("field", ["z", "lam", "nu", "s"])
def test_warm_start_of_other_sizes(data, field: str) -> None:
    solution = solve_qp(**data)
    wrong = dataclasses.replace(solution, **{field: zeros(2, 9)})
    with pytest.raises(ProblemError, match=rf"^warm_start\.{field} must have shape .* found \(2, 9\)"):
        solve_qp(**data, warm_start=wrong)


@pytest.mark.parametrize("name", list(BACKENDS))
def test_missing_third_party_layer_says_why(data, monkeypatch, name: str) -> None:
    absent = dataclasses.replace(BACKENDS[name], unavailable=lambda: "no module named so; install it")
    monkeypatch.setitem(BACKENDS, name, absent)
    assert engines()[name] == "no module named so; install it"
    with pytest.raises(UnavailableError, match=f"solver='{name}' cannot be used: no module named so"):
        solve_qp(**data, solver=name)
