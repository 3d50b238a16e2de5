"""The example programs: the notebooks' data to the last digit printed, closed forms, and bad settings."""

import math

import cvxpy as cp
import numpy as np
import pytest
import torch

from experiments import gallery, programs
from experiments.common.config import LayerConfig
from experiments.common.errors import ConfigError
from experiments.common.recorder import Recorder
from experiments.common.training import History
from experiments.gallery import PROGRAMS, Config
from experiments.programs import notebook
from experiments.programs.engines import builder
from layers import LayerError

OURS = builder(LayerConfig(tol=1e-9))


def recorded(program, settings, build=OURS, seed=0):
    """The metrics of one program: (method, split, metric, step) -> value."""
    record = Recorder("gallery", program, seed, ("1", "1"), examples=True)
    PROGRAMS[program].run(settings, build, seed, record)
    return {(r["method"], r["split"], r["metric"], r["step"]): r["value"] for r in record.tables["metrics"]}


# ---- random numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 6])
def test_streams_are_those_of_the_global_seeds_and_leave_them_alone(seed):
    torch.manual_seed(seed)
    wanted = [torch.randn(3, dtype=torch.float64), torch.randn(4, 5), torch.rand(7, dtype=torch.float64)]
    layer = torch.nn.Linear(6, 2)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    stream = notebook.torch_stream(seed)
    found = [notebook.normal(stream, 3), notebook.normal(stream, 4, 5, dtype=torch.float32)]
    found.append(notebook.uniform(stream, 7))
    weight, bias = notebook.linear(6, 2, stream, torch.float32)
    for mine, other in zip((*found, weight, bias), (*wanted, layer.weight, layer.bias), strict=True):
        assert torch.equal(mine, other.double())
    assert torch.equal(torch.get_rng_state(), before)


def test_every_sample_is_in_one_mini_batch_and_epochs_differ():
    stream = notebook.torch_stream(0)
    first, second = (list(notebook.shuffled(10, 4, stream)) for _ in range(2))
    for epoch in (first, second):
        assert [len(part) for part in epoch] == [4, 4, 2]
        assert sorted(torch.cat(epoch).tolist()) == list(range(10))
    assert not torch.equal(torch.cat(first), torch.cat(second))


def test_order_of_the_mini_batches_is_the_notebook_s():
    """At theta = 0 the loss of a mini-batch is the mean square of its outputs: the first one is printed."""
    settings = programs.monotone_regression.Settings(test=1)
    layer, stream = programs.monotone_regression.make_layer(settings.outputs, OURS), notebook.torch_stream(0)
    splits, _ = programs.monotone_regression.make_data(settings, layer, 0, stream)
    state, first = stream.get_state(), next(notebook.shuffled(settings.train, settings.batch, stream))
    np.testing.assert_allclose(splits["train"].outputs[first].square().mean(), 6.54562, rtol=1e-5)
    # Not so without the number that the loader drew for its workers.
    stream.set_state(state)
    other = torch.randperm(settings.train, generator=stream)[: settings.batch]
    assert abs(splits["train"].outputs[other].square().mean() - 6.54562) > 0.1


# ---- what the notebooks print ----------------------------------------------------------------------------------------


def test_monotone_regression_has_the_notebook_s_data():
    found = recorded("monotone_regression", programs.monotone_regression.Settings(epochs=1))
    name = "monotone_regression"
    np.testing.assert_allclose(
        found[f"{name}/least_squares", "validation", "final_mse", 0], 3.37537, rtol=1e-4
    )
    np.testing.assert_allclose(
        found[f"{name}/true_parameters", "validation", "final_mse", 0], 0.26380, rtol=3e-4
    )
    np.testing.assert_allclose(found[name, "validation", "mse", 0], 6.37966, rtol=1e-4)


def test_resource_allocation_has_the_notebook_s_data():
    settings = programs.resource_allocation.Settings(test=1)
    layer = programs.resource_allocation.make_layer(settings.goods, OURS)
    splits, truth = programs.resource_allocation.make_data(settings, layer, 0)
    printed = [0.29211, 0.45316, 0.94326, 0.19860, 0.73760, 0.31330, 1.3644, 0.48556, 0.55352, 0.56666]
    np.testing.assert_allclose(splits["train"].outputs[0], printed, rtol=2e-4)
    errors = notebook.evaluate(
        lambda x: programs.resource_allocation.allocate(layer, x, truth),
        {"all training": splits["train"], "validation": splits["validation"]},
    )
    np.testing.assert_allclose([errors["all training"], errors["validation"]], [0.0321, 0.0282], atol=1e-4)


