"""Sets our tables beside the published numbers: `python -m experiments.compare` writes
<results>/comparison.csv and ends with one line of counts. What methods with a layer win and lose against methods
without one goes to <results>/contests.csv.

What was published stands in the sheets in configs/experiment, as facts; the rules of the verdicts stand in
common/verdicts.py; everything else is computed from the tables.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.common.claims import Claim, Source, source
from experiments.common.errors import one_line
from experiments.common.records import command, selected
from experiments.common.results import Frame, Row, read_table, write_table
from experiments.common.rivals import contests
from experiments.common.sheets import sections
from experiments.common.stats import (
    Interval,
    change_interval,
    log_t_interval,
    proportion_interval,
    setting,
    t_interval,
)
from experiments.common.verdicts import MATCHES, NOT_COMPARABLE, REPRODUCED, sentence, verdict
from experiments.job import check_run

# What tells the rows of one run apart.
KEY = ("claim", "method", "split", "metric", "step")


def published() -> dict[str, Source]:
    """The publications by experiment."""
    return {name: source(f"{name}.yaml", given) for name, given in sections("published")}


def compare(results: Path, experiments: list[str] | None = None) -> list[dict[str, Any]]:
    """One row for each claim and each run found in `results`/<experiment>/<size>/<layer>, with its changes if any.

    A claim that none of these runs has a number for keeps a row without one: what is published is not forgotten.

    Raises
    ------
    ConfigError
        If there is no run, or one is damaged or was made with other settings than its folder stands for.
    """
    rows: list[dict[str, Any]] = []
    sources = published()
    places = selected(results, experiments, changed=True)
    for place in places:
        record = check_run(results, place)
        if place.experiment not in sources:
            continue
        source, mixed = sources[place.experiment], record.get("mixed", [])
        notes = [source.settings.get(place.size, ""), f"cells differ in {', '.join(mixed)}" if mixed else ""]
        # No claim is about the size of a changed run: its rows are not comparable.
        size = f"{place.size}/{place.changes}".rstrip("/")
        fixed = {"experiment": place.experiment, "source": source.paper, "size": size, "layer": place.layer}
        fixed |= {"command": command(place, record.get("changes")), "note": "; ".join(filter(None, notes))}
        for row in compare_run(measured(results / place.path), source.claims, size, record["config"]):
            reason = notes[0] if row["verdict"] == NOT_COMPARABLE and not row["reason"] else row["reason"]
            rows.append({**fixed, **row, "reason": reason})
    found = {(row["experiment"], *(row[name] for name in KEY)) for row in rows}
    for name in dict.fromkeys(place.experiment for place in places if place.experiment in sources):
        # They stand with the run that decides, the largest one.
        size = max(place.size for place in places if place.experiment == name)
        left = (_without_run(name, sources[name].paper, claim, size) for claim in sources[name].claims)
        rows.extend(row for row in left if (name, *(row[key] for key in KEY)) not in found)
    return rows


def _without_run(experiment: str, paper: str, claim: Claim, size: str) -> dict[str, Any]:
    """The row of a claim that no run has a number for, among those of a run of `size`."""
    unknown = Interval(math.nan, math.nan, math.nan, "none")
    row = _row(claim, unknown, 0, NOT_COMPARABLE, "no tracked run has this number")
    asked = claim.sizes[0] if claim.sizes else "paper"
    run = f"python -m experiments.run experiment={experiment} size={asked} layer=auto"
    return {
        "experiment": experiment,
        "source": paper,
        "size": size,
        "layer": "auto",
        "command": f"{run} 'methods=[{claim.where['method']}]'",
        "note": row["reason"],
        **row,
    }


def measured(run: Path) -> Frame:
    """The metrics of a run, with its timings as metrics of the split `timings`, named by their phase."""
    metrics, timings = (read_table(run / f"{name}.csv") for name in ("metrics", "timings"))
    timings = timings.rename(columns={"phase": "metric"}).assign(split="timings", step=0)
    return pd.concat([metrics, timings], ignore_index=True)


def compare_run(
    metrics: Frame, claims: tuple[Claim, ...], size: str, config: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Claim, numbers and verdict for each of `claims` about methods that `metrics` holds."""
    for claim in claims:
        values = _level(metrics, **{k: v for k, v in claim.where.items() if k not in ("baseline", "over")})
        if claim.change:
            values, baseline = values.align(_baseline(metrics, claim), join="inner")
            found = change_interval(values, baseline) if len(values) else None
        else:
            found = ours(claim, values, config) if len(values) else None
        if found is None:
            continue
        holds = verdict(claim, found, len(values), size)
        yield _row(claim, found, len(values), holds, _reason(claim, holds))


