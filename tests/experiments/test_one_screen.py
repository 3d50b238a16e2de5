"""Whatever goes wrong is told on one screen, without a traceback; help says what there is."""

import errno
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from experiments import command
from experiments.common.errors import ConfigError
from experiments.common.overrides import check_command_line
from experiments.common.provenance import settings
from experiments.common.records import flat
from experiments.job import CONFIGS, EXPERIMENTS
from experiments.manual import meaning_of, meanings, of_experiment, overview

ROOT = CONFIGS.parent
TINY = ("size=smoke", "methods=[total_variation]", "seeds=[0]")


def told(capsys, monkeypatch, *arguments):
    """Return (what a command says before it leaves, its standard output)."""
    monkeypatch.setattr(sys, "argv", ["run", *arguments])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    try:
        command.execute(list(arguments))
        message = ""
    except SystemExit as left:
        message = str(left.code)
    printed = capsys.readouterr()
    assert printed.err == ""
    assert len(message.splitlines()) < 8
    return message, printed.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("layer.max_iterations=1",), "of 20 problems not solved:"),
        (
            ("experiment=gallery", "layer=qpth"),
            "error: relu_network, seed 0: Q must be positive definite for qpth",
        ),
        (
            ("output=/proc/nowhere", "methods=[total_variation]"),
            "error: /proc/nowhere: No such file or directory",
        ),
        (("--multirun", "output=/proc/nowhere", "seeds=[0],[1]"), "error: /proc/nowhere"),
        (("hydra/launcher=nobody",), "got 'nobody', expected one of: basic"),
    ],
)
def test_a_mistake_is_told_on_one_screen(capsys, monkeypatch, tmp_path, arguments, message):
    where = [] if any("output" in argument for argument in arguments) else [f"output={tmp_path}"]
    assert message in told(capsys, monkeypatch, *arguments, "size=smoke", *where)[0]


@pytest.mark.parametrize("chosen", ["layer.adjoint", "layer.adjoint.name"])
def test_an_adjoint_and_its_settings_are_in_the_record_of_the_run(capsys, monkeypatch, tmp_path, chosen):
    words = (
        "layer.adjoint.kappa=1e-3",
        *TINY[:1],
        "methods=[optnet_pure]",
        "seeds=[0]",
        f"output={tmp_path}",
    )
    message, _ = told(capsys, monkeypatch, f"{chosen}=smoothed", *words)
    assert message == ""
    (record,) = tmp_path.rglob("provenance.json")
    kept = json.loads(record.read_text("utf-8"))["config"]["layer"]["adjoint"]
    assert {name: value for name, value in kept.items() if value is not None} == {
        "name": "smoothed",
        "kappa": 1e-3,
    }


def test_a_file_in_the_place_of_a_folder_is_told(capsys, monkeypatch, tmp_path):
    (tmp_path / "denoising").touch()
    message, _ = told(capsys, monkeypatch, *TINY, f"output={tmp_path}")
    assert message.startswith(f"error: {tmp_path}/denoising")
    assert "directory" in message


FULL = r"No space left on device; what is finished is kept, the same command goes on from there"


def test_a_full_disk_is_told_at_any_write_and_the_same_command_goes_on(capsys, monkeypatch, tmp_path):
    words = ("size=smoke", "methods=[total_variation,optnet_tuned_tv]", "seeds=[0]")
    assert told(capsys, monkeypatch, *words, f"output={tmp_path / 'whole'}")[0] == ""
    real, written, room = Path.write_bytes, [], []

    def full(path, content):
        written.append(path.name)
        if len(written) > room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    last = []
    for files in range(20):
        written.clear()
        room[:] = [files]
        message, _ = told(capsys, monkeypatch, *words, f"output={tmp_path / 'full'}")
        assert list((tmp_path / "full").rglob("*.partial")) == []
        if message == "":
            break
        assert re.fullmatch(rf"error: {tmp_path}/full/\S+: {FULL}", message)
        assert not list((tmp_path / "full").rglob("provenance.json"))
        last.append(written[-1])
    # Both cells, and each of the tables, their provenance last.
    assert "optnet_tuned_tv-0.json" in last[1]
    assert "provenance.json" in last[-1]
    (found,), (whole,) = ([*(tmp_path / name).rglob("metrics.csv")] for name in ("full", "whole"))
    assert found.read_bytes() == whole.read_bytes()


def test_a_log_on_a_full_disk_ends_the_run_in_one_line(capsys, monkeypatch, tmp_path):
    assert told(capsys, monkeypatch, *TINY, f"output={tmp_path}")[0] == ""
    (log,) = tmp_path.rglob("run.log")
    log.unlink()
    log.symlink_to("/dev/full")
    message, _ = told(capsys, monkeypatch, *TINY, f"output={tmp_path}")
    assert re.fullmatch(rf"error: writing: {FULL}", message)
    log.unlink()
    assert told(capsys, monkeypatch, *TINY, f"output={tmp_path}")[0] == ""


def test_a_result_that_is_no_number_is_named(capsys, monkeypatch, tmp_path):
    def astray(config, directory):
        labels = {"experiment": "denoising", "method": "network", "seed": 3, "split": "test", "step": 0}
        return {"metrics": [{**labels, "metric": "final_mse", "value": float("nan"), "unit": "1"}]}

    monkeypatch.setattr(EXPERIMENTS["denoising"], "run", astray)
    message, _ = told(capsys, monkeypatch, *TINY, f"output={tmp_path}")
    assert "network, seed 3: final_mse on test is nan: training went astray" in message