def test_optimal_transport_prints_what_the_notebook_prints():
    found = recorded("optimal_transport", programs.optimal_transport.Settings())
    plan = [found["optimal_transport", f"{i} to {j}", "transported", 0] for i in range(3) for j in range(3)]
    printed = [0.1007, 0.2269, 0.0058, 0.1807, 0.1043, 0.0483, 0.0520, 0.0021, 0.2792]
    np.testing.assert_allclose(plan, printed, atol=5.01e-5)
    for name, gradient in (("x", [-0.0010, -0.0401, 0.0411]), ("y", [-0.0826, 0.0007, 0.0819])):
        mine = [found["optimal_transport", f"{name}[{i}]", "gradient", 0] for i in range(3)]
        np.testing.assert_allclose(mine, gradient, atol=5.01e-5)


def test_constrained_mpc_has_the_notebook_s_system_and_first_epoch():
    settings = programs.constrained_mpc.Settings(length=3)
    system = programs.constrained_mpc.make_system(settings, 0)
    printed = [1.54099611, 0.29342891, 2.17878938, 0.56843128, 1.08452234]
    printed += [1.3985954, 0.40334685, 0.83802633, 0.71925758, 0.40334352]
    np.testing.assert_allclose(system.weights, printed, rtol=1e-7)
    np.testing.assert_allclose(torch.linalg.eigvals(system.A).abs().max(), 1.0, rtol=1e-12)


@pytest.mark.slow
def test_constrained_mpc_follows_the_notebook_along_a_thousand_states():
    found = recorded("constrained_mpc", programs.constrained_mpc.Settings(epochs=1, network_epochs=2))
    name, validation = "constrained_mpc", ("validation", "mse")
    np.testing.assert_allclose(
        found[f"{name}/true_parameters", "validation", "final_mse", 0], 0.0655656, rtol=2e-5
    )
    np.testing.assert_allclose([found[name, *validation, k] for k in (0, 1)], [0.072794, 0.071678], rtol=1e-4)
    network = [found[f"{name}/network", *validation, k] for k in (1, 2)]
    np.testing.assert_allclose(network, [0.1333901, 0.1039053], rtol=1e-5)


def test_signal_denoising_follows_the_notebook_s_first_epochs():
    found = recorded("signal_denoising", programs.signal_denoising.Settings(epochs=2, test=1))
    name = "signal_denoising"
    curve = [found[name, "validation", "mse", step] for step in (0, 1, 2)]
    np.testing.assert_allclose(curve, [0.38692, 0.18375, 0.12666], rtol=5e-5)
    np.testing.assert_allclose(found[f"{name}/identity", "train", "lambda", 0], 15.556, rtol=1e-4)
    np.testing.assert_allclose(found[f"{name}/identity", "validation", "final_mse", 0], 0.0897, atol=5e-5)


def test_elastic_net_fits_the_notebook_s_line_and_its_derivative_is_that_of_differences():
    found = recorded("elastic_net", programs.elastic_net.Settings(weights=40))
    np.testing.assert_allclose(found["elastic_net", "train", "slope", 0], -0.6603, atol=5e-5)
    np.testing.assert_allclose(found["elastic_net", "train", "intercept", 0], 0.1356, atol=5e-5)
    for name in ("alpha", "lambda"):
        assert found["elastic_net", name, "gradient_error", 0] < 1e-4


def test_relu_network_starts_where_the_notebook_starts():
    found = recorded("relu_network", programs.relu_network.Settings(form="product", steps=2))
    curve = [found["relu_network", "train", "mse", step] for step in (0, 1)]
    np.testing.assert_allclose(curve, [1.0796713829, 1.0764707327], rtol=2e-6)


# ---- closed forms ----------------------------------------------------------------------------------------------------


def test_signal_denoising_is_a_linear_system(rng):
    layer = programs.signal_denoising.make_layer(6, OURS)
    theta, signals = (
        torch.from_numpy(rng.standard_normal((6, 6))),
        torch.from_numpy(rng.standard_normal((4, 6))),
    )
    differences = torch.diff(torch.eye(6, dtype=torch.float64), dim=0)
    gram, weight = theta.mT @ theta, torch.tensor(0.7)
    wanted = torch.linalg.solve(gram + 0.7 * differences.mT @ differences, gram @ signals.mT).mT
    torch.testing.assert_close(layer(signals, theta, weight)[0], wanted, rtol=0, atol=1e-7)


