"""Small tables in the shape of the control studies."""

import pandas as pd

SPLITS = ("train", "test", "fresh")


def curve(method, split, metric="cost"):
    labels = {"method": method, "split": split, "metric": metric, "unit": "cost of a period"}
    return [
        {**labels, "seed": seed, "step": step, "value": 2.0 / (1 + step) + 0.1 * seed}
        for seed in (0, 1)
        for step in range(4)
    ]


def final(method, split, metric="final_cost"):
    labels = {"method": method, "split": split, "metric": metric, "unit": "cost of a period", "step": 0}
    return [{**labels, "seed": seed, "value": 1.5 - 0.2 * seed} for seed in (0, 1)]


def policies(*metrics):
    rows = [row for split in SPLITS for name in ("tuned", "tuned/published") for row in curve(name, split)]
    for metric in metrics:
        for method in ("untuned", "tuned"):
            rows += [row for split in SPLITS for row in final(method, split, metric)]
    return rows


def problems():
    rows = [row for name in ("box", "box/published") for row in curve(name, "test")]
    rows += [
        row for name in ("unconstrained", "unconstrained/published") for row in curve(name, "test", "gap")
    ]
    rows += final("box/lower_bound", "theory", "average_cost")
    pairs = ("box", "box/bound_policy", "unconstrained", "unconstrained/optimal")
    rows += [row for name in pairs for row in final(name, "fresh")]
    return rows + [row for name in ("box/bound_policy", "box/untuned") for row in final(name, "test")]


def write(root):
    """Write the tables of all four studies where a run would."""
    for study, rows in {
        "adp": policies("final_cost"),
        "cocp_lqr": problems(),
        "cocp_vehicle": policies("final_cost"),
        "cocp_supply_chain": policies("final_cost", "final_cost_before"),
    }.items():
        folder = root / study / "companion" / "auto"
        folder.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).assign(experiment=study).to_csv(folder / "metrics.csv", index=False)
