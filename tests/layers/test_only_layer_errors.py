"""Whatever is passed to a public call: a right answer, or a LayerError; no other exception comes out."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.parameter import is_lazy

from layers import ConvexLayer, LayerError, QPLayer, SolverError, Status, solve_qp
from tests.layers.instances import random_qp
from tests.layers.oddities import NUMBERS, changed, options, programs

#: with the number of examples that `make test` takes, and that of the slow tests
EXAMPLES = [pytest.param(1, id="fast"), pytest.param(10, id="many", marks=pytest.mark.slow)]


@pytest.fixture(autouse=True)
def _engine() -> None:
    """The engines are among the options: each test runs once."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterable[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def hold(property_: Callable[..., None], times: int, examples: int, **strategies: Any) -> None:
    """Check a property on so many examples, always the same."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    profile = settings(
        max_examples=times * examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=checks,
    )
    profile(given(**strategies)(property_))()


def moderate(arguments: Iterable[Any]) -> bool:
    """Whether no value or derivative can overflow, whatever the dtype."""
    sizes = (v.detach().to_dense().abs().double() for v in arguments if isinstance(v, Tensor))
    return all(bool(((v == 0) | ((v > 1e-3) & (v < 1e3))).all()) for v in sizes)


def differentiated(values: Iterable[Any], arguments: Iterable[Any]) -> None:
    """Values of moderate arguments are finite, and so are their derivatives."""
    arguments = list(arguments)
    usual = moderate(arguments)
    values = [v for v in values if isinstance(v, Tensor)]
    for value in values:
        assert torch.isfinite(value).all() or not usual
    leaves = [v for v in arguments if isinstance(v, Tensor) and v.requires_grad and v.is_leaf]
    attached = [v.double().sum() for v in values if v.requires_grad]
    if attached and leaves:
        for gradient in torch.autograd.grad(sum(attached), leaves, allow_unused=True):
            assert gradient is None or torch.isfinite(gradient).all() or not usual


def leaf(value: Any) -> Any:
    """A tensor that can have a gradient asks for one."""
    if (
        not isinstance(value, Tensor)
        or is_lazy(value)
        or value.layout is not torch.strided
        or value.is_nested
    ):
        return value
    usual = value.is_floating_point() and not value.is_inference() and not value.requires_grad
    return value.detach().requires_grad_() if usual else value


earlier = [
    None, True, "cold", 1.0, torch.ones(3), object(), solve_qp(torch.eye(2).double(), torch.ones(2).double()),
    solve_qp(*random_qp(np.random.default_rng(0), 2, 1, 0)), solve_qp(*random_qp(np.random.default_rng(0), 3, 2, 1)),
]  # fmt: skip


@pytest.mark.parametrize("examples", EXAMPLES)
def test_of_solve_qp(examples: int) -> None:
    def check(data: dict[str, Any], chosen: dict[str, Any], warm_start: Any) -> None:
        data = {name: leaf(value) for name, value in data.items()}
        with contextlib.suppress(LayerError):
            solution = solve_qp(**data, **chosen, warm_start=warm_start)
            solved = solution.status == Status.OPTIMAL
            differentiated((v[solved] for v in (solution.z, solution.s, solution.objective)), data.values())

    hold(check, 300, examples, data=programs(), chosen=options(), warm_start=st.sampled_from(earlier))


@pytest.mark.parametrize("examples", EXAMPLES)
def test_of_the_module(examples: int) -> None:
    def check(data: dict[str, Any], chosen: dict[str, Any], warm_start: Any) -> None:
        data = {name: leaf(value) for name, value in data.items()}
        with contextlib.suppress(LayerError):
            layer = QPLayer(**chosen)
            z = layer(**data)
            if layer.on_failure == "raise":
                differentiated([z], data.values())
            layer.solve(**data, warm_start=warm_start)

    hold(check, 300, examples, data=programs(), chosen=options(), warm_start=st.sampled_from(earlier))


x, y = cp.Variable(2, name="x"), cp.Variable(name="y")
X, u = cp.Variable((2, 2), PSD=True), cp.Variable(2, pos=True)
p, r, S = (
    cp.Parameter(2, name="p"),
    cp.Parameter(nonneg=True, name="r"),
    cp.Parameter((2, 2), PSD=True, name="S"),
)
D, k = cp.Parameter((2, 2), name="D", sparsity=([0, 1], [0, 1])), cp.Parameter(2, pos=True, name="k")
one, eye = torch.ones(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)

#: objective, constraints, parameters with right values, variables, gp
PROGRAMS: dict[str, tuple[Any, list[Any], dict[Any, Tensor], list[Any], bool]] = {
    "box": (cp.sum_squares(x - p), [x >= 0, x <= r], {p: one, r: one[0]}, [x], False),
    "form": (cp.quad_form(x, S) - p @ x, [x <= 1], {S: eye, p: one}, [x], False),
    "sparse": (cp.sum_squares(D @ x - 1) + cp.sum_squares(x), [], {D: eye}, [x], False),
    "ball": (cp.sum_squares(x - p), [cp.norm(x) <= r], {p: one, r: one[0]}, [x], False),
    "exponential": (cp.sum(cp.exp(x)) - p @ x + cp.sum_squares(x), [], {p: one}, [x], False),
    "semidefinite": (cp.sum_squares(X - S), [cp.trace(X) <= r], {S: eye, r: one[0]}, [X], False),
    "geometric": (u[0] + u[1] / u[0] + 1 / u[1], [u >= k], {k: one}, [u], True),
}  # fmt: skip


def layer_of(name: str, **chosen: Any) -> ConvexLayer:
    objective, constraints, values, variables, gp = PROGRAMS[name]
    problem = cp.Problem(cp.Minimize(objective), constraints)
    return ConvexLayer(problem, list(values), variables, gp=gp, **chosen)


LAYERS = {name: layer_of(name) for name in PROGRAMS}
STARTS = [
    False,
    True,
    None,
    "cold",
    0,
    one,
    earlier[-1],
    *(layer.solve(*PROGRAMS[n][2].values()) for n, layer in LAYERS.items()),
]
SOLVER_ARGS = [
    None,
    {},
    {"eps": 1e-6},
    {"eps": "a"},
    {"max_iters": 30},
    {"max_iters": 2.5},
    {"nothing": 1},
    {3: 4},
    [],
    "eps",
    1,
]


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, list[Any], dict[str, Any]]:
    """A layer, the tensors of a call with up to two changes, sometimes in another number, and its options."""
    name = draw(st.sampled_from(sorted(PROGRAMS)))
    values = {parameter.name(): value for parameter, value in PROGRAMS[name][2].items()}
    if draw(st.booleans()):
        values = {name: value.float() for name, value in values.items()}
    tensors = list(draw(changed(values)).values())
    tensors = draw(
        st.sampled_from([tensors, tensors, tensors, tensors, tensors[::-1], tensors[1:], [*tensors, one]])
    )
    chosen = {"warm_start": draw(st.sampled_from(STARTS)), "solver_args": draw(st.sampled_from(SOLVER_ARGS))}
    kept = draw(st.sampled_from([(), (), ("warm_start",), ("solver_args",)]))
    return name, tensors, {key: chosen[key] for key in kept}


@pytest.mark.parametrize("examples", EXAMPLES)
def test_of_calls_of_a_convex_layer(examples: int) -> None:
    def check(call: tuple[str, list[Any], dict[str, Any]], how: str) -> None:
        name, tensors, chosen = call
        tensors = [leaf(value) for value in tensors]
        with contextlib.suppress(LayerError):
            if how == "canonical_data":
                LAYERS[name].canonical_data(*tensors)
                return
            found = getattr(LAYERS[name], how)(*tensors, **chosen)
            differentiated(found if how == "forward" else found.variables, tensors)

    how = st.sampled_from(["forward", "forward", "solve", "canonical_data"])
    hold(check, 400, examples, call=calls(), how=how)


problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p) + y), [y >= 0])
ARGUMENTS: dict[str, list[Any]] = {
    "problem": [problem, problem.objective, None, "minimise", cp.Problem(cp.Minimize(y), [y >= 0]),
                cp.Problem(cp.Minimize(cp.cumsum(p) @ x)), cp.Problem(cp.Minimize(-cp.square(y) + p[0])),
                cp.Problem(cp.Minimize(p @ p)), cp.Problem(cp.Maximize(cp.sum(p)))],
    "parameters": [[p], (p,), p, None, [], [p, p], [r], [p, r], {p: 1}, {p}, ["p"], [one], [x], [None]],
    "variables": [[x], (y, x), x, None, [], [x, x], [u], ["x"], [p], [problem.constraints[0].dual_variables[0]], {x}],
    "solver": ["auto", "clarabel", "native", "SCS", "QPTH", "", "none", None, 3, ["auto"], object(), cp.CLARABEL],
    "gp": [False, True, None, "yes", 0],
    "canon_backend": [None, "CPP", "SCIPY", "cpp", "C", 1, [], object()],
    "solver_args": SOLVER_ARGS,
    "adjoint": ["auto", "implicit", "none", None, 3],
    "on_failure": ["raise", "nan", "stop", None, np.array(["raise", "nan"])],
    "tol": NUMBERS,
    "max_iterations": NUMBERS,
}  # fmt: skip


@pytest.mark.parametrize("examples", EXAMPLES)
def test_of_making_a_convex_layer(examples: int) -> None:
    def check(chosen: dict[str, Any]) -> None:
        with contextlib.suppress(LayerError):
            layer = ConvexLayer(**({"problem": problem, "parameters": [p], "variables": [x]} | chosen))
            (found, *_) = layer(one) or (one,)
            assert not torch.isinf(found).any()

    names = st.lists(st.sampled_from(sorted(ARGUMENTS)), max_size=2, unique=True)
    chosen = names.flatmap(lambda ns: st.fixed_dictionaries({n: st.sampled_from(ARGUMENTS[n]) for n in ns}))
    hold(check, 100, examples, chosen=chosen)


def test_of_a_wrong_signature_a_type_error_comes_out() -> None:
    layer = LAYERS["box"]
    wrong: list[Callable[[], Any]] = [
        lambda: solve_qp(eye), lambda: solve_qp(eye, one, tolerance=1), lambda: QPLayer(eps=1), lambda: QPLayer()(eye),
        lambda: ConvexLayer(problem), lambda: ConvexLayer(problem, [p], [x], eps=1), lambda: layer(one, one[0], tol=1),
    ]  # fmt: skip
    for call in wrong:
        with pytest.raises(TypeError, match="argument"):
            call()


def test_right_calls_are_what_they_were_after_wrong_ones() -> None:
    for name, layer in LAYERS.items():
        values = PROGRAMS[name][2].values()
        for found, expected in zip(layer(*values), layer_of(name)(*values), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("bound", [1e50, 1e100, 1e200, 1e300])
def test_of_a_bound_beside_a_ball_that_overflows_when_squared(bound: float) -> None:
    """The nearest point of the unit ball to (1, 1) above −bound, which does not bind: (1, 1)/√2."""
    h = cp.Parameter(2)
    layer = ConvexLayer(
        cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [cp.norm(x) <= 1, x >= -h]), [p, h], [x]
    )
    try:
        torch.testing.assert_close(layer(one, bound * one)[0], one / 2**0.5, rtol=1e-7, atol=1e-7)
    except SolverError as error:
        said = str(error)
    else:
        said = "leave out the rows"
    assert "leave out the rows" in said


@pytest.mark.parametrize("solver", ["clarabel", "auto"])
def test_of_a_program_without_rows(solver: str) -> None:
    layer = ConvexLayer(
        cp.Problem(cp.Minimize(cp.quad_form(x, np.eye(2)) - 2 * p @ x)), [p], [x], solver=solver
    )
    values = torch.tensor([[1.0, 2.0], [3.0, -4.0]], dtype=torch.float64)
    torch.testing.assert_close(layer(values)[0], values)
