"""Where the layer wins and where it loses: every method with a layer against every method without one on the same data.

What meets what, on what data and by which metric, stands in the sections `rivals` of the sheets in configs/experiment;
the outcome is computed, paired over seeds. Of a meeting there:

layer, rivals
    Methods that learn or are tuned through a layer, and everything else that does the same task.
splits, metric, good
    Where they meet, by which number, and which direction of it is good.
difference
    Whether a metric that may be zero or negative is compared by its paired difference; others are by their ratio.
table
    `intervals` takes differences and block-bootstrap intervals over months from the table of that name, `timings` its
    phases; `metrics` otherwise.
of
    The name of one data set in the rows, where it is not the experiment's.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.common.results import Frame, read_table
from experiments.common.stats import Interval, change_interval, t_interval

OUTCOMES = ("wins", "open", "loses")


def contests(results: Path, rivals: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row for each pair of `rivals`, from the run with our layer of the paper's size, else of the companion's.

    A row `wins` or `loses` where the 95 % interval of the paired change leaves out no change, and is `open` elsewhere.
    A method meets nobody in a run that it was not in: what joined later is taken from the size that has it.
    """
    rows: list[dict[str, Any]] = []
    for experiment, meetings in rivals.items():
        for meeting in meetings:
            met: dict[tuple[str, ...], dict[str, Any]] = {}
            for size in ("companion", "paper"):
                run = results / experiment / size / "auto"
                if (run / "metrics.csv").exists():
                    command = f"python -m experiments.run experiment={experiment} size={size} layer=auto"
                    for row in _meeting(experiment, run, meeting):
                        pair = tuple(row[name] for name in ("split", "method", "rival"))
                        met[pair] = {**row, "size": size, "command": command}
            rows += met.values()
    return rows


def outcome(change: Interval, good: str) -> str:
    """`wins`, `loses` or `open` for a change of what the layer reaches against what its rival does."""
    if change.lo > 0:
        return "wins" if good == "up" else "loses"
    if change.hi < 0:
        return "wins" if good == "down" else "loses"
    return "open"


def _meeting(experiment: str, run: Path, meeting: dict[str, Any]) -> Iterator[dict[str, Any]]:
    table = read_table(run / f"{meeting.get('table', 'metrics')}.csv")
    if meeting.get("table") == "timings":
        table = table.rename(columns={"phase": "metric"}).assign(split="timings")
    table = table[
        (table["experiment"] == meeting.get("of", experiment)) & (table["metric"] == meeting["metric"])
    ]
    seeds = read_table(run / "metrics.csv").groupby("method")["seed"].nunique().to_dict()
    for split in meeting["splits"]:
        for method in meeting["layer"]:
            for rival in meeting["rivals"]:
                found = _met(table[table["split"] == split], method, rival, meeting, seeds)
                if found is None:
                    continue
                change, count = found
                relative = not meeting.get("difference") and meeting.get("table") != "intervals"
                yield {
                    "experiment": meeting.get("of", experiment),
                    "method": method,
                    "rival": rival,
                    "split": split,
                    "metric": meeting["metric"],
                    "change": change.mean,
                    "lo": change.lo,
                    "hi": change.hi,
                    "interval": change.kind,
                    "unit": "relative change" if relative else "difference",
                    "good": meeting["good"],
                    "seeds": count,
                    "outcome": outcome(change, meeting["good"]),
                }


def _met(
    table: Frame, method: str, rival: str, meeting: dict[str, Any], seeds: dict[str, int]
) -> tuple[Interval, int] | None:
    """The change of `method` against `rival` and its number of seeds; None where one of them was not run."""
    ours = table[table["method"] == method]
    if meeting.get("table") == "intervals":
        ours = ours[ours["baseline"] == rival]
        if ours.empty:
            return None
        (row,) = ours.to_dict("records")
        return Interval(row["mean"], row["lo"], row["hi"], "block bootstrap of months"), seeds[method]
    mine, theirs = (
        table[table["method"] == name].set_index("seed")["value"].sort_index() for name in (method, rival)
    )
    mine, theirs = mine.align(theirs, join="inner")
    if mine.empty:
        return None
    pair = mine.to_numpy(), theirs.to_numpy()
    change = t_interval(pair[0] - pair[1]) if meeting.get("difference") else change_interval(*pair)
    return change, len(mine)
