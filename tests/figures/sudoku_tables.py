"""Small tables of the Sudoku and representation studies, for the figures to draw."""

from pathlib import Path

import pandas as pd

CURVES = ("optnet", "optnet_annealed", "convolutional", "fully_connected")
METHODS = (
    "identified",
    "identified_passes",
    "identified_refined",
    "gradient",
    "gradient_puzzles",
    "true_constraints_passes",
    "convolutional",
)


def write(root: Path) -> None:
    """Write the tables of the studies as runs of size companion."""
    for experiment, tables in {
        "sudoku": _small(),
        "sudoku_9x9": _large(),
        "sudoku_rules": _rules(),
        "representation": _functions(),
    }.items():
        folder = root / experiment / "companion" / "auto"
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in tables.items():
            pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)


def _metric(method, split, step, metric, value, seed=0):
    return {
        "method": method,
        "seed": seed,
        "split": split,
        "step": step,
        "metric": metric,
        "value": value,
        "unit": "1",
    }


def _matrix(method, name, entries):
    return [
        {"method": method, "seed": 0, "matrix": name, "row": i, "column": j, "value": value, "unit": "1"}
        for i, row in enumerate(entries)
        for j, value in enumerate(row)
    ]


def _equalities():
    return [
        _metric("identified", "train", count, "equalities_left", max(64 - count, 40), seed)
        for seed in (0, 1)
        for count in range(1, 60)
    ]


def _small():
    metrics = _equalities()
    for method in CURVES:
        for split in ("test", "test_strict"):
            metrics += [
                _metric(method, split, 9000 * epoch, "board_error", 0.5**epoch * (seed + 1) / 2, seed)
                for seed in (0, 1)
                for epoch in range(4)
            ]
    metrics += [_metric("optnet_published", "test", 9000 * epoch, "board_error", 0.0) for epoch in range(4)]
    matrices = _matrix("optnet", "angles_initial", [[1.0, 30.0, 89.0]])
    matrices += _matrix("optnet", "angles_final", [[0.1, 0.2, 3.0]])
    matrices += _matrix("identified", "angles_final", [[0.0, 1e-14, 1e-12]])
    return {"metrics": metrics, "matrices": matrices}


def _large():
    labels = {"metric": "solved", "seeds": 2, "unit": "fraction"}
    summary = [
        {**labels, "method": method, "split": f"givens_{givens}", "mean": givens / 40, "lo": 0.5, "hi": 1.0}
        for method in METHODS
        for givens in (26, 36)
    ]
    metrics = _equalities()
    metrics += [
        _metric("identified", "givens_36", count, "solved_by_boards", count / 60) for count in (20, 60)
    ]
    metrics += [
        _metric("gradient", "train", step, f"{name}_angle_met", 90.0 / step)
        for name in ("largest", "median")
        for step in (1, 10)
    ]
    # The first cell is given, the second is sure, the others are open.
    givens = [[1.0, 0.0, 0.0, 0.0]] + 15 * [[0.0] * 4]
    answer = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]] + 14 * [[0.5, 0.3, 0.2, 0.0]]
    matrices = [
        row
        for method in METHODS[:2]
        for name, entries in (("board_givens", givens), ("board_answer", answer))
        for row in _matrix(method, name, entries)
    ]
    return {"summary": summary, "metrics": metrics, "matrices": matrices}


def _rules():
    labels = {"metric": "solved", "seeds": 2, "unit": "fraction"}
    tested = [
        ("exclusions", split) for split in ("seen_40", "seen_90", "givens_26", "givens_36", "permuted_36")
    ]
    tested += [
        (method, split) for method in ("hidden", "pairs_trained") for split in ("seen_90", "givens_36")
    ]
    summary = [
        {**labels, "method": method, "split": split, "mean": 0.7, "lo": 0.5, "hi": 0.9}
        for method, split in tested
    ]
    metrics = [
        _metric(method, split, 0, "seen", int(split.removeprefix("seen_")))
        for method, split in tested
        if split.startswith("seen_")
    ]
    return {"summary": summary, "metrics": metrics}


def _functions():
    labels = {"metric": "rms_error", "seeds": 2, "unit": "fraction"}
    summary = [
        {
            **labels,
            "method": method,
            "split": f"{place}_{width}",
            "mean": 1 / width,
            "lo": 0.5 / width,
            "hi": 2 / width,
        }
        for method, widths in (("max_layer", (3,)), ("relu_network", (3, 6, 12)))
        for place in ("test", "outside")
        for width in widths
    ]
    line = [[place, abs(place), abs(place) + 0.1] for place in (-2.0, 0.0, 2.0)]
    matrices = _matrix("exact_layer", "piecewise_linear", line)
    matrices += _matrix("max_layer", "diagonal_3", line) + _matrix("relu_network", "diagonal_6", line)
    return {"summary": summary, "matrices": matrices}