def test_elastic_net_shrinks_and_thresholds(rng):
    splits = programs.elastic_net.make_data(programs.elastic_net.Settings(samples=20), 1)
    x, y = splits["train"].inputs, splits["train"].outputs
    layer = programs.elastic_net.make_layer(len(x), OURS)
    centred, rest = x[:, 0] - x.mean(), y - y.mean()
    variance, covariance = centred.square().mean(), (centred * rest).mean()
    for weight, ridge in ((0.1, 0.3), (0.0, 2.0), (10.0, 0.1)):
        slope = covariance.sign() * (covariance.abs() - weight / 2).clamp(min=0) / (variance + ridge)
        pair = (torch.tensor(weight, dtype=torch.float64), torch.tensor(ridge, dtype=torch.float64))
        a, b = layer(x, y, *pair)
        np.testing.assert_allclose(a.item(), slope, atol=1e-7)
        np.testing.assert_allclose(b.item(), y.mean() - slope * x.mean(), atol=1e-7)


def test_both_forms_of_the_relu_layer_are_the_relu_with_its_derivative(rng):
    values = [torch.from_numpy(rng.standard_normal(shape)) for shape in ((3, 3), (3,), (4, 3))]
    answers = []
    for form in programs.relu_network.FORMS:
        layer = programs.relu_network.make_layer(programs.relu_network.Settings(form=form, width=3), OURS)
        leaves = [notebook.leaf(value) for value in values]
        (out,) = layer(*leaves)
        answers.append((out, torch.autograd.grad(out.square().sum(), leaves)))
    leaves = [notebook.leaf(value) for value in values]
    direct = (leaves[2] @ leaves[0].mT + leaves[1]).relu()
    wanted = (direct, torch.autograd.grad(direct.square().sum(), leaves))
    for out, gradients in answers:
        torch.testing.assert_close(out, wanted[0], rtol=0, atol=1e-7)
        for mine, other in zip(gradients, wanted[1], strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=1e-6)


def test_increasing_answers_are_pooled_averages():
    layer = programs.monotone_regression.make_layer(4, OURS)
    (answer,) = layer(torch.tensor([[1.0, 3.0, 2.0, 7.0], [4.0, 3.0, 2.0, 1.0]], dtype=torch.float64))
    np.testing.assert_allclose(answer, [[1, 2.5, 2.5, 7], [2.5] * 4], atol=1e-5)


def test_blocks_settle_in_proportion_to_compliance():
    settings = programs.stiffness.Settings(blocks=2, width=0.01)
    (places,) = programs.stiffness.make_layer(settings, OURS)(
        torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    )
    np.testing.assert_allclose(places, np.cumsum([0, 1, 0.5, 0.25]) / 1.75, atol=1e-7)


def test_a_buyer_spends_the_budget_and_not_on_what_is_too_dear():
    layer = programs.resource_allocation.make_layer(3, OURS)
    alpha, inputs = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64), torch.tensor([[0.2, 0.5, 0.5, 1.0]])
    allocation = programs.resource_allocation.allocate(layer, inputs.double(), alpha)
    # Marginal utilities 2 exp(-2 y) of the cheap goods are equal at y = 0.1, and above 1, that of the dear one at 0.
    np.testing.assert_allclose(allocation, [[0.1, 0.1, 0.0]], atol=1e-6)


def test_training_lowers_what_it_trains_on():
    found = recorded("stiffness", programs.stiffness.Settings(steps=30))
    curve = [found["stiffness", "train", "distance", step] for step in range(31)]
    assert np.all(np.diff(curve) < 0)


# ---- protocol --------------------------------------------------------------------------------------------------------


def test_fit_ends_at_the_epoch_of_least_validation_error():
    stream = notebook.torch_stream(0)
    x = notebook.normal(stream, 40, 2)
    splits = {"train": notebook.Pairs(x, x @ torch.tensor([1.0, -2.0]).double())}
    splits["validation"] = notebook.Pairs(x, 0 * x[:, 0])
    theta = notebook.leaf(torch.zeros(2, dtype=torch.float64))
    schedule = notebook.Schedule(epochs=3, batch=8, lr=0.1)
    history = notebook.fit(lambda x: x @ theta, [theta], splits, schedule, stream)
    # The validation wants the start, the training leads away from it.
    assert isinstance(history, History)
    assert history.chosen == 0
    assert history.mse["validation"][3] > history.mse["validation"][0] == 0.0
    assert torch.equal(theta, torch.zeros(2, dtype=torch.float64))


