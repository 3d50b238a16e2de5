"""Running: every configuration composes and runs, repeats exactly, survives an interruption."""

import itertools
import json
from dataclasses import fields
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments.common import cells
from experiments.common.errors import ConfigError
from experiments.common.overrides import compose_checked
from experiments.common.results import COLUMNS, UNREPEATABLE, read_table
from experiments.common.sheets import SHEETS, section
from experiments.common.sources import SECTIONS
from experiments.job import CONFIGS, EXPERIMENTS, LAYERS, place, run
from layers import Smoothed, adjoints, engines

SIZES = sorted(path.stem for path in (CONFIGS / "size").glob("*.yaml"))
# The experiment that stands for all where `make test` tries every layer, or repeats a run: its cells train a layer and
# take a tenth of a second.
SAMPLE = "denoising"
# The smallest data on which every line still runs, for the combinations with slow peers; others take the size smoke.
TINY: dict[str, tuple[str, ...]] = {
    "denoising": (
        "seeds=[0]",
        "data.length=6",
        "data.train=4",
        "data.validation=3",
        "data.test=3",
        "train.epochs=1",
    ),
    "adp": ("seeds=[0]", "data.horizon=2", "train.steps=1"),
    "cocp_lqr": ("seeds=[0]", "unconstrained.train.steps=1", "box.train.steps=1"),
    "cocp_supply_chain": ("seeds=[0]", "data.horizon=2", "train.steps=1"),
    "cocp_vehicle": ("seeds=[0]", "data.horizon=2", "train.steps=1"),
    "markowitz": ("seeds=[0]", "data.count=2", "market.horizon=2", "market.test=1", "train.steps=1"),
    "mpc_cartpole": ("seeds=[0]", "data.train=[2]", "train.epochs=1"),
    "mpc_imitation": ("seeds=[0]", "train.steps=2"),
    "mpc_pendulum": ("seeds=[0]", "data.train=[2]", "train.epochs=1"),
    "mpc_timing": ("iterations=[1,2]", "repetitions=1"),
    "portfolio": ("data.last_test=2022", "train.steps=1", "train.windows=1", "grid.gamma=[30.0]"),
    "denoising_ecg": ("data.window=4", "data.stride=4", "train.batch=300"),
    "data_poisoning": ("attack.radii=[0.1]", "attack.steps=1"),
    "differentiation": ("parts=[accuracy,losses]", "losses.steps=1"),
    "gallery": ("relu_network.form=product",),
    "hard_constraints": ("seeds=[0]", "problems=[convex,piecewise]"),
    "sudoku": (
        "seeds=[0]",
        "data.train=4",
        "data.test=4",
        "train.epochs=1",
        "train.batch=4",
        "train.epoch=4",
    ),
    "covariance": ("train.steps=1",),
    "task_learning": ("seeds=[0]", "newsvendor.models=[linear]", "load.rounds=1"),
    "sudoku_9x9": ("data.test=2", "data.counts=[40]", "refine.steps=1"),
    "sudoku_rules": ("data.test=2", "data.hidden=[100]", "data.solved=[30]"),
    "representation": ("seeds=[0]", "train.epochs=1"),
}
# The methods that ask the layer; others run all of theirs.
LAYERED = {
    "denoising": "methods=[optnet_tuned_tv,optnet_pure]",
    "denoising_ecg": "methods=[optnet_tuned_tv]",
    "data_poisoning": "methods=[blobs]",
    "differentiation": "methods=[spo_plus]",
    "gallery": "methods=[relu_network]",
    "hard_constraints": "methods=[projection_layer]",
    "layer_timing": "parts=[linear,canonical,scaling]",
    "adp": "methods=[tuned]",
    "cocp_lqr": "methods=[unconstrained,box]",
    "cocp_supply_chain": "methods=[tuned]",
    "cocp_vehicle": "methods=[tuned]",
    "markowitz": "methods=[tuned]",
    "mpc_cartpole": "methods=[mpc_dynamics]",
    "mpc_imitation": "methods=[unbounded,bounded]",
    "mpc_pendulum": "methods=[mpc_dynamics]",
    "mpc_timing": "methods=[implicit]",
    "portfolio": "methods=[end_to_end]",
    "sudoku": "methods=[optnet,identified]",
    "covariance": "methods=[covariance_layer]",
    "task_learning": "methods=[task]",
    "sudoku_9x9": "methods=[identified_refined]",
    "sudoku_rules": "methods=[pairs_trained,exclusions,hidden_trained]",
    "representation": "methods=[exact_layer,max_layer]",
}


