"""Figures of the benchmark: they draw from a small table, repeat bit for bit, and leave out what was not run."""

from pathlib import Path

import pandas as pd
import pytest

from figures.benchmarks import __main__ as program
from figures.benchmarks.engines import LOOKS

ENGINES = {"auto": True, "moreau_active_set": False, "dqp": False, "newcomer": False}


def _table() -> pd.DataFrame:
    rows = [
        {
            "group": group,
            "row": f"{group}_{size}",
            "engine": engine,
            "ours": ours,
            "phase": phase,
            "batch": size,
            "n": size,
            "m": size,
            "p": 0,
            "median_ms": scale * size,
            "q1_ms": 0.9 * scale * size,
            "q3_ms": 1.2 * scale * size,
            "accurate": engine != "dqp",
            "residual": 0.0 if ours else 1e-9,
            "gradient_error": 1e-7,
        }
        for group in ("peers", "applications", "batch", "size", "accuracy")
        for size in (2, 20)
        for scale, (engine, ours) in enumerate(ENGINES.items(), start=1)
        for phase in ("forward", "backward", "both")
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    _table().to_csv(tmp_path / "results.csv", index=False)
    return tmp_path


@pytest.mark.parametrize("stem", program.modules())
def test_figure_draws_with_labels_and_units(stem: str):
    figure = program.modules()[stem].draw(_table())
    figure.canvas.draw()
    words = " ".join(axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes)
    assert "(ms)" in words or "(ratio)" in words
    legend = figure.legends[0]
    assert "newcomer" in [text.get_text() for text in legend.get_texts()], "an engine without a look is drawn"


def test_program_draws_all_and_repeats_bit_for_bit(results: Path, tmp_path: Path):
    for folder in ("first", "second"):
        program.main(["--results", str(results), "--output", str(tmp_path / folder)])
    names = {path.name for path in (tmp_path / "first").iterdir()}
    assert names == {f"{stem}{suffix}" for stem in program.modules() for suffix in (".png", ".pdf")}
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


def test_a_partial_run_draws_what_it_has(results: Path, tmp_path: Path):
    table = _table()
    table[table["group"] == "batch"].to_csv(results / "results.csv", index=False)
    program.main(["--results", str(results), "--output", str(tmp_path / "some")])
    assert {path.stem for path in (tmp_path / "some").iterdir()} == {"batch"}


def test_a_missing_table_is_told(tmp_path: Path):
    with pytest.raises(SystemExit, match="run `make bench` first"):
        program.main(["--results", str(tmp_path / "nowhere"), "--output", str(tmp_path)])


def test_ratios_are_over_our_time():
    axes = program.modules()["ratios"].draw(_table()).axes[0]
    (line,) = [line for line in axes.get_lines() if line.get_label() == LOOKS["moreau_active_set"][0]]
    assert [round(float(x), 12) for x in line.get_xdata()] == [2.0] * 4


def test_engines_that_meet_in_one_figure_differ_in_colour_or_mark():
    looks = [(colour, mark) for _, colour, mark in LOOKS.values()]
    assert len(set(looks)) == len(looks)