def _row(claim: Claim, found: Interval, seeds: int, holds: str, reason: str) -> dict[str, Any]:
    return {
        "id": claim.id,
        "claim": claim.claim if claim.change else f"{claim.where['method']}: {claim.claim}",
        **{name: str(claim.where.get(name, "")) for name in ("method", "split", "metric", "step")},
        "printed": " / ".join(claim.value),
        "published": claim.target,
        "ours": found.mean,
        "lo": found.lo,
        "hi": found.hi,
        "interval": found.kind,
        "unit": "relative change" if claim.change else "as in the paper",
        "seeds": seeds,
        "verdict": holds,
        "post_hoc": "post hoc" if claim.post_hoc else "",
        "reason": reason,
    }


def ours(claim: Claim, values: Frame, config: dict[str, Any]) -> Interval:
    """Our number beside a published level: of the same kind, a mean beside a mean."""
    if claim.trials:
        return proportion_interval(values, setting(config, claim.trials))
    if not claim.decades or values.min() <= 0:
        return t_interval(values)
    if not claim.mean:
        return log_t_interval(values)
    found = t_interval(values)
    return Interval(found.mean, max(found.lo, 0.0), found.hi, "t, not below 0")


def _reason(claim: Claim, holds: str) -> str:
    if holds == NOT_COMPARABLE:
        return claim.not_comparable
    if holds in (MATCHES, REPRODUCED) or not claim.cause:
        return ""
    return f"{claim.cause} ({claim.shown_by})"


def _baseline(metrics: Frame, claim: Claim) -> Frame:
    """The values of the baseline: the same metric of another method, or `over`, which is no point of a curve."""
    where: dict[str, Any] = {k: v for k, v in claim.where.items() if k not in ("baseline", "over")}
    if "over" in claim.where:
        where = {**where, "metric": claim.where["over"], "step": None}
    return _level(metrics, **{**where, "method": claim.where["baseline"]})


def _level(
    metrics: Frame, method: str, split: str, metric: str, step: int | None = None, seed: int | None = None
) -> Frame:
    """Values of one metric by seed; of one step of a curve and of one seed if they are given."""
    chosen = (metrics["method"] == method) & (metrics["split"] == split) & (metrics["metric"] == metric)
    for column, wanted in (("step", step), ("seed", seed)):
        chosen &= (metrics[column] == wanted) | (wanted is None)
    return metrics[chosen].set_index("seed")["value"].sort_index()


def line(row: Row) -> str:
    """A row on one line, with three significant digits."""
    numbers = f"published {row['published']:10.3g}  ours {row['ours']:10.3g}"
    run = f"{row['experiment']}/{row['size']}/{row['layer']}"
    return f"{row['verdict']:<15} {run:<32} {numbers}  {row['claim']}"


def main(arguments: list[str]) -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.compare", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the tables")
    parser.add_argument("--experiment", action="append", help="only this one, printed and not written")
    given = parser.parse_args(arguments)
    results = given.results
    with one_line():
        rows = compare(results, given.experiment)
        # The tables stand for all experiments: a part of them does not replace them.
        if given.experiment is None:
            write_table(results / "comparison.csv", rows)
            write_table(results / "contests.csv", contests(results, dict(sections("rivals"))))
    for row in rows:
        print(line(row))
    print(sentence(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
