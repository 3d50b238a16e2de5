"""Small tables in the shape of the study of adjoints."""

import pandas as pd

ADJOINTS = tuple(
    f"adjoint={name}"
    for name in (
        *("implicit", "optnet", "active_set", "qp_backward", "conic", "unrolled", "alternating", "one_step"),
        *("truncated", "smoothed", "lpgd", "first_order", "penalty"),
    )
)
LOSSES = ("two_stage", "spo_plus", "fenchel_young", "blackbox")
TASKS = {"sudoku": "mse", "denoising": "mse", "path, regularised": "regret", "path, linear": "regret"}


def metrics():
    rows = []

    def add(method, seed, split, step, metric, value):
        labels = {"experiment": "differentiation", "method": method, "seed": seed, "unit": "1"}
        rows.append({**labels, "split": split, "step": step, "metric": metric, "value": value})

    for place, method in enumerate(ADJOINTS):
        for seed in (0, 1):
            for step in range(4):
                known = method != "adjoint=optnet" or step < 2
                add(
                    method,
                    seed,
                    "margin",
                    step,
                    "gradient_error" if known else "refused",
                    10.0 ** (step - 12) * known + (not known),
                )
            for split, metric in TASKS.items():
                for step in (0, 5, 10):
                    add(method, seed, split, step, metric, 1.0 / (1 + step + seed))
                    add(
                        method, seed, split, step, "board_error", 1.0 - 0.05 * step
                    ) if split == "sudoku" else None
            add(method, seed, "path, linear", 1, "refused", 1.0) if place == 1 else None
            add(method, seed, "regular", 0, "final_gradient_error", 0.0 if place == 0 else 1e-12)
        for setting in ("default", "k=10", "k=100"):
            add(method, 0, f"pareto {setting}", 0, "pareto_error", 10.0**-place)
            add(method, 0, f"pareto {setting}", 0, "iterations", float(setting.partition("=")[2] or 1))
    for method in LOSSES:
        for step in (0, 32, 64):
            add(method, 0, "path", step, "regret", 0.5 / (1 + step))
    return pd.DataFrame(rows)


def timings():
    rows = []
    for place, method in enumerate(ADJOINTS):
        labels = {"experiment": "differentiation", "method": method, "seed": 0}
        for setting in ("default", "k=10", "k=100"):
            rows.append({**labels, "phase": f"pareto {setting}", "value": 1e-3 * (1 + place), "unit": "s"})
            rows.append(
                {**labels, "phase": f"memory pareto {setting}", "value": 2.0**20 * (1 + place), "unit": "B"}
            )
        for n in (10, 20):
            rows.append({**labels, "phase": f"memory n={n}", "value": 2.0**20 * n, "unit": "B"})
            rows += [
                {**labels, "phase": f"{way} n={n}", "value": 1e-4 * n, "unit": "s"}
                for way in ("forward", "backward")
            ]
    return pd.DataFrame(rows)


def matrices():
    labels = {"experiment": "differentiation", "seed": 0, "unit": "1"}
    rows = []
    for method in ("kink", *ADJOINTS):
        name = "x" if method == "kink" else "gradient"
        for axis in (1, 2):
            for i in range(3):
                for j in range(3):
                    value = (
                        float("nan")
                        if (method, i) == ("adjoint=optnet", 1)
                        else 0.25 * (i - 1) + 0.25 * (axis - 1) * j
                    )
                    rows.append(
                        {
                            **labels,
                            "method": method,
                            "matrix": f"{name}_{axis}",
                            "row": i,
                            "column": j,
                            "value": value,
                        }
                    )
    return pd.DataFrame(rows)


def write(root):
    folder = root / "differentiation" / "companion" / "auto"
    folder.mkdir(parents=True)
    for name, table in (("metrics", metrics()), ("timings", timings()), ("matrices", matrices())):
        table.to_csv(folder / f"{name}.csv", index=False)
