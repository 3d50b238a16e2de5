"""A training tells how far it is and its scalars to who listens, and finds the same when nobody does."""

import importlib.util
import io
import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from experiments.common import bars, watch
from experiments.common.errors import ConfigError
from experiments.common.watch import check_log, counted, listening, logged, scalar
from experiments.common.workers import shared
from experiments.job import composed, run
from tests.experiments.test_cells import tables


def test_every_step_comes_and_the_last_is_always_told(monkeypatch):
    monkeypatch.setattr(watch, "EVERY", 0.0)
    heard = []
    with listening(lambda *at: heard.append(at)):
        assert list(counted(3, 5)) == [3, 4, 5]
    assert heard == [(3, 5), (4, 5), (5, 5)]
    heard.clear()
    monkeypatch.setattr(watch, "EVERY", 1e9)
    with listening(lambda *at: heard.append(at)):
        assert list(counted(0, 9)) == list(range(10))
    assert heard[-1] == (9, 9)
    assert len(heard) <= 2
    assert list(counted(1, 0)) == []


def train(number: int) -> int:
    return sum(counted(1, number))


def test_a_process_tells_how_far_its_item_is():
    heard = []
    found = dict(shared(train, [3, 4], 2, lambda *at: heard.append(at)))
    assert found == {3: 6, 4: 10}
    assert {(3, 3, 3), (4, 4, 4)} <= set(heard)
    assert dict(shared(train, [3], 1)) == {3: 6}


def test_the_bar_counts_epochs_of_the_training_that_a_cell_is_at(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(bars.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(
        bars, "Console", lambda stderr: Console(file=terminal, force_terminal=True, width=120)
    )
    cell = ("optnet_pure", 3)
    with bars.Bars("denoising", 4, 1) as shown:
        shown.hears(cell, 7, 50)
        shown.progress.refresh()
        first = terminal.getvalue()
        shown.hears(cell, 2, 20)  # the next training of the cell
        task = shown.progress.tasks[-1]
        assert (task.completed, task.total) == (2, 20)
        shown.finished(cell)
        assert [each.completed for each in shown.progress.tasks] == [2]
    assert "optnet_pure, seed 3: epochs" in first
    assert "7/50" in first
    assert "denoising: cells" in first


def test_without_a_log_nothing_is_written_and_a_wrong_one_is_told(tmp_path: Path):
    with logged("none", tmp_path / "events"):
        scalar("mse", 1, 2.0)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="log: got 'wandb', expected one of: none, tensorboard"):
        check_log("wandb")


def test_a_log_that_is_not_installed_is_told_with_its_command(monkeypatch):
    monkeypatch.setattr(watch.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install .*tensorboard"):
        check_log("tensorboard")


def test_scalars_are_written_while_training_and_change_no_number(tmp_path: Path):
    if importlib.util.find_spec("tensorboard") is None:
        pytest.skip("tensorboard is not installed: pip install -e '.[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for log in ("none", "tensorboard"):
        config = composed("denoising", "smoke", "auto")
        for name, value in {"methods": ["optnet_pure"], "seeds": [0], "log": log}.items():
            OmegaConf.update(config, name, value)
        run(config, tmp_path / log)
    assert tables(tmp_path / "none") == tables(tmp_path / "tensorboard")
    record = json.loads((tmp_path / "tensorboard" / "provenance.json").read_text())
    assert set(record["changes"]) == {"methods", "seeds"}
    events = EventAccumulator(str(tmp_path / "tensorboard" / "events" / "optnet_pure-0")).Reload()
    assert [point.step for point in events.Scalars("mse/train")] == [1, 2]
    assert {"mse/validation", "mse/test"} <= set(events.Tags()["scalars"])
