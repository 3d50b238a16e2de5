"""Every figure draws from small tables, with labels and units, and repeats bit for bit."""

import contextlib
import errno
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from figures import program, style
from tests.figures import (
    constraints_tables,
    differentiation_tables,
    mpc_tables,
    portfolio_tables,
    published_tables,
    sudoku_tables,
)
from tests.figures.denoising_tables import ECG, METHODS

PORTFOLIO = (portfolio_tables.POLICIES, portfolio_tables.PORTFOLIOS)


@pytest.mark.filterwarnings("error:no sheet has a label")
@pytest.mark.parametrize("stem", program.modules())
def test_figure_draws_with_labelled_axes(stem, results):
    module = program.modules()[stem]
    tables = program.load(results, "companion/auto", module.TABLES)
    figure = module.draw(tables)
    assert figure.axes
    words = text_of(figure)
    assert "(unit 1)" not in words
    assert any(axes.get_xlabel() for axes in figure.axes)
    titles = [axes.get_ylabel() + axes.get_title() + axes.get_title(loc="left") for axes in figure.axes]
    assert any(titles) or figure.get_suptitle()


# What these draw are settings of one study, named in a table of titles, not methods that are set side by side.
OF_SETTINGS = {"adp", "cocp_lqr", "data_poisoning", "gallery", "mpc_imitation"}


def text_of(figure):
    figure.canvas.draw()
    texts = figure.findobj(match=lambda artist: hasattr(artist, "get_text"))
    return " ".join(text.get_text() for text in texts)


def _with_a_newcomer(tables, like):
    """`tables` in which a method that figures/style.py does not know has the rows of one that it knows."""
    rows = {name: table[table["method"] == like].assign(method="newcomer") for name, table in tables.items()}
    return {name: pd.concat([table, rows[name]], ignore_index=True) for name, table in tables.items()}


@pytest.mark.parametrize("stem", sorted(set(program.modules()) - OF_SETTINGS))
def test_a_method_without_a_name_is_drawn_under_its_own_and_told(stem, results):
    module = program.modules()[stem]
    tables = program.load(results, "companion/auto", module.TABLES)
    words, present = (
        text_of(module.draw(tables)),
        set().union(*(table["method"] for table in tables.values())),
    )
    like = next(name for name in sorted(present.intersection(style.NAMES)) if style.NAMES[name] in words)
    with pytest.warns(UserWarning, match="no sheet has a label for 'newcomer'"):
        figure = module.draw(_with_a_newcomer(tables, like))
    assert "newcomer" not in words
    assert "newcomer" in text_of(figure)


def test_a_band_says_how_many_seeds_remain_where_some_have_ended():
    lengths = {0: 4, 1: 4, 2: 2}
    rows = pd.DataFrame(
        [{"step": i, "value": 1.0 + s} for s, length in lengths.items() for i in range(length)]
    )
    axes = Figure().subplots()
    style.band(axes, rows, "tuned")
    assert [(text.get_text(), text.xy[0]) for text in axes.texts] == [("n=2", 2)]
    axes = Figure().subplots()
    style.band(axes, rows[rows["step"] < 2], "tuned")
    assert list(axes.texts) == []


def test_methods_without_a_name_come_last_whatever_the_order_asked_for():
    table = pd.DataFrame({"method": ["zebra", "tuned", "aardvark", "untuned", "tuned"]})
    assert style.methods_in(table) == ["untuned", "tuned", "aardvark", "zebra"]
    assert style.methods_in(table, ("tuned",)) == ["tuned", "aardvark", "zebra"]


@pytest.mark.parametrize(
    "stem",
    [
        "denoising_curves",
        "gallery",
        "hard_constraints",
        "mpc_cartpole",
        "mpc_pendulum",
        "sudoku_9x9",
        "sudoku_rules",
        "cocp_lqr",
        "adp",
    ],
)
def test_published_numbers_are_black_dots(stem, results):
    module = program.modules()[stem]
    figure = module.draw(program.load(results, "companion/auto", module.TABLES))
    drawn = [
        line
        for axes in figure.axes
        for line in axes.lines
        if line.get_marker() == "." and len(line.get_xdata())
    ]
    black = [line for line in drawn if line.get_color() == "black"]
    assert black
    assert all(line.get_linestyle() == "None" for line in black)


