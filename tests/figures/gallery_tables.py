"""Small tables of the example programs and of the poisoning study, as their runs would write them."""

import pandas as pd

CURVES = {
    "monotone_regression": ("validation", "mse"),
    "resource_allocation": ("validation", "mse"),
    "signal_denoising": ("validation", "mse"),
    "constrained_mpc": ("validation", "mse"),
    "relu_network": ("train", "mse"),
    "stiffness": ("train", "distance"),
}
RADII = ("0.01", "0.1", "1")


def gallery():
    """Tables of the gallery by name."""
    metrics = [
        row("gallery", program, seed, split=split, step=step, metric=metric, value=10 / (1 + step) + seed)
        for program, (split, metric) in CURVES.items()
        for seed in (0, 1)
        for step in range(4)
    ]
    metrics += [
        row("gallery", f"{name}", 0, split="validation", step=0, metric="final_mse", value=3.0)
        for name in (
            "monotone_regression/least_squares",
            "signal_denoising/identity",
            "constrained_mpc/network",
        )
    ]
    sweep = [
        row("gallery", "elastic_net/alpha", 0, signal=signal, index=index, value=10.0 ** (index - 2) + signal)
        for signal in range(4)
        for index in range(5)
    ]
    plan = [
        row("gallery", "optimal_transport", 0, matrix="plan", row=i, column=j, value=(i + j) / 18)
        for i in range(3)
        for j in range(3)
    ]
    return {"metrics": metrics, "signals": sweep, "matrices": plan}


def data_poisoning():
    """Tables of the poisoning study by name."""
    metrics = []
    for name in ("blobs", "breast_cancer"):
        for step, radius in enumerate(RADII):
            place = {"split": f"radius {radius}", "step": step}
            rise = float(radius)
            metrics.append(row("data_poisoning", name, 0, **place, metric="predicted_increase", value=rise))
            for attack, share in (("one_step", 1.0), ("iterated", 1.2), ("random", -0.1)):
                metrics.append(
                    row(
                        "data_poisoning",
                        f"{name}/{attack}",
                        0,
                        **place,
                        metric="increase",
                        value=share * rise,
                    )
                )
    rows = {
        "points": [[1, 2, 0, 0.1, 0.2], [-1, -2, 1, 0.3, -0.1], [0, 1, 0, -0.2, 0.1]],
        "fitted": [[-1, -1, 0.1]],
        "fitted to the test": [[-1, -2, 0.2]],
    }
    signals = [
        row("data_poisoning", f"blobs/{name}", 0, signal=signal, index=index, value=value)
        for name, entries in rows.items()
        for signal, values in enumerate(entries)
        for index, value in enumerate(values)
    ]
    return {"metrics": metrics, "signals": signals}


def row(experiment, method, seed, **values):
    """One row of a tidy table."""
    return {"experiment": experiment, "method": method, "seed": seed, "unit": "1", **values}


def write(root):
    """Write all of them where a companion run would, under `root`."""
    for experiment, tables in (("gallery", gallery()), ("data_poisoning", data_poisoning())):
        folder = root / experiment / "companion" / "auto"
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in tables.items():
            pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
