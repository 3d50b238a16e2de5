"""A sheet tells everything of an experiment in one file, and each reader takes its own section of it."""

import os
import re
import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments.common.claims import source
from experiments.common.errors import ConfigError
from experiments.common.sheets import SHEETS, section, sections, settings
from experiments.common.sources import blocks, settled
from experiments.job import CONFIGS
from figures import style

SHEET = """# A sheet.
sizes:
  # Seconds.
  smoke: {seeds: [7], data: {train: 9}}

  companion:
    workers: 2
    weights: {largest: 1e1}
  paper:
# What was published.
published:
  paper: "somebody, somewhere"
  settings: {paper: s}
  claims:
    - {id: i, claim: c, value: "1.0", where: {method: a, split: test, metric: m}}
experiment: denoising
methods: [total_variation]
defaults: [denoising_schema, _self_]
labels:
  a: {name: "A", colour: "#000000"}
"""


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """Return a copy of the configurations with a sheet of an experiment without a program of its name."""
    copy = shutil.copytree(CONFIGS, tmp_path / "configs")
    (copy / "experiment" / "mine.yaml").write_text(SHEET, "utf-8")
    return copy


def composed(configs: Path, *words: str):
    with initialize_config_dir(str(configs), version_base="1.3"):
        return OmegaConf.to_object(compose("config", list(words)))


def test_a_size_of_the_sheet_changes_what_it_names(configs: Path):
    smoke = composed(configs, "experiment=mine", "size=smoke")
    assert (smoke.experiment, smoke.methods, smoke.seeds, smoke.data.train) == (
        "denoising",
        ["total_variation"],
        [7],
        9,
    )
    companion = composed(configs, "experiment=mine", "size=companion")
    assert (companion.workers, companion.weights.largest, companion.seeds) == (2, 10, [0, 1, 2, 3, 4])
    paper = composed(configs, "experiment=mine", "size=paper")
    assert (paper.workers, paper.data.train) == (1, 8000)


def test_settings_of_ones_own_have_the_sizes_of_their_experiment_and_go_before_them(configs: Path):
    own = "defaults: [denoising_schema, _self_]\nexperiment: denoising\ndata: {train: 11}\n"
    (configs / "experiment" / "mine.yaml").write_text(own, "utf-8")
    mine, theirs = (composed(configs, f"experiment={name}", "size=smoke") for name in ("mine", "denoising"))
    assert (mine.data.train, theirs.data.train) == (11, 40)
    assert mine.data.test == theirs.data.test == 20


def test_a_sheet_without_settings_has_the_defaults_of_its_program(tmp_path: Path):
    path = tmp_path / "newcomer.yaml"
    path.write_text("sizes:\n  smoke:\n", "utf-8")
    assert settings(path) == {"defaults": ["newcomer_schema", "_self_"], "experiment": "newcomer"}
    assert section(path, "sizes") == {"smoke": None}
    assert section(path, "labels") is None


def test_every_reader_finds_its_section(configs: Path):
    found = dict(sections("published", configs / "experiment"))["mine"]
    assert source("mine.yaml", found).claims[0].target == 1.0
    assert dict(sections("labels", configs / "experiment"))["mine"] == {
        "a": {"name": "A", "colour": "#000000"}
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [("labels: [", "line 1"), ("labels:\n  a: b: c\n", "line 2"), ("labels:\n  'a\n", "labels|line")],
)
def test_a_sheet_that_cannot_be_read_is_named_with_the_line(tmp_path: Path, text: str, message: str):
    path = tmp_path / "broken.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=rf"broken\.yaml.*({message})"):
        section(path, "labels")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"optnet": {"name": "another", "colour": "#D55E00"}}, "another, but elsewhere learned equalities"),
        ({"fresh": {"name": "fresh"}}, "expected name and colour"),
        ({"fresh": "fresh"}, "expected name and colour"),
    ],
)
def test_a_method_looks_the_same_in_every_figure(labels, message: str):
    with pytest.raises(ConfigError, match=rf"mine\.yaml, labels, .*{message}"):
        style.settle("mine", labels)


def test_methods_stand_in_legends_as_in_each_sheet(monkeypatch):
    for table in ("NAMES", "COLOURS"):
        monkeypatch.setattr(style, table, {})
    monkeypatch.setattr(style, "ORDER", order := [])
    label = {"name": "n", "colour": "#000000"}
    for sheet in ("untuned tuned", "clean untuned searched tuned other", "first second", "tuned last first"):
        style.settle("mine", dict.fromkeys(sheet.split(), label))
    assert order == ["clean", "untuned", "searched", "tuned", "last", "other", "first", "second"]


def test_make_is_told_of_a_change_only_where_a_size_changes(tmp_path: Path, monkeypatch):
    root = tmp_path / "root"
    (root / "configs" / "experiment").mkdir(parents=True)
    sheet = root / "configs" / "experiment" / "mine.yaml"
    monkeypatch.setattr("experiments.common.sources.ROOT", root)

    def stale(text: str) -> set[str]:
        """The sizes of which the file is new once the sheet is `text`."""
        sheet.write_text(text, "utf-8")
        paths = {size: settled("mine", size, tmp_path / "build") for size in ("smoke", "companion", "paper")}
        found = {size for size, path in paths.items() if path.stat().st_mtime > 0}
        for path in paths.values():
            os.utime(path, (0, 0))
        return found

    every = {"smoke", "companion", "paper"}
    assert stale(SHEET) == every
    assert stale(SHEET) == set()
    assert stale(SHEET.replace('"1.0"', '"2.0"').replace('"A"', '"B"')) == set()
    assert stale(SHEET.replace("  # Seconds.", "  # At most a second.\n\n")) == set()
    assert stale(SHEET.replace("workers: 2", "workers: 3")) == {"companion"}
    assert stale(SHEET.replace("[total_variation]", "[optnet_pure]")) == every


@pytest.mark.parametrize("path", sorted(SHEETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_make_is_told_of_every_setting_of_every_size(path: Path, tmp_path: Path):
    own = {name: value for name, value in settings(path).items() if name not in ("defaults", "experiment")}
    for size, changes in section(path, "sizes").items():
        text = settled(path.stem, size, tmp_path).read_text("utf-8")
        assert OmegaConf.create(text) == OmegaConf.create({**own, size: changes})


def test_the_blocks_of_a_sheet_are_the_whole_sheet_in_order():
    for path in SHEETS.glob("*.yaml"):
        text = path.read_text("utf-8")
        found = blocks(text)
        first = re.search(r"^\w+:", text, re.MULTILINE)
        assert first is not None
        assert "".join(found.values()) == text[first.start() :]
