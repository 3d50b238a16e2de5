"""Cells carry their own provenance, are never lost or believed when damaged, and survive being killed at any moment."""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from experiments.common import cells, checkpoint, provenance
from experiments.common import training as common_training
from experiments.common.mpc import imitation
from experiments.common.results import UNREPEATABLE
from experiments.common.sudoku import training as sudoku_training
from experiments.job import composed, run

SMALL = {"methods": ["total_variation"], "seeds": [0, 1, 2]}


def configured(**changed):
    config = composed("denoising", "smoke", "auto")
    for name, value in (SMALL | changed).items():
        OmegaConf.update(config, name, value)
    return config


def tables(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.csv") if path.stem not in UNREPEATABLE}


@pytest.fixture
def interrupted(tmp_path, monkeypatch):
    """Return the folder of a run that was interrupted before its last cell, and the tables of one that was not."""
    run(configured(), tmp_path / "whole")
    done, real = [], cells._single_threaded

    def stopping(run_cell, config, cell):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(cell)
        return real(run_cell, config, cell)

    with monkeypatch.context() as patch:
        patch.setattr(cells, "_single_threaded", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(configured(), tmp_path / "run")
    return tmp_path / "run", tables(tmp_path / "whole")


def kept(folder):
    return sorted(folder.glob(".cells/*/*.json"))


@pytest.mark.parametrize("harm", ["cut", "emptied", "{}", "swapped"])
def test_a_damaged_cell_is_computed_again(interrupted, harm):
    folder, whole = interrupted
    path, other = kept(folder)
    text = path.read_text()
    damaged = {"cut": text[: len(text) // 2], "emptied": "", "{}": "{}"}.get(harm)
    if damaged is None:  # the tables of one cell under the head of another
        damaged = text.split("\n")[0] + "\n" + other.read_text().split("\n")[1]
    path.write_text(damaged)
    run(configured(), folder)
    assert tables(folder) == whole
    assert f"{path.name} is damaged and is computed again" in (folder / "run.log").read_text()


def test_a_run_that_finishes_removes_its_own_cells_only(interrupted):
    folder, _ = interrupted
    before = kept(folder)
    run(configured(seeds=[0]), folder)
    assert kept(folder) == before
    run(configured(), folder)
    assert kept(folder) == []


def test_the_number_of_processes_is_no_part_of_the_fingerprint_and_all_else_is(monkeypatch):
    first = cells.fingerprint(OmegaConf.to_object(configured()))
    assert cells.fingerprint(OmegaConf.to_object(configured(workers=2))) == first
    assert cells.fingerprint(OmegaConf.to_object(configured(seeds=[0]))) != first
    for other in ({"lanes": 2, "core": "1"}, {"lanes": 4, "core": "1"}, {"lanes": 4, "core": "2"}, None):
        monkeypatch.setattr(provenance, "core", lambda other=other: other)
        fingerprints = {first, cells.fingerprint(OmegaConf.to_object(configured()))}
        assert len(fingerprints) == 2
        first = fingerprints.pop()


def test_every_cell_says_where_it_comes_from(interrupted):
    folder, _ = interrupted
    for path in kept(folder):
        origin = json.loads(path.read_text().split("\n")[0])["provenance"]
        assert f"{origin['method']}-{origin['seed']}.json" == path.name
        assert origin["config"]["methods"] == SMALL["methods"]
        assert set(origin["git"]) == {"revision", "dirty"}
        assert origin["seconds"] > 0
        assert origin["device"] == "cpu"
        assert {"packages", "python", "cpu", "system", "engine"} <= set(origin)
        assert set(origin["engine"]) == {"auto", "lanes", "core"}


def test_a_table_of_cells_from_several_machines_and_revisions_says_so(interrupted, monkeypatch):
    folder, whole = interrupted
    elsewhere = provenance.origin() | {"cpu": "another", "git": {"revision": "abc", "dirty": False}}
    monkeypatch.setattr(provenance, "origin", lambda: elsewhere)
    run(configured(), folder)
    assert tables(folder) == whole
    record = json.loads((folder / "provenance.json").read_text())
    assert record["mixed"] == ["cpu", "git"]
    assert [("cpu" in cell, "git" in cell) for cell in record["cells"]] == [
        (True, True),
        (True, True),
        (False, False),
    ]


def test_a_table_of_cells_from_one_process_says_that_nothing_differs(tmp_path):
    run(configured(), tmp_path)
    record = json.loads((tmp_path / "provenance.json").read_text())
    assert record["mixed"] == []
    assert [set(cell) for cell in record["cells"]] == [{"method", "seed", "seconds", "device"}] * 3


def test_a_failure_while_tables_are_replaced_leaves_no_provenance(tmp_path, monkeypatch):
    run(configured(), tmp_path)
    real = cells.write_text

    def failing(path, text):
        if path.name == "timings.csv":
            raise OSError(28, "No space left on device", str(path))
        real(path, text)

    monkeypatch.setattr("experiments.common.results.write_text", failing)
    with pytest.raises(OSError, match="No space left"):
        run(configured(), tmp_path)
    assert not (tmp_path / "provenance.json").exists()


@pytest.mark.parametrize(
    ("experiment", "changed", "training"),
    [
        (
            "denoising",
            {"methods": ["optnet_tuned_tv"], "train.epochs": 6, "train.anneal": True},
            common_training,
        ),
        ("sudoku", {"methods": ["optnet"], "train.epochs": 6}, sudoku_training),
        ("mpc_pendulum", {"methods": ["mpc_dynamics"], "train.epochs": 6, "data.train": [4]}, imitation),
    ],
)
@pytest.mark.parametrize("harm", [False, True])
def test_a_training_that_was_interrupted_goes_on_bit_for_bit(
    tmp_path, monkeypatch, experiment, changed, training, harm
):
    config = composed(experiment, "smoke", "auto")
    for name, value in {"seeds": [0], **changed}.items():
        OmegaConf.update(config, name, value)
    steps, real = [], training._step

    def counted(*arguments):
        steps.append(1)
        if len(steps) == stop:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(training, "_step", counted)
    stop = 0
    run(config, tmp_path / "whole")
    whole, steps[:] = len(steps), []
    stop = whole - whole // 6  # in the fifth of six epochs, or at its end
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "run")
    (kept,) = (tmp_path / "run").glob(".cells/*/*.pt")
    if harm:
        kept.write_bytes(kept.read_bytes()[:100])
    steps[:], stop = [], 0
    run(config, tmp_path / "run")
    assert len(steps) == whole if harm else len(steps) <= whole // 3
    assert tables(tmp_path / "run") == tables(tmp_path / "whole")
    assert list((tmp_path / "run").rglob("*.pt")) == []


@pytest.mark.parametrize(
    ("experiment", "changed"),
    [
        ("adp", {"methods": ["tuned"], "train.steps": 6}),
        (
            "markowitz",
            {"methods": ["tuned"], "train.steps": 6, "train.evaluate_every": 2, "train.halve_every": 3},
        ),
        (
            "gallery",
            {
                "methods": ["constrained_mpc"],
                "constrained_mpc.epochs": 4,
                "constrained_mpc.network_epochs": 2,
            },
        ),
        ("gallery", {"methods": ["monotone_regression"], "monotone_regression.epochs": 6}),
        ("sudoku_9x9", {"methods": ["gradient"], "whole.steps": 30, "puzzles.steps": 30}),
    ],
)
def test_a_descent_that_was_interrupted_goes_on_bit_for_bit(tmp_path, monkeypatch, experiment, changed):
    config = composed(experiment, "smoke", "auto")
    for name, value in {"seeds": [0], **changed}.items():
        OmegaConf.update(config, name, value)
    kept, real = [], checkpoint.Loop.keep

    def keep(loop, counts):
        real(loop, counts)
        kept.append(counts)
        if len(kept) == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    monkeypatch.setattr(checkpoint.Loop, "keep", keep)
    stop = 0
    run(config, tmp_path / "whole")
    whole, kept[:] = len(kept), []
    stop = whole - whole // 3
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "run")
    kept[:], stop = [], 0
    run(config, tmp_path / "run")
    assert 0 < len(kept) <= whole // 3
    assert tables(tmp_path / "run") == tables(tmp_path / "whole")
    assert list((tmp_path / "run").rglob("*.pt")) == []


def test_a_short_training_leaves_no_checkpoint(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(checkpoint.torch, "save", lambda *arguments: saved.append(arguments))
    run(configured(methods=["optnet_tuned_tv"], seeds=[0]), tmp_path)
    assert saved == []


def _children(pid):
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


@pytest.mark.slow
def test_killed_at_random_moments_a_run_ends_with_the_tables_of_one_that_was_not(tmp_path):
    """Parent or worker, inside a cell, between cells, while files are written: the command ends with the same bytes."""
    config = configured(
        methods=["total_variation", "optnet_tuned_tv"], seeds=[0, 1, 2, 3], **{"train.epochs": 8}
    )
    run(config, tmp_path / "whole")
    start = time.monotonic()
    run(config, tmp_path / "timed")
    length, chance = time.monotonic() - start, random.Random(0)
    killed = tmp_path / "killed"
    interrupted = 0
    for attempt in range(20):
        # A process of our own is there at once; its workers have to load torch first.
        workers = 2 if attempt % 5 == 4 else 1
        settings = configured(**{**OmegaConf.to_container(config), "workers": workers})
        parent = multiprocessing.get_context("fork").Process(target=run, args=(settings, killed))
        parent.start()
        parent.join(chance.uniform(0, length) + (6 if workers == 2 else 0))
        if parent.is_alive():
            children = _children(parent.pid)
            os.kill(chance.choice([parent.pid, *children]), signal.SIGKILL)
            interrupted += 1
        parent.join(60)
        assert not parent.is_alive()
        (killed / "provenance.json").unlink(missing_ok=True)
    assert interrupted > 5
    run(config, killed)
    assert tables(killed) == tables(tmp_path / "whole")
    assert not (killed / ".lock").exists()
    assert not (killed / ".cells").exists()