def test_a_finished_run_tells_its_folder_its_summary_and_the_command_of_its_figures(
    capsys, monkeypatch, tmp_path
):
    message, out = told(capsys, monkeypatch, *TINY, f"output={tmp_path}")
    assert message == ""
    folder = tmp_path / "denoising" / "smoke" / "auto" / "methods=[total_variation],seeds=[0]"
    assert f"tables: {folder}\n" in out
    assert "total_variation" in out
    assert (
        f"denoising_operator denoising_signals --results {tmp_path} --run 'smoke/auto/methods=[total_variation]"
        in out
    )
    assert (folder / "provenance.json").exists()
    assert "total_variation, seed 0: " in (folder / "run.log").read_text()


def test_a_sweep_over_seventeen_settings_has_folders_of_its_own(capsys, monkeypatch, tmp_path):
    many = [
        *(
            "weights.largest=90",
            "weights.count=4",
            "train.epochs=1",
            "train.batch=3",
            "train.lr=0.01",
            "train.anneal=true",
        ),
        *(
            "pure.epochs=1",
            "pure.batch=3",
            "pure.lr=0.01",
            "pure.anneal=true",
            "network.epochs=1",
            "network.batch=3",
        ),
        *("network.lr=0.01", "network.anneal=true", "network.width=3", "data.train=9", "data.test=9,8"),
    ]
    message, _ = told(capsys, monkeypatch, "--multirun", *TINY, *many, f"output={tmp_path}")
    assert message == ""
    folders = [path.parent for path in tmp_path.rglob("summary.csv")]
    assert len(folders) == 2
    assert len({path.parent for path in folders}) == 1
    assert all(len(path.name) < 120 for path in folders)


def test_an_experiment_file_of_ones_own_has_the_sizes_of_its_experiment(tmp_path):
    configs = tmp_path / "configs"
    shutil.copytree(CONFIGS, configs)
    (configs / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults: [denoising_schema, _self_]\nexperiment: denoising\nmethods: [total_variation]\n"
    )
    check_command_line(configs, ["experiment=mine", "size=companion"])
    (configs / "experiment" / "odd.yaml").write_text(
        "defaults: [denoising_schema, _self_]\nexperiment: nothing\n"
    )
    with pytest.raises(
        ConfigError, match=r"experiment=odd: size: .* configs/experiment/odd\.yaml tells them"
    ):
        check_command_line(configs, ["experiment=odd"])
    with pytest.raises(ConfigError, match=r"methods: got .* expected one of"):
        check_command_line(configs, ["experiment=mine", "methods=[foo]"])


LATER = [pytest.param(delay, marks=pytest.mark.slow) for delay in (0.3, 1.0, 1.5, 2.5)]


@pytest.mark.parametrize("delay", [0.15, 0.6, *LATER])
def test_an_interruption_is_told_from_the_start(delay, tmp_path):
    words = ["size=companion", "methods=[optnet_pure]", f"output={tmp_path}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.run", *words], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.read().splitlines() == [
        "interrupted: finished parts are kept, the same command goes on from there"
    ]
    assert process.wait(20) == 1


def test_help_names_every_experiment_layer_and_adjoint_and_no_schema():
    text = overview()
    for name in (*EXPERIMENTS, "qpth", "moreau", "implicit", "smoke", "--multirun"):
        assert name in text
    assert "_schema" not in text


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_help_of_an_experiment_lists_every_setting_with_its_default(experiment):
    text = of_experiment([f"experiment={experiment}", "size=smoke"])
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert {"seeds", "layer.tol", "workers"} <= set(lines)
    assert re.split(r" {2,}", lines["workers"]) == ["workers", "1", "1", "processes", "that share the work"]
    assert "of penalty: Width" in lines["layer.adjoint.beta"]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_setting_has_a_meaning_and_every_number_a_unit(experiment):
    config = EXPERIMENTS[experiment].Config
    told = meanings(config)
    assert [name for name, (meaning, _) in told.items() if not meaning] == []
    for name, value in flat(settings(config)):
        meaning, unit = meaning_of(told, name)
        number = any(type(one) in (int, float) for one in (value if isinstance(value, list) else [value]))
        assert meaning, name
        assert unit or not number, name


@dataclass
class Below:
    """A section."""

    count: int = 1  #: of things [things]
    #: a setting whose meaning
    #: takes two lines
    name: str = "a #: b"
    silent: int = 0  # this is said to programmers


@dataclass
class Above(Below):
    """Another default leaves the meaning to the class below, and another meaning takes its place."""

    count: int = 2
    silent: int = 1  #: with a default of its own [1]


@dataclass
class Around:
    """Sections, with a default and without one."""

    first: Below
    second: Below = field(default_factory=Below)


def test_what_a_setting_of_a_section_means_is_told_whether_or_not_it_has_a_default():
    told = meanings(Around)
    assert told["first.count"] == told["second.count"] == ("of things", "things")
    assert {"first", "second"}.isdisjoint(told)


def test_what_a_setting_means_stands_beside_its_field():
    below, above = meanings(Below), meanings(Above)
    assert below["count"] == above["count"] == ("of things", "things")
    assert below["name"] == ("a setting whose meaning takes two lines", "")
    assert (below["silent"], above["silent"]) == (("", ""), ("with a default of its own", "1"))
    assert meaning_of(below, "count.of") == below["count"]
    assert meaning_of(below, "counts") == ("", "")


def test_help_tells_the_value_here_and_the_default_of_a_setting_in_a_section():
    lines = {
        line.split()[0]: line for line in of_experiment(["experiment=sudoku"]).splitlines() if line.strip()
    }
    row = ["data.train", "40", "8500", "puzzles", "to learn from"]
    assert re.split(r" {2,}", lines["data.train"]) == row