def test_test_data_do_not_move_the_notebook_s_stream():
    small, large = (
        programs.signal_denoising.Settings(length=5, train=3, validation=2, test=t) for t in (1, 9)
    )
    for name in ("train", "validation"):
        first, second = (
            programs.signal_denoising.make_data(s, 0, notebook.torch_stream(0))[name] for s in (small, large)
        )
        assert torch.equal(first.inputs, second.inputs)


@pytest.mark.parametrize("program", ["elastic_net", "stiffness", "optimal_transport"])
def test_exchanging_the_layer_changes_no_number(program):
    settings = {
        "elastic_net": programs.elastic_net.Settings(weights=5),
        "stiffness": programs.stiffness.Settings(steps=5),
        "optimal_transport": programs.optimal_transport.Settings(),
    }[program]
    ours, theirs = (
        recorded(program, settings, build) for build in (OURS, builder(LayerConfig(solver="cvxpylayers")))
    )
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        if "error" not in key[2]:
            np.testing.assert_allclose(theirs[key], value, rtol=1e-4, atol=1e-5, err_msg=str(key))


def test_programs_with_other_cones_are_left_out_or_refused_by_quadratic_engines():
    layer = LayerConfig(solver="qpth")
    conic = {name for name, module in PROGRAMS.items() if module.CONES is not None}
    assert conic == {"monotone_regression", "optimal_transport", "resource_allocation"}
    assert set(gallery.chosen(Config(layer=LayerConfig(solver="native")))) == set(PROGRAMS) - conic
    assert gallery.chosen(Config(layer=layer)) == ["relu_network"]
    config = Config(experiment="gallery", size="smoke", layer=layer, methods=["optimal_transport"])
    with pytest.raises(ConfigError, match=r"it has exponential cones, and .*=qpth solves quadratic"):
        config.check()


def test_a_program_is_what_it_says_it_is():
    """CONES is declared by hand: CVXPY says whether it is right."""
    for name, module in PROGRAMS.items():
        seen = []

        def build(problem, parameters, variables, seen=seen):
            data = problem.get_problem_data("CLARABEL")[0]["dims"]
            seen.append(bool(data.soc or data.exp or data.psd))
            raise StopIteration

        config = Config()
        with pytest.raises((StopIteration, RuntimeError)):
            module.run(getattr(config, name), build, 0, Recorder("gallery", name, 0, ("1", "1"), False))
        assert seen == [module.CONES is not None], name


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("monotone_regression.train", 0, "monotone_regression.train: got 0, expected a positive integer"),
        ("resource_allocation.lr", math.nan, "positive, finite learning rate"),
        ("signal_denoising.length", 2, "at least 3 samples"),
        ("signal_denoising.batch", -1, "signal_denoising.batch"),
        ("constrained_mpc.horizon", 0, "constrained_mpc.horizon"),
        ("constrained_mpc.bound", -0.5, "positive, finite bound"),
        ("elastic_net.samples", 4, "at least 6 samples"),
        ("relu_network.form", "tree", "one of: product, notebook"),
        ("relu_network.steps", 0, "relu_network.steps"),
        ("optimal_transport.eps", 0.0, "positive, finite weight"),
        ("stiffness.width", 0.2, "fit into 1"),
        ("methods", ["sudoku"], "one of: constrained_mpc"),
        ("methods", [], "some of"),
    ],
)
def test_settings_that_cannot_be_used_are_told_before_anything_runs(field, value, message):
    config = Config(experiment="gallery", size="smoke")
    owner, _, name = field.rpartition(".")
    setattr(getattr(config, owner) if owner else config, name, value)
    with pytest.raises(ConfigError, match=message):
        config.check()


def test_an_engine_that_cannot_is_not_silently_replaced():
    problem = cp.Problem(cp.Minimize(cp.norm(cp.Variable(2) - cp.Parameter(2))))
    with pytest.raises(LayerError, match="quadratic programs"):
        builder(LayerConfig(solver="qpth"))(problem, problem.parameters(), problem.variables())
