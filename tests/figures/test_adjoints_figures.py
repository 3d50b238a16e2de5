"""Figures of docs/adjoints.md: one an adjoint, its own marks in its own colour, and refusals that are not hidden."""

import pytest
from matplotlib.colors import to_hex

from figures import style
from figures.adjoints import __main__ as program
from figures.adjoints import strip
from figures.program import load
from tests.figures import differentiation_tables


@pytest.fixture
def tables(results):
    return load(results, "companion/auto", strip.TABLES)


def test_there_is_one_for_every_adjoint_of_the_run_and_none_for_a_loss(results, tmp_path):
    program.main(["--results", str(results), "--output", str(tmp_path)])
    names = {name.removeprefix("adjoint=") for name in differentiation_tables.ADJOINTS}
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.png" for name in names}


def test_every_panel_says_what_it_shows_and_its_own_adjoint_alone_has_colour(tables):
    figure = strip.draw(tables, "smoothed")
    assert all(axes.get_title(loc="left") and axes.get_xlabel() for axes in figure.axes)
    for axes in figure.axes[1:]:
        colours = {to_hex(line.get_color()).upper() for line in axes.lines if len(line.get_xdata())}
        own = style.COLOURS["adjoint=smoothed"].upper()
        assert own in colours
        assert colours <= {own, to_hex(strip.GREY).upper()}


def test_a_refusal_at_a_margin_is_a_cross(tables):
    crosses = [line for line in strip.draw(tables, "optnet").axes[1].lines if line.get_marker() == "x"]
    assert [len(line.get_xdata()) for line in crosses] == [2]
    crosses = [line for line in strip.draw(tables, "implicit").axes[1].lines if line.get_marker() == "x"]
    assert [len(line.get_xdata()) for line in crosses] == [0]


def test_a_run_without_adjoints_is_told(results, tmp_path):
    with pytest.raises(SystemExit, match=r"provenance\.json is missing"):
        program.main(["--results", str(results), "--run", "smoke/auto", "--output", str(tmp_path)])
