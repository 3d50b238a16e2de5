"""Every figure draws from small tables, with labels and units, and repeats bit for bit."""

import contextlib
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

from figures import __main__ as program
from figures import style
from tests.figures import (
    control_tables,
    differentiation_tables,
    gallery_tables,
    mpc_tables,
    portfolio_tables,
    published_tables,
    sudoku_tables,
)

METHODS = ("total_variation", "optnet_tuned_tv", "optnet_pure", "fully_connected")
ECG = ("noisy", "total_variation", "wavelet", "linear_filter", "fully_connected", "optnet_tuned_tv")
PORTFOLIO = (portfolio_tables.POLICIES, portfolio_tables.PORTFOLIOS)


def metrics():
    labels = {"experiment": "denoising", "unit": "signal unit squared"}
    rows = [
        {
            **labels,
            "method": method,
            "seed": seed,
            "split": split,
            "step": step,
            "metric": "mse",
            "value": 20 - step + seed,
        }
        for method in METHODS[1:]
        for seed in (0, 1)
        for split in ("train", "validation", "test")
        for step in range(4)
    ]
    final = {"split": "test", "step": 0, "metric": "final_mse"}
    rows += [
        {**labels, **final, "method": method, "seed": seed, "value": 16.0 + seed}
        for method in ("total_variation", "total_variation_on_test")
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows)


def signals(experiment, methods, count):
    labels = {"experiment": experiment, "seed": 0, "unit": "1"}
    return pd.DataFrame(
        [
            {**labels, "method": method, "signal": signal, "index": index, "value": index % 4 + place}
            for place, method in enumerate(methods)
            for signal in range(count)
            for index in range(8)
        ]
    )


def matrices():
    labels = {"experiment": "denoising", "seed": 0, "unit": "1"}
    return pd.DataFrame(
        [
            {
                **labels,
                "method": method,
                "matrix": name,
                "row": i,
                "column": j,
                "value": (i == j) - 0.5 * (i + 1 == j),
            }
            for method in ("optnet_pure", "optnet_tuned_tv")
            for name in ("initial", "final")
            for i in range(4)
            for j in range(5)
        ]
    )