def thinned(cases, fast):
    """All cases as parameters; those outside `fast` are of one kind with one inside, and wait for `make test-all`."""
    return [pytest.param(*case, marks=() if fast(*case) else pytest.mark.slow) for case in cases]


# Programs with other than linear constraints, which engines of quadratic programs refuse before anything runs.
CONIC = {"adp", "data_poisoning"}
CONIC |= {name for name, module in EXPERIMENTS.items() if hasattr(module, "QUADRATIC")}
QUADRATIC = {"admm", "interior_point", "native", "qpth"}


def composed(*overrides):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("config", list(overrides))


def checked(*words):
    """The settings that the words of a command line ask for."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return OmegaConf.to_object(compose_checked(list(words)))


@pytest.mark.parametrize(
    ("experiment", "layer", "size"),
    thinned(
        itertools.product(EXPERIMENTS, LAYERS, SIZES),
        lambda experiment, layer, size: layer == "auto" or (experiment, size) == (SAMPLE, "smoke"),
    ),
)
def test_every_combination_composes_into_a_typed_and_checked_config(experiment, layer, size):
    config = OmegaConf.to_object(composed(f"experiment={experiment}", f"layer={layer}", f"size={size}"))
    assert type(config) is EXPERIMENTS[experiment].Config
    assert (config.experiment, config.layer.solver, config.size) == (experiment, layer, size)
    if engines().get(layer) is None and not (experiment in CONIC and layer in QUADRATIC):
        config.check()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_says_its_sizes(experiment):
    assert sorted(section(SHEETS / f"{experiment}.yaml", "sizes")) == SIZES


def test_no_sheet_is_left_without_a_program():
    assert set(EXPERIMENTS) == {path.stem for path in SHEETS.glob("*.yaml")}


def test_no_setting_has_the_name_of_a_section_of_a_sheet():
    names = {each.name for module in EXPERIMENTS.values() for each in fields(module.Config)}
    assert names & set(SECTIONS) == set()


#: and says so: degenerate programs of 729 variables, to which first-order steps do not come near enough for their
#: polish; a singular Q; schedules that settle only as far as the layer solves
OUT_OF_REACH = {
    ("sudoku_9x9", "admm"): "ITERATION_LIMIT",
    ("large_denoising", "qpth"): "Q must be positive definite for qpth",
    ("task_learning", "cvxpylayers"): "still move after 50 quadratic programs",
}


@pytest.mark.parametrize(
    ("experiment", "layer"),
    thinned(itertools.product(EXPERIMENTS, LAYERS), lambda experiment, layer: experiment == SAMPLE),
)
def test_smoke_run_with_every_layer(experiment, layer, tmp_path):
    reason = engines().get(layer)
    if reason is not None:
        pytest.skip(f"{layer}: {reason}")
    methods = LAYERED.get(experiment) or f"methods=[{','.join(EXPERIMENTS[experiment].METHODS)}]"
    overrides = (f"experiment={experiment}", "size=smoke", f"layer={layer}", methods)
    if experiment in CONIC and layer in QUADRATIC:
        with pytest.raises(ConfigError, match="solves quadratic programs only"):
            run(composed(*overrides), tmp_path)
        return
    if (experiment, layer) in OUT_OF_REACH:
        with pytest.raises(ConfigError, match=OUT_OF_REACH[experiment, layer]):
            run(composed(*overrides, *TINY.get(experiment, ())), tmp_path)
        return
    run(composed(*overrides, *TINY.get(experiment, ())), tmp_path)
    summary = read_table(tmp_path / "summary.csv")
    assert summary["mean"].notna().all()
    setting, _, asked = methods.rstrip("]").partition("=[")
    assert setting == "parts" or set(asked.split(",")) <= set(summary["method"])


@pytest.mark.parametrize("name", thinned(((name,) for name in adjoints()), lambda name: name == "smoothed"))
def test_smoke_run_with_every_adjoint(name, tmp_path):
    layer = (f"layer.adjoint.name={name}", "methods=[optnet_tuned_tv,optnet_pure]", "seeds=[0]")
    run(composed("experiment=denoising", "size=smoke", *layer), tmp_path)
    assert read_table(tmp_path / "summary.csv")["mean"].notna().all()


@pytest.mark.parametrize(
    "words",
    [
        ["layer.adjoint.name=smoothed", "layer.adjoint.kappa=1e-3"],
        ["layer.adjoint=smoothed", "layer.adjoint.kappa=1e-3"],
        ["layer.adjoint.kappa=0.001", "layer.adjoint=smoothed"],
        ["layer.adjoint={name: smoothed, kappa: 1e-3}"],
    ],
)
def test_every_way_to_write_an_adjoint_is_one_run(words):
    config = checked(*words)
    assert config.layer.build().adjoint == Smoothed(kappa=1e-3)
    assert config.layer.adjoint["name"] == "smoothed"
    assert place(config).changes == "layer.adjoint.kappa=0.001,layer.adjoint.name=smoothed"


def test_an_adjoint_without_settings_is_its_name_and_none_is_the_default():
    assert checked("layer.adjoint=smoothed").layer.build().adjoint == "smoothed"
    assert checked("layer.adjoint=smoothed") == checked("layer.adjoint.name=smoothed")
    assert place(checked("layer.adjoint=auto")) == place(checked())


@pytest.fixture(scope="module", params=EXPERIMENTS)
def smoke(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp(request.param)
    run(composed(f"experiment={request.param}", "size=smoke"), directory)
    return request.param, directory


def test_run_leaves_its_tables_and_nothing_else(smoke):
    _, directory = smoke
    tables = {path.stem for path in directory.glob("*.csv")}
    assert {"metrics", "timings", "summary"} <= tables <= set(COLUMNS) - {"comparison"}
    others = {"provenance.json", "run.log"}
    # Where something was learned whose weights are kept, they lie beside the tables.
    found = {path.name for path in directory.iterdir()} - {"weights.npz"}
    assert found == {f"{name}.csv" for name in tables} | others


@pytest.mark.parametrize(
    "smoke", thinned(((name,) for name in EXPERIMENTS), lambda name: name == SAMPLE), indirect=True
)
def test_same_seed_gives_the_same_tables_bit_for_bit_whatever_the_number_of_processes(smoke, tmp_path):
    experiment, first = smoke
    run(composed(f"experiment={experiment}", "size=smoke", "workers=2"), tmp_path)
    for path in first.glob("*.csv"):
        if path.stem not in UNREPEATABLE:
            assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_provenance_tells_settings_versions_and_processor_but_not_the_machine(smoke):
    experiment, directory = smoke
    text = (directory / "provenance.json").read_text()
    record = json.loads(text)
    assert record["config"]["experiment"] == experiment
    assert record["config"]["layer"]["solver"] == "auto"
    assert record["packages"]["torch"]
    assert record["cpu"]
    assert record["seconds"] > 0
    assert set(record["git"]) == {"revision", "dirty"}
    assert str(Path.home()) not in text
    assert str(CONFIGS.parent) not in text


def test_interrupted_run_keeps_finished_cells_and_the_old_tables_and_goes_on(tmp_path, monkeypatch):
    config = composed("size=smoke", "methods=[total_variation]", "seeds=[0,1,2]")
    run(config, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    computed, real = [], cells._single_threaded

    def counted(run_cell, settings, cell):
        computed.append(cell)
        if len(computed) == 3:
            raise KeyboardInterrupt
        return real(run_cell, settings, cell)

    monkeypatch.setattr(cells, "_single_threaded", counted)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert after.pop("run.log") != before.pop("run.log")
    assert after == before
    run(config, tmp_path)
    assert [seed for _, seed in computed] == [0, 1, 2, 2]
    for name in ("metrics.csv", "summary.csv", "signals.csv"):
        assert (tmp_path / name).read_bytes() == before[name]
    assert not (tmp_path / ".cells").exists()


def test_cells_of_other_settings_are_not_reused(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.job.forget_cells", lambda config, directory: None)
    weights = []
    for count in (21, 2):
        run(composed("size=smoke", "methods=[total_variation]", f"weights.count={count}"), tmp_path)
        table = read_table(tmp_path / "metrics.csv")
        weights.append(set(table[table["metric"] == "weight"]["value"]))
    assert weights[1] <= {0.0, 100.0}
    assert weights[0] != weights[1]
