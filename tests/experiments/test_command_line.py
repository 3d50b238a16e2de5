"""The command line: what is right passes, mistakes are told with the valid choices."""

import subprocess
import sys

import pytest

from experiments.common.errors import ConfigError
from experiments.common.overrides import check_command_line
from experiments.job import CONFIGS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["layer=foo"],
            "layer: got 'foo', expected one of: admm, auto, cvxpylayers, interior_point, moreau, native, qpth",
        ),
        (["size=huge"], "expected one of: companion, paper, smoke"),
        (["experiment=tennis"], "expected one of: adp, cocp_lqr, cocp_supply_chain"),
        (["train.foo=1"], "expected one of: epochs, batch, lr, anneal"),
        (["trian.lr=1"], "expected one of: experiment, size, seeds"),
        (["train.lr.x=2"], "train.lr is a single value"),
        (["train.lr=abc"], "could not be converted to Float"),
        (["train.lr=-1"], "train.lr: got -1.0, expected a positive"),
        (["data.length=12.5"], "could not be converted to Integer"),
        (["garbage"], "expected name=value"),
        (["layer.adjoint=magic"], "layer.adjoint: got 'magic', expected one of: auto, implicit"),
        (
            ["layer.adjoint=penalty", "layer.adjoint.kapa=1"],
            "no setting kapa; its settings and defaults: beta=0.0001",
        ),
        (["layer.adjoint.kapa=1", "layer.adjoint.name=smoothed"], "its settings and defaults: kappa=0.0001"),
        (["layer.adjoint={name: smoothed, kapa: 1}"], "its settings and defaults: kappa=0.0001"),
        (["layer.adjoint=optnet", "layer.adjoint.k=3"], "has no setting k; its settings and defaults: none"),
        (["layer.adjoint.k=3"], "adjoint='auto' has no setting k"),
        (["layer.adjoint=truncated", "layer.adjoint.k=0"], "whole number, at least 1"),
        (
            ["layer.adjoint=smoothed", "layer.adjoint.kappa=[1]"],
            "kappa of adjoint='smoothed' must be positive",
        ),
        (["layer.adjoint.name=null"], "layer.adjoint: got None, expected one of: auto"),
        (["--multirun", "layer.adjoint=optnet,magic"], "layer.adjoint: got 'magic'"),
        (["+x=1"], "not added or removed"),
        (["layer=auto,qpth"], "need --multirun"),
        (["--multirun", "train.epochs=1,0"], "train.epochs: got 0"),
        (["--multirun", "layer=auto,foo"], "got 'foo'"),
        (["seeds=3"], "seeds: got 3, expected a list; write seeds=[3]"),
        (["--experiment", "denoising"], "a setting is written name=value, for example experiment=denoising"),
        (["--multirun", "train.lr=interval(0,1)"], "nothing here searches an interval"),
        (["train.lr=interval(0,1)"], "need --multirun"),
        (["layer.adjoint=foo"], "layer.adjoint: got 'foo', expected one of: auto"),
        (["train.lr=1e300"], "train.lr: got 1e+300, expected a positive, finite learning rate, at most 1e6"),
        (["hydra.run.dir=x"], "the folder follows from the settings"),
        (["--cfg", "job", "size=huge"], "size: got 'huge'"),
    ],
)
def test_mistakes_on_the_command_line_are_told_with_the_valid_choices(arguments, message):
    with pytest.raises(ConfigError) as caught:
        check_command_line(CONFIGS, arguments)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) < 5


def test_right_command_lines_pass():
    check_command_line(CONFIGS, ["experiment=denoising", "size=companion", "train.lr=1e-3"])
    check_command_line(CONFIGS, ["--multirun", "seeds=[0],[1]", "layer=auto,interior_point"])
    check_command_line(
        CONFIGS, ["seeds=[0]", "--multirun", "layer=auto,interior_point", "methods=[optnet_pure]"]
    )
    check_command_line(CONFIGS, ["--cfg", "job", "size=smoke"])


def test_command_line_sweeps_into_folders_without_timestamps_and_tells_mistakes_in_one_line(tmp_path):
    command = [sys.executable, "-m", "experiments.run"]
    sweep = ["--multirun", "size=smoke", "methods=[total_variation]", "seeds=[0],[1]", f"output={tmp_path}"]
    done = subprocess.run([*command, *sweep], capture_output=True, text=True, cwd=CONFIGS.parent, check=True)
    assert done.stderr == ""
    folders = {path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("summary.csv")}
    assert len(folders) == 2
    assert all(folder.startswith("denoising/smoke/auto/") for folder in folders)
    wrong = subprocess.run(
        [*command, "size=huge"], capture_output=True, text=True, cwd=CONFIGS.parent, check=False
    )
    assert wrong.returncode == 1
    assert wrong.stderr.splitlines() == ["error: size: got 'huge', expected one of: companion, paper, smoke"]