def summary():
    labels = {"split": "test", "metric": "output_snr", "seeds": 2, "unit": "dB"}
    return pd.DataFrame(
        [
            {
                **labels,
                "experiment": f"denoising_ecg_{snr}dB",
                "method": method,
                "mean": 9.0,
                "lo": 8.0,
                "hi": 10.0,
            }
            for snr in (5, 10)
            for method in ECG
        ]
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    study, ecg = root / "denoising" / "companion" / "auto", root / "denoising_ecg" / "companion" / "auto"
    study.mkdir(parents=True)
    ecg.mkdir(parents=True)
    metrics().to_csv(study / "metrics.csv", index=False)
    signals("denoising", ("clean", "noisy", *METHODS), 3).to_csv(study / "signals.csv", index=False)
    matrices().to_csv(study / "matrices.csv", index=False)
    both = [signals(f"denoising_ecg_{snr}dB", ("clean", *ECG), 1) for snr in (5, 10)]
    pd.concat(both).to_csv(ecg / "signals.csv", index=False)
    summary().to_csv(ecg / "summary.csv", index=False)
    for study, name, table in (
        ("markowitz", "metrics", portfolio_tables.markowitz_metrics()),
        ("portfolio", "metrics", portfolio_tables.portfolio_metrics()),
        ("portfolio", "intervals", portfolio_tables.portfolio_intervals()),
    ):
        folder = root / study / "companion" / "auto"
        folder.mkdir(parents=True, exist_ok=True)
        table.to_csv(folder / f"{name}.csv", index=False)
    control_tables.write(root)
    differentiation_tables.write(root)
    gallery_tables.write(root)
    mpc_tables.write(root)
    sudoku_tables.write(root)
    published_tables.comparison().to_csv(root / "comparison.csv", index=False)
    return root


@pytest.mark.filterwarnings("error:figures/style.py has no entry")
@pytest.mark.parametrize("stem", program.modules())
def test_figure_draws_with_labelled_axes(stem, results):
    module = program.modules()[stem]
    tables = program.load(results, "companion/auto", module.TABLES)
    figure = module.draw(tables)
    assert figure.axes
    words = _words(figure)
    assert "(unit 1)" not in words
    assert any(axes.get_xlabel() for axes in figure.axes)
    titles = [axes.get_ylabel() + axes.get_title() + axes.get_title(loc="left") for axes in figure.axes]
    assert any(titles) or figure.get_suptitle()


# What these draw are settings of one study, named in a table of titles, not methods that are set side by side.
OF_SETTINGS = {"adp", "cocp_lqr", "data_poisoning", "gallery", "mpc_imitation"}


def _words(figure):
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
    words, present = _words(module.draw(tables)), set().union(*(table["method"] for table in tables.values()))
    like = next(name for name in sorted(present.intersection(style.NAMES)) if style.NAMES[name] in words)
    with pytest.warns(UserWarning, match=r"figures/style\.py has no entry for 'newcomer'"):
        figure = module.draw(_with_a_newcomer(tables, like))
    assert "newcomer" not in words
    assert "newcomer" in _words(figure)


def test_methods_without_a_name_come_last_whatever_the_order_asked_for():
    table = pd.DataFrame({"method": ["zebra", "tuned", "aardvark", "untuned", "tuned"]})
    assert style.methods_in(table) == ["untuned", "tuned", "aardvark", "zebra"]
    assert style.methods_in(table, ("tuned",)) == ["tuned", "aardvark", "zebra"]


@pytest.mark.parametrize(
    "stem", ["denoising_curves", "gallery", "mpc_pendulum", "sudoku_9x9", "cocp_lqr", "adp"]
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


def test_a_run_of_the_paper_s_size_that_is_not_there_falls_back_and_says_so(results):
    wanted = program.modules()["adp"].TABLES
    assert program.found(results, "companion/auto", wanted)[1] == "tables of companion/auto"
    tables, said = program.found(results, "paper/auto", wanted)
    assert said == "tables of companion/auto: those of paper/auto are not there"
    assert len(tables["metrics"])
    assert program.found(results, "smoke/auto", wanted) is None
    assert program.found(results, "paper/qpth", wanted) is None


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


def test_a_missing_column_is_named_and_the_other_figures_are_drawn(tmp_path):
    for experiment, columns in (("adp", ["metric"]), ("cocp_vehicle", [])):
        folder = tmp_path / experiment / "companion" / "auto"
        folder.mkdir(parents=True)
        rows = pd.DataFrame(control_tables.policies("final_cost")).assign(experiment=experiment)
        rows.drop(columns=columns).to_csv(folder / "metrics.csv", index=False)
    with pytest.raises(SystemExit, match="error: adp: a table has no column 'metric'"):
        program.main(["--results", str(tmp_path), "--output", str(tmp_path)])
    assert (tmp_path / "cocp_vehicle.png").exists()


@pytest.mark.slow
def test_program_draws_all_and_repeats_bit_for_bit(results, tmp_path):
    for folder in ("first", "second"):
        program.main(["--results", str(results), "--output", str(tmp_path / folder)])
    names = {path.name for path in (tmp_path / "first").iterdir()}
    assert names == {f"{stem}{suffix}" for stem in program.modules() for suffix in (".png", ".pdf")}
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name
        assert (tmp_path / "first" / name).stat().st_size < 300_000


def test_missing_tables_are_told(tmp_path, capsys):
    with pytest.raises(SystemExit, match="no figure drawn"):
        program.main(["--results", str(tmp_path), "--output", str(tmp_path)])
    assert "denoising_curves: no tables" in capsys.readouterr().out


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
    ):
        assert len({style.COLOURS[method] for method in group}) == len(group)


def test_figures_know_neither_torch_nor_layers_nor_experiments():
    code = "import sys, figures.__main__ as p; p.modules(); print(*sys.modules)"
    root = Path(program.__file__).parents[1]
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert not {"torch", "layers", "experiments"} & set(loaded.stdout.split())