def test_each_published_number_is_shown_once_whatever_the_number_of_runs():
    rows = style.printed(published_tables.comparison(), "denoising", method="optnet_tuned_tv")
    assert list(rows["published"]) == [16.01, 14.4]


def test_a_curve_is_shown_against_its_own_first_step():
    rows = pd.DataFrame({"seed": [1, 0, 0, 1], "step": [0, 0, 5, 5], "value": [4.0, 10.0, 9.0, 6.0]})
    changed = style.from_start(rows).sort_values(["seed", "step"])["value"]
    assert list(changed.round(9)) == [0.0, -10.0, 0.0, 50.0]


def test_the_half_width_is_student_s():
    assert style.half_width([0.0, 1.0, 2.0]) == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert style.half_width([1.0]) == 0.0


@pytest.mark.parametrize("stem", program.modules())
def test_a_run_of_one_method_is_drawn_or_told(stem, results):
    module = program.modules()[stem]
    tables = program.load(results, "companion/auto", module.TABLES)
    own = {name: table for name, table in tables.items() if name != "comparison"}
    # What stands behind a slash belongs to the method before it.
    for method in sorted({name.split("/")[0] for table in own.values() for name in table["method"]}):
        only = {name: table[table["method"].str.split("/").str[0] == method] for name, table in own.items()}
        with warnings.catch_warnings(), contextlib.suppress(style.NothingToDraw):
            warnings.simplefilter("ignore")
            module.draw({**tables, **only}).canvas.draw()


@pytest.mark.slow
def test_program_draws_all_and_repeats_bit_for_bit(results, tmp_path):
    for folder in ("first", "second"):
        program.main(["--results", str(results), "--output", str(tmp_path / folder)])
    names = {path.name for path in (tmp_path / "first").iterdir()}
    assert names == {f"{stem}{suffix}" for stem in program.modules() for suffix in (".png", ".pdf")}
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name
        assert (tmp_path / "first" / name).stat().st_size < 300_000


def test_a_figure_that_cannot_be_written_leaves_the_old_one(results, tmp_path, monkeypatch):
    old = tmp_path / "adp.png"
    old.write_text("old")

    def full(figure, path, **_):
        path.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(SystemExit, match=r"error: writing: No space left on device"):
        program.main(["adp", "--results", str(results), "--output", str(tmp_path)])
    assert old.read_text() == "old"
    assert [*tmp_path.iterdir()] == [old]


def test_missing_tables_are_told(tmp_path):
    with pytest.raises(SystemExit, match=r"denoising_signals: .*provenance\.json is missing"):
        program.main(["--results", str(tmp_path), "--output", str(tmp_path)])


def test_every_method_has_one_name_and_one_colour_of_the_palette():
    assert set(style.NAMES) == set(style.COLOURS)
    assert all(len(colour) == 7 and colour.startswith("#") for colour in style.COLOURS.values())


def test_methods_that_meet_in_one_figure_differ_in_colour():
    for group in (
        ("clean", "noisy", *METHODS),
        ("clean", *ECG),
        *PORTFOLIO,
        sudoku_tables.CURVES,
        sudoku_tables.METHODS,
        mpc_tables.IMITATORS,
        mpc_tables.MISSPECIFIED,
        differentiation_tables.ADJOINTS,
        differentiation_tables.LOSSES,
        constraints_tables.METHODS,
    ):
        assert len({style.COLOURS[method] for method in group}) == len(group)


def test_figures_know_neither_torch_nor_layers_and_of_the_experiments_how_a_run_is_read():
    code = "import sys, figures.program as p; p.modules(); print(*sys.modules)"
    root = Path(program.__file__).parents[1]
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    names = set(loaded.stdout.split())
    assert not {"torch", "layers"} & names
    assert {name for name in names if name.startswith("experiments.")} == {
        "experiments.common",
        "experiments.common.errors",
        "experiments.common.records",
        "experiments.common.sheets",
        "experiments.common.sources",
    }
