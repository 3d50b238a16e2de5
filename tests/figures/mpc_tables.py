"""Small tables in the shape of the three studies of differentiable control."""

import itertools

import pandas as pd

IMITATORS = ("lstm", "sysid", "mpc_dynamics", "mpc_cost", "mpc_cost_dynamics")
MISSPECIFIED = ("sysid_misspecified", "mpc_dynamics_misspecified")


def imitation():
    rows, labels = [], {"experiment": "mpc_imitation", "split": "train", "unit": "1"}
    for method in ("unbounded", "bounded"):
        for seed in (0, 1):
            own = {**labels, "method": method, "seed": seed}
            rows.append({**own, "step": 50, "metric": "converged", "value": float(seed)})
            for metric in ("imitation_loss", "model_loss"):
                rows += [{**own, "step": step, "metric": metric, "value": 0.1 / step} for step in (25, 50)]
    published = {**labels, "method": "published", "metric": "published_imitation_loss", "step": 1000}
    rows += [{**published, "seed": seed, "value": 0.1 + seed} for seed in (0, 1)]
    labels = {"experiment": "mpc_imitation", "baseline": "none", "split": "train", "metric": "converged"}
    shares = [
        {**labels, "method": method, "mean": 0.5, "lo": 0.1, "hi": 0.9, "unit": "share of trials"}
        for method in ("unbounded", "bounded")
    ]
    return {"metrics": pd.DataFrame(rows), "intervals": pd.DataFrame(shares)}


def timing():
    times, errors = [], []
    for method in ("implicit", "unrolled"):
        for name in (method, f"{method}_published"):
            for phase in ("forward", "backward"):
                own = {"experiment": "mpc_timing", "method": name, "seed": 0, "unit": "s"}
                times.append({**own, "phase": f"{phase} slope", "value": 0.5, "unit": "1"})
                for level in ("lower quartile", "median", "upper quartile"):
                    times += [{**own, "phase": f"{phase} {n} {level}", "value": 1e-3 * n} for n in (1, 32)]
        own = {"experiment": "mpc_timing", "method": method, "seed": 0, "split": "derivative", "unit": "1"}
        errors += [{**own, "metric": "gradient_error", "step": n, "value": 1e-3 / n} for n in (1, 32)]
    return {"timings": pd.DataFrame(times), "metrics": pd.DataFrame(errors)}


def pendulum():
    rows, labels = [], {"experiment": "mpc_pendulum", "unit": "N^2 m^2"}
    for place, method in enumerate((*IMITATORS, *MISSPECIFIED)):
        for seed in (0, 1):
            for count in (10, 50) if method in IMITATORS else (50,):
                own = {**labels, "method": method, "seed": seed, "split": f"test_{count}"}
                values = {"metric": "final_imitation_loss", "step": 20, "value": 10.0**-place * (1 + seed)}
                rows.append({**own, **values})
                for epoch, split in itertools.product((0, 10, 20), ("train", "test")):
                    curve = {"metric": "imitation_loss", "step": epoch, "value": 1 / (1 + epoch)}
                    rows.append({**own, **curve, "split": f"{split}_{count}"})
    for method in MISSPECIFIED:
        for seed in (0, 1):
            own = {**labels, "method": method, "seed": seed, "split": "train_50", "step": 20}
            rows.append({**own, "metric": "last_imitation_loss", "value": 0.1 + seed})
    for method in IMITATORS:
        own = {**labels, "method": f"{method}_published", "seed": 0, "step": 0, "split": "test_10"}
        rows.append({**own, "metric": "published_imitation_loss", "value": 0.1})
    return {"metrics": pd.DataFrame(rows)}


def cartpole():
    rows = pendulum()["metrics"]
    rows = rows[~rows["method"].isin(MISSPECIFIED)]
    return {"metrics": rows.assign(experiment="mpc_cartpole", unit="N^2")}


def write(root):
    """Write the tables where the figures look for them."""
    for study in (imitation, timing, pendulum, cartpole):
        folder = root / f"mpc_{study.__name__}" / "companion" / "auto"
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in study().items():
            table.to_csv(folder / f"{name}.csv", index=False)
