"""The program draws what was asked for, from the run that was asked for, and tells what it could not draw."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from experiments.common.errors import ConfigError
from experiments.common.records import checksum
from figures import program
from tests.experiments.recorded import record
from tests.figures.test_figures import text_of


def _drawn_by_the_program(results, folder, *arguments):
    program.main([*arguments, "--results", str(results), "--output", str(folder)])
    return {path.name for path in folder.iterdir()}


def test_a_figure_or_all_of_an_experiment_in_the_formats_asked_for(results, tmp_path):
    one = _drawn_by_the_program(
        results, tmp_path / "one", "sudoku_curves", "--format", "svg", "--format", "png"
    )
    assert one == {"sudoku_curves.svg", "sudoku_curves.png"}
    both = _drawn_by_the_program(results, tmp_path / "two", "portfolio", "--format", "png")
    assert both == {"portfolio_wealth.png", "portfolio_measures.png"}


def test_the_width_is_that_of_a_column_or_a_page(results, tmp_path):
    for width, pixels in (("column", 525), ("page", 1080)):
        _drawn_by_the_program(results, tmp_path / width, "adp", "--format", "png", "--width", width)
        header = (tmp_path / width / "adp.png").read_bytes()[16:20]
        assert abs(int.from_bytes(header, "big") - pixels) <= 1


def test_pgf_without_tex_is_told(results, tmp_path, monkeypatch):
    monkeypatch.setattr(program.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="--format pgf needs TeX: there is no xelatex on the path"):
        _drawn_by_the_program(results, tmp_path, "adp", "--format", "pgf")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sudoku_curvs",), "figure: got 'sudoku_curvs', expected one of: adp"),
        (("adp", "--run", "smoke/auto"), "adp: .*provenance.json is missing"),
        (("adp", "--run", "companion"), "--run companion: expected <size>/<layer>"),
    ],
)
def test_what_cannot_be_drawn_is_told(results, tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=message):
        _drawn_by_the_program(results, tmp_path, *arguments)


@pytest.fixture
def damaged(results, tmp_path):
    """Return a copy of the tables that a test may harm."""
    return shutil.copytree(results, tmp_path / "results")


def test_a_missing_column_is_named_and_the_other_figures_are_drawn(damaged, tmp_path):
    folder = damaged / "denoising" / "companion" / "auto"
    pd.read_csv(folder / "metrics.csv").drop(columns="split").to_csv(folder / "metrics.csv", index=False)
    record(folder)
    with pytest.raises(SystemExit, match="denoising_curves: a table has no column 'split'") as caught:
        _drawn_by_the_program(damaged, tmp_path / "out", "denoising", "sudoku_curves", "--format", "png")
    assert "1 of 4 figures not drawn" in str(caught.value)
    drawn = {path.stem for path in (tmp_path / "out").iterdir()}
    assert drawn == {"denoising_signals", "denoising_operator", "sudoku_curves"}


def test_a_run_of_one_method_stops_no_other_figure(damaged, tmp_path):
    folder = damaged / "denoising" / "companion" / "auto"
    for name in ("metrics", "signals", "matrices"):
        table = pd.read_csv(folder / f"{name}.csv")
        table[table["method"] == "total_variation"].to_csv(folder / f"{name}.csv", index=False)
    record(folder)
    with pytest.raises(SystemExit, match=r"denoising_operator: its tables lack what it draws"):
        _drawn_by_the_program(damaged, tmp_path / "out", "denoising", "sudoku_curves", "--format", "png")
    assert (tmp_path / "out" / "sudoku_curves.png").exists()


def test_a_damaged_table_is_named(damaged, tmp_path):
    path = damaged / "adp" / "companion" / "auto" / "metrics.csv"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SystemExit, match=r"adp: .*metrics\.csv is damaged"):
        _drawn_by_the_program(damaged, tmp_path / "out", "adp")


def test_a_second_run_is_laid_over_the_first_dashed(damaged):
    folder = damaged / "sudoku" / "companion" / "auto"
    other = folder / "train.lr=0.2"
    other.mkdir()
    for path in folder.glob("*.csv"):
        table = pd.read_csv(path)
        if path.stem == "metrics":
            table["value"] *= 0.5
        table.to_csv(other / path.name, index=False)
    tables = {path.name: checksum(path) for path in other.glob("*.csv")}
    whole = json.loads((folder / "provenance.json").read_text())
    (other / "provenance.json").write_text(
        json.dumps(whole | {"changes": {"train.lr": 0.2}, "tables": tables})
    )
    runs, module = ["companion/auto", "companion/auto/train.lr=0.2"], program.modules()["sudoku_curves"]
    alone, second = (program.drawn(module, damaged, [run]) for run in runs)
    both = program.drawn(module, damaged, runs)
    for axes, first, added in zip(both.axes, alone.axes, second.axes, strict=True):
        new = axes.lines[len(first.lines) :]
        dense = [line for line in added.lines if len(line.get_xdata())]
        assert [line.get_color() for line in new] == [line.get_color() for line in dense]
        assert "--" in {line.get_linestyle() for line in new}
        assert "-" not in {line.get_linestyle() for line in new}
        for line, old in zip(new, dense, strict=True):
            assert list(line.get_ydata()) == list(old.get_ydata())
    assert "dashed: tables of companion/auto/train.lr=0.2" in text_of(both)


def test_what_has_no_lines_is_not_laid_over(results):
    module = program.modules()["denoising_operator"]
    with pytest.raises(ConfigError, match="it has no lines and no bars"):
        program.drawn(module, results, ["companion/auto"] * 2)


SCRIPTS = [pytest.param(s, marks=() if s == "adp" else pytest.mark.slow) for s in program.modules()]


@pytest.mark.parametrize("stem", SCRIPTS)
def test_every_figure_run_as_a_script_draws_itself(stem, results, tmp_path):
    words = ["--results", str(results), "--output", str(tmp_path), "--format", "png"]
    root = Path(program.__file__).parents[1]
    command = [sys.executable, f"figures/{stem}.py", *words]
    subprocess.run(command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, check=True)
    assert [path.name for path in tmp_path.iterdir()] == [f"{stem}.png"]


def test_a_run_of_the_paper_s_size_that_is_not_there_falls_back_and_says_so(results):
    wanted = program.modules()["adp"].TABLES
    assert program.found(results, "companion/auto", wanted)[1] == "tables of companion/auto"
    tables, said = program.found(results, "paper/auto", wanted)
    assert said == "tables of companion/auto: those of paper/auto are not there"
    assert len(tables["metrics"])
    for missing in ("smoke/auto", "paper/qpth"):
        with pytest.raises(ConfigError, match=r"provenance\.json is missing"):
            program.found(results, missing, wanted)
