"""A small table in the shape of the study of hard constraints."""

import pandas as pd

METHODS = ("optimiser", "network", "penalty", "penalty_projected", "dc3", "projection_layer")
PROBLEMS = ("convex", "nonconvex", "piecewise")


def metrics():
    rows, labels = [], {"experiment": "hard_constraints", "step": 2, "unit": "1"}
    for place, method in enumerate(METHODS):
        for problem in PROBLEMS:
            for seed in (0,) if method == "optimiser" else (0, 1):
                own = {**labels, "method": method, "seed": seed, "split": problem}
                violation = {"max_inequality": 10.0 ** -(3 * place), "max_equality": 0.0}
                values = {"objective": 2.0 + place + seed, **violation}
                if problem == "piecewise":
                    del values["max_equality"]
                else:
                    values["gap"] = 0.01 * (place - 1) + 0.001 * seed
                rows += [{**own, "metric": metric, "value": value} for metric, value in values.items()]
    return pd.DataFrame(rows)


def write(root):
    """Write the table where the figure looks for it."""
    folder = root / "hard_constraints" / "companion" / "auto"
    folder.mkdir(parents=True, exist_ok=True)
    metrics().to_csv(folder / "metrics.csv", index=False)
