"""docs/results.md, from the tracked comparison: every published number beside ours, every cause, every setting."""

from itertools import groupby

from experiments.common import verdicts
from tools.lessons import lessons
from tools.scores import Rows, behind, counted, interval, meetings, met, rows_of, scoreboard, title

FEW = f"the interval holds the printed number, but is of fewer than {verdicts.SEEDS} seeds"
HEAD = "| claim | printed | ours [95 % interval] | seeds | verdict |\n|---|---:|---|---:|---|"


def page() -> str:
    """Return the whole page."""
    rows, contests = rows_of("comparison"), rows_of("contests")
    return "\n".join(
        [
            "# Published numbers beside ours",
            "",
            "Written by `python -m tools.readme` from `results/comparison.csv` and `results/contests.csv`, which",
            "`python -m experiments.compare` computes from the tracked tables. What was published stands with its",
            "source in the sheets, `configs/experiment/`, the rules in `experiments/common/verdicts.py`.",
            "",
            f"**{counted(rows)}**",
            "",
            rules(),
            "",
            scoreboard(rows).replace("](", "](../").strip(),
            "",
            "Minutes are of the companion's size. Where nothing is counted, nothing was published or can be compared.",
            "",
            "## What was learned",
            "",
            "In the words of the sheets, with the numbers of the tracked tables: means over seeds, changes seed by "
            "seed, 95 % intervals.",
            "",
            lessons(),
            "",
            "## Where the layer loses",
            "",
            f"{meetings(contests)} Pairs are of the same seeds. Lost:",
            "",
            met([row for row in contests if row["outcome"] == "loses"]),
            behind(contests),
            "",
            "Open, behind or ahead:",
            "",
            met([row for row in contests if row["outcome"] == "open"]),
            "## What was missed, and why",
            "",
            missed(rows),
            "",
            *(
                application(name, list(group))
                for name, group in groupby(rows, key=lambda row: row["experiment"])
            ),
        ]
    )


def rules() -> str:
    """Return the rule of each verdict as the program states it."""
    return "\n".join(f"- **{name}**: {rule}" for name, rule in rule_of_each().items())


def rule_of_each() -> dict[str, str]:
    """Return verdict -> rule, read from the table that the program of the verdicts begins with."""
    found: dict[str, str] = {}
    for line in (verdicts.__doc__ or "").split("=  =")[1].split("\n")[1:-1]:
        name, text = line[:17].strip(), line[17:].strip()
        last = name or list(found)[-1]
        found[last] = f"{found.get(last, '')} {text}".strip()
    return found


def missed(rows: Rows) -> str:
    """Return every comparable row that neither matches nor is reproduced, with its cause if one is known."""
    lines: dict[str, None] = {}
    for row in rows:
        if cause := cause_of_miss(row):
            numbers = f"printed {row['printed']}, ours {ours(row)}, {row['seeds']} seeds"
            place = f"`{row['experiment']}`, {run_of(row)}, **{row['verdict']}**"
            lines[f"- {place}: {row['claim']} ({numbers}): {cause}."] = None
    return "\n".join(lines)


def cause_of_miss(row: dict[str, str]) -> str:
    """Return why a comparable row neither matches nor is reproduced, or that nobody knows; nothing for other rows."""
    if row["verdict"] in (verdicts.MATCHES, verdicts.REPRODUCED, verdicts.NOT_COMPARABLE):
        return ""
    few = row["lo"] and float(row["lo"]) <= float(row["published"]) <= float(row["hi"])
    return row["reason"] or (FEW if few and int(row["seeds"]) < verdicts.SEEDS else "cause unknown")


def application(experiment: str, rows: Rows) -> str:
    """Return the section of one application: settings and every row, by run."""
    parts = [f"## {title(experiment)}", "", f"`{experiment}`. {rows[0]['source']}.", ""]
    for run, group in groupby(sorted(rows, key=run_of, reverse=True), key=run_of):
        of_run = sorted(group, key=lambda row: verdicts.VERDICTS.index(row["verdict"]))
        parts += [
            f"### {experiment}, {run}",
            "",
            f"Settings: {of_run[0]['note']}. `{of_run[0]['command']}`",
            "",
        ]
        compared = [row for row in of_run if row["verdict"] != verdicts.NOT_COMPARABLE]
        if compared:
            parts += [HEAD, *(_line(row) for row in compared), ""]
        parts += _aside([row for row in of_run if row["verdict"] == verdicts.NOT_COMPARABLE])
    return "\n".join(parts)


def _aside(rows: Rows) -> list[str]:
    parts: list[str] = []
    for reason, group in groupby(sorted(rows, key=lambda row: row["reason"]), key=lambda row: row["reason"]):
        parts += [f"Not comparable, {reason}:", "", HEAD, *(_line(row) for row in group), ""]
    return parts


def _line(row: dict[str, str]) -> str:
    verdict = row["verdict"] + (", post hoc" if row["post_hoc"] else "")
    cells = (row["claim"], printed(row), ours(row), row["seeds"], verdict)
    return "| " + " | ".join(cells) + " |"


def printed(row: dict[str, str]) -> str:
    """Return the published number as it is printed, a change also in per cent or as a factor."""
    if row["unit"] != "relative change":
        return row["printed"]
    return f"{interval({**row, 'lo': '', 'hi': ''}, 'published', relative=True)} ({row['printed']})"


def ours(row: dict[str, str]) -> str:
    """Return our number with its interval, or with a digit more than the published one; nothing where no run has it."""
    if not row["ours"]:
        return ""
    relative = row["unit"] == "relative change"
    if row["lo"] or relative:
        return interval(row, "ours", relative)
    # A single number is shown with a digit more than the printed one has.
    return f"{float(row['ours']):.{_digits(row['printed']) + 1}g}"


def _digits(number: str) -> int:
    return max(3, len(number.lower().split("e")[0].replace(".", "").lstrip("-0")))


def run_of(row: dict[str, str]) -> str:
    """Return the size of a run, with its layer where that is not ours."""
    return row["size"] if row["layer"] == "auto" else f"{row['size']}, layer={row['layer']}"
