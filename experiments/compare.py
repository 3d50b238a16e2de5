"""Sets our tables beside the published numbers: `python -m experiments.compare` writes
<results>/comparison.csv.

The published numbers and the rule of each verdict stand in published.yaml; everything else is computed from
the tables.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from experiments.common.errors import ConfigError
from experiments.common.results import Frame, Row, read_table, write_table
from experiments.common.stats import Interval, bootstrap

PUBLISHED = Path(__file__).with_name("published.yaml")


def published() -> dict[str, Any]:
    """The published numbers by experiment."""
    plain = OmegaConf.to_container(OmegaConf.load(PUBLISHED))
    assert isinstance(plain, dict)
    return {str(name): claims for name, claims in plain.items()}


def compare(results: Path) -> list[Row]:
    """One row for each claim and each run found in `results`/<experiment>/<size>/<layer>."""
    rows: list[Row] = []
    for experiment, source in published().items():
        for path in sorted(results.glob(f"{experiment}/*/*/metrics.csv")):
            size, layer = path.parts[-3:-1]
            command = f"python -m experiments.run experiment={experiment} size={size} layer={layer}"
            fixed = {"source": source["paper"], "size": size, "command": command}
            note = source["settings"].get(size, "")
            for labels in compare_run(measured(path.parent), source["claims"], size):
                rows.append({**fixed, "note": note, **labels})
    return rows


def measured(run: Path) -> Frame:
    """The metrics of a run, with its timings as metrics of the split `timings`, named by their phase."""
    metrics, timings = (read_table(run / f"{name}.csv") for name in ("metrics", "timings"))
    timings = timings.rename(columns={"phase": "metric"}).assign(split="timings", step=0)
    return pd.concat([metrics, timings], ignore_index=True)


def compare_run(metrics: Frame, claims: list[dict[str, Any]], size: str) -> Iterator[dict[str, object]]:
    """Claim, numbers and verdict for each of `claims` about methods that `metrics` holds."""
    for claim in claims:
        relative = "change" in claim
        values = _change(metrics, **claim["change"]) if relative else _level(metrics, **claim["level"])
        if values.empty:
            continue
        ours = bootstrap(values.to_numpy())
        target = claim["value"][0] / claim["value"][1] - 1 if relative else claim["value"]
        tolerance = claim.get("tolerance", np.nan) * (1.0 if relative else abs(target))
        # A change is above or below no change at all, a level above or below the published one.
        edge = 0.0 if relative else target
        holds = verdict(claim["rule"], ours, target, tolerance, edge, size in claim["sizes"])
        yield {
            "claim": claim["claim"] if relative else f"{claim['level']['method']}: {claim['claim']}",
            "published": target,
            "tolerance": tolerance,
            "ours": ours.mean,
            "lo": ours.lo,
            "hi": ours.hi,
            "unit": "relative change" if relative else "as in the paper",
            "seeds": len(values),
            "verdict": holds,
            "cause": claim.get("cause", "") if holds == "not reproduced" else "",
        }


def verdict(rule: str, ours: Interval, target: float, tolerance: float, edge: float, applies: bool) -> str:
    """`reproduced` or not; `other setting` where the rule does not apply, `one seed` where it cannot.

    `within` compares the mean with `target`, `below` and `above` the whole interval with `edge`.
    """
    if not applies:
        return "other setting"
    if rule == "within":
        return "reproduced" if abs(ours.mean - target) <= tolerance else "not reproduced"
    if np.isnan(ours.lo):
        return "one seed"
    holds = {"below": ours.hi < edge, "above": ours.lo > edge}[rule]
    return "reproduced" if holds else "not reproduced"


def _level(
    metrics: Frame,
    method: str,
    split: str,
    metric: str = "final_mse",
    step: int | None = None,
    seed: int | None = None,
) -> Frame:
    """Values of one metric by seed; of one step of a curve and of one seed if they are given."""
    chosen = (metrics["method"] == method) & (metrics["split"] == split) & (metrics["metric"] == metric)
    for column, wanted in (("step", step), ("seed", seed)):
        chosen &= (metrics[column] == wanted) | (wanted is None)
    return metrics[chosen].set_index("seed")["value"].sort_index()


def _change(
    metrics: Frame, method: str, baseline: str, split: str, metric: str = "final_mse", over: str | None = None
) -> Frame:
    """Ratio to the baseline minus one, seed by seed: both methods saw the same signals.

    The baseline has the same metric, or `over`.
    """
    below = _level(metrics, baseline, split, over or metric)
    return (_level(metrics, method, split, metric) / below - 1).dropna()


def main(arguments: list[str]) -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.compare", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the tables")
    results = parser.parse_args(arguments).results
    try:
        rows = compare(results)
        if not rows:
            raise ConfigError(
                f"{results}: no tables found, expected {results}/<experiment>/<size>/<layer>/metrics.csv"
            )
        write_table(results / "comparison.csv", rows)
    except (ConfigError, ValueError) as error:
        sys.exit(f"error: {error}")
    for row in rows:
        numbers = f"published {row['published']:7.3f}  ours {row['ours']:7.3f}"
        print(f"{row['verdict']:<15} {row['size']:<10} {numbers}  {row['claim']}")


if __name__ == "__main__":
    main(sys.argv[1:])
