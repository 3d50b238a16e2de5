"""Figures of the proofs: they draw from small tables, repeat bit for bit, and say what they miss."""

import pandas as pd
import pytest

from figures.proofs import __main__ as program

SMALL = {
    "truncation_slope": [
        {"instance": i, "sweep": j, "iterate_error": 0.5**j, "gradient_error": 3 * 0.5**j}
        for i in (0, 1)
        for j in range(1, 6)
    ],
    "cost_counts": [
        {"kkt_rows": n, "iterations": 8, "forward": 8 * n**3, "backward": 2 * n**2} for n in (10, 20)
    ],
    "cost_scaling": [{"kkt_rows": n, "forward_s": 1e-7 * n**3, "backward_s": 1e-7 * n**2} for n in (10, 20)],
    "value_curve": [
        {"bound": h, "value": -h + h**2 / 8, "multiplier": 1 - h / 4} for h in (0.5, 1, 1.5, 2, 2.5, 3, 3.5)
    ],
    "invariance_curves": [
        {"orbit": orbit, "moved": moved, "t": t, "loss": 1.0 if moved == "together" else 1 + t**2}
        for orbit in ("rows", "objective")
        for moved in ("together", "alone")
        for t in (-0.5, 0.0, 0.5)
    ],
    "cone_projections": [
        {"cone": cone, "position": t, "distance": abs(t), "trace": 1.0 + (t > 0)}
        for cone in ("nonnegative", "second_order", "semidefinite", "exponential", "power")
        for t in (-1.0, 0.0, 1.0)
    ],
}


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    for name, rows in SMALL.items():
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    return folder


def mine(module):
    return set(module.TABLES.values()) <= set(SMALL)


@pytest.mark.parametrize("stem", [stem for stem, module in program.modules().items() if mine(module)])
def test_figure_labels_every_axis(stem, results):
    module = program.modules()[stem]
    tables = {name: pd.read_csv(results / f"{place}.csv") for name, place in module.TABLES.items()}
    figure = module.draw(tables)
    figure.canvas.draw()
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)


def test_program_repeats_bit_for_bit(results, tmp_path):
    for folder in ("first", "second"):
        program.main(["--results", str(results), "--output", str(tmp_path / folder)])
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert {"truncation_slope.png", "cost_scaling.pdf", "cone_projections.png"} <= set(names)
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


def test_missing_tables_are_told(tmp_path, capsys):
    with pytest.raises(SystemExit, match="no figure drawn"):
        program.main(["--results", str(tmp_path), "--output", str(tmp_path)])
    assert "cone_projections.csv" in capsys.readouterr().out
