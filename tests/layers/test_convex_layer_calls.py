"""What a call of ConvexLayer takes and gives: batches, dtypes, copies, transforms, warm starts, solver arguments."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings

import cvxpy as cp
import pytest
import torch
from cvxpylayers.torch import CvxpyLayer

from layers import ConvexLayer, LayerError, SolverError, Status
from tests.layers.programs import PROGRAMS, Program

pytestmark = pytest.mark.filterwarnings("ignore:Reading from a sparse CVXPY expression:RuntimeWarning")

SOME = ("least_squares", "shapes", "second_order", "geometric")


def layer_of(program: Program, **options) -> ConvexLayer:
    return ConvexLayer(program.problem, program.parameters, program.variables, gp=program.gp, **options)


def simplex_projection(**options) -> ConvexLayer:
    x, y = cp.Variable(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - y)), [x >= 0, cp.sum(x) == 1])
    return ConvexLayer(problem, [y], [x], **options)


def test_it_takes_every_argument_of_cvxpylayers_in_the_same_order():
    theirs = list(inspect.signature(CvxpyLayer.__init__).parameters.values())
    ours = list(inspect.signature(ConvexLayer.__init__).parameters.values())
    assert [(o.name, o.kind) for o in ours[: len(theirs)]] == [(t.name, t.kind) for t in theirs]
    theirs, ours = (list(inspect.signature(c.forward).parameters.values()) for c in (CvxpyLayer, ConvexLayer))
    assert [o.kind for o in ours] == [t.kind for t in theirs]
    assert [o.name for o in ours[2:]] == [t.name for t in theirs[2:]]


@pytest.mark.parametrize("name", SOME)
def test_a_batch_is_its_elements(name: str):
    program = PROGRAMS[name]()
    layer, tensors = layer_of(program, tol=1e-10), program.tensors(seed=0, batch=(2, 3))
    whole = layer.solve(*tensors)
    assert whole.status.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            for found, alone in zip(whole.variables, layer(*(t[i, j] for t in tensors)), strict=True):
                torch.testing.assert_close(found[i, j], alone, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", SOME)
def test_batched_and_shared_parameters_mix(name: str):
    program = PROGRAMS[name]()
    layer = layer_of(program, tol=1e-10)
    first, *others = program.tensors(seed=0, batch=(3,))
    mixed = layer(first[0], *others)
    expanded = layer(first[:1].expand_as(first), *others)
    for found, expected in zip(mixed, expanded, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_a_parameter_that_touches_no_matrix_leaves_the_matrices_shared():
    program = PROGRAMS["least_squares"]()
    layer = layer_of(program)
    F, g = program.tensors(seed=0, batch=(5,))
    blocks = layer._assembly([F[0].reshape(-1), g], (5,))
    assert {name for name, block in blocks.items() if block.shape[:1] == (5,)} == {"f"}


def test_an_empty_batch_has_an_empty_answer():
    assert simplex_projection()(torch.zeros(0, 3))[0].shape == (0, 3)


@pytest.mark.parametrize("name", SOME)
def test_float32_comes_back_as_float32_computed_in_float64(name: str):
    program = PROGRAMS[name]()
    layer = layer_of(program, tol=1e-10)
    single = [t.float() for t in program.tensors(seed=0, batch=(2,))]
    for found, exact in zip(layer(*single), layer(*(t.double() for t in single)), strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, exact.float(), rtol=1e-6, atol=1e-6)


def test_the_largest_dtype_of_a_call_is_that_of_the_answer():
    program = PROGRAMS["least_squares"]()
    F, g = program.tensors(seed=0)
    assert layer_of(program)(F.float(), g)[0].dtype == torch.float64


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize("name", SOME)
def test_copies_give_the_same_answer(name: str, copied):
    program = PROGRAMS[name]()
    layer, tensors = layer_of(program), program.tensors(seed=0, batch=(2,))
    expected = layer.solve(*tensors, warm_start=True).variables
    for found, value in zip(copied(layer)(*tensors), expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-7, atol=1e-7)


def test_the_layer_has_no_state_to_train_or_to_load():
    layer = simplex_projection()
    assert list(layer.parameters()) == []
    assert layer.state_dict() == {}


@pytest.mark.parametrize("name", SOME)
def test_vmap_is_the_batch(name: str):
    program = PROGRAMS[name]()
    layer, tensors = layer_of(program, tol=1e-10), program.tensors(seed=0, batch=(3,))
    for found, expected in zip(torch.func.vmap(layer)(*tensors), layer(*tensors), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", SOME)
def test_jacobians_in_both_modes_agree(name: str):
    program = PROGRAMS[name]()
    layer, tensors = layer_of(program, tol=1e-10), program.tensors(seed=0, batch=(2,))

    def primal(*values: torch.Tensor) -> torch.Tensor:
        return layer(*values)[0]

    reverse = torch.func.vmap(torch.func.jacrev(primal, argnums=1))(*tensors)
    forward = torch.func.vmap(torch.func.jacfwd(primal, argnums=1))(*tensors)
    torch.testing.assert_close(reverse, forward, rtol=1e-7, atol=1e-8)


def test_an_enclosing_module_compiles():
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.layer = torch.nn.Linear(2, 3), simplex_projection()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(self.linear(x))[0] * 2

    model, x = Model(), torch.randn(4, 2)
    expected = model(x)
    torch.testing.assert_close(torch.compile(model, backend="eager")(x), expected)


@pytest.mark.parametrize("name", ["least_squares", "second_order"])
def test_a_warm_start_gives_the_same_answer(name: str):
    program = PROGRAMS[name]()
    layer, tensors = layer_of(program, tol=1e-10), program.tensors(seed=0, batch=(2,))
    cold = layer.solve(*tensors)
    near = [t + 1e-6 for t in tensors]
    for warm in (layer.solve(*near, warm_start=cold), layer.solve(*near, warm_start=True)):
        assert (warm.status == Status.OPTIMAL).all()
        for found, expected in zip(warm.variables, layer(*near), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


def test_warm_start_true_starts_from_the_last_call_with_it():
    program = PROGRAMS["least_squares"]()
    layer, tensors = layer_of(program), program.tensors(seed=0, batch=(2,))
    assert (layer.solve(*tensors, warm_start=True).iterations > 0).all()
    assert (layer.solve(*tensors, warm_start=True).iterations == 0).all()


@pytest.mark.parametrize(
    ("given", "tol", "limit"),
    [
        ({"eps": 1e-6}, 1e-6, 100),
        ({"eps_abs": 1e-7, "eps_rel": 1e-5, "max_iters": 5000}, 1e-7, 5000),
        ({"tol_gap_abs": 1e-9, "max_iter": 30}, 1e-9, 30),
        ({"verbose": False, "n_jobs_forward": 1}, 1e-8, 100),
    ],
)
@pytest.mark.filterwarnings("error")
def test_solver_args_of_other_solvers_are_understood(given: dict[str, object], tol: float, limit: int):
    options = simplex_projection(solver_args=given).options
    assert (options.tol, options.max_iterations) == (tol, limit)


def test_solver_args_that_mean_nothing_are_named():
    layer = simplex_projection()
    with pytest.warns(UserWarning, match="acceleration_lookback, scale"):
        layer(torch.zeros(3), solver_args={"eps": 1e-6, "acceleration_lookback": 0, "scale": 1.0})


def test_the_solver_inside_diffcp_means_nothing_here():
    layer = simplex_projection()
    for solver in ("SCS", "ECOS", "Clarabel"):
        with pytest.warns(UserWarning, match="left out: solve_method"):
            (found,) = layer(torch.tensor([2.0, 1.0, -1.0]), solver_args={"solve_method": solver})
        torch.testing.assert_close(found, torch.tensor([1.0, 0.0, 0.0]), rtol=1e-6, atol=1e-6)


def test_an_engine_asked_for_by_name_gets_its_own_settings():
    layer = simplex_projection(solver="clarabel", solver_args={"equilibrate_enable": False})
    assert layer.options.settings == {"equilibrate_enable": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = layer(torch.tensor([2.0, 1.0, -1.0]), solver_args={"max_step_fraction": 0.9, "eps": 1e-9})
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0, 0.0]), rtol=1e-6, atol=1e-6)
    with pytest.warns(UserWarning, match="left out: alpha"):
        layer(torch.zeros(3), solver_args={"alpha": 1.5})


@pytest.mark.parametrize("name", [None, "auto", "DIFFCP", "CLARABEL", "clarabel", "interior_point", "qpth"])
def test_every_solver_gives_the_projection(name: str | None):
    (found,) = simplex_projection(solver=name)(torch.tensor([2.0, 1.0, -1.0]))
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0, 0.0]), rtol=1e-6, atol=1e-6)


def test_a_solver_without_counterpart_is_replaced_and_named():
    with pytest.warns(UserWarning, match="'SCS' has no counterpart"):
        assert simplex_projection(solver="SCS").options.solver == "auto"


def test_a_solver_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(LayerError, match=r"'clarabel'.*'gurobi'"):
        simplex_projection(solver="gurobi")


def test_a_solver_of_quadratic_programs_refuses_other_cones():
    program = PROGRAMS["second_order"]()
    with pytest.raises(LayerError, match="solver='qpth' solves quadratic programs"):
        layer_of(program, solver="qpth")


def test_the_caller_keeps_its_values_and_its_problem():
    x, y = cp.Variable(3), cp.Parameter(3, value=[1.0, 2.0, 3.0])
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - y)), [x >= 2])
    tensor = torch.zeros(3)
    ConvexLayer(problem, [y], [x])(tensor)
    assert y.value.tolist() == [1.0, 2.0, 3.0]
    assert tensor.tolist() == [0.0, 0.0, 0.0]
    assert problem.solve(solver=cp.CLARABEL) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("fails", [False, True])
def test_the_number_of_threads_is_left_as_it_was(fails: bool):
    program = PROGRAMS["second_order"]()
    layer, tensors = layer_of(program, on_failure="raise"), program.tensors(seed=0, batch=(2,))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        if fails:
            with pytest.raises(SolverError):
                layer(*tensors, solver_args={"max_iters": 1, "eps": 1e-30})
        else:
            layer(*tensors)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
