"""The ledger as Markdown and as a table on the terminal, and the tables of results as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table as RichTable

from proofs.ledger import Check, Erratum, Rows, Verdict

Entry = tuple[Check, Verdict]

TITLES = {
    1: "Argmin differentiation",
    2: "Implicit function theorem on the KKT system of a QP",
    3: "OptNet, Theorem 1: where the solution map is differentiable",
    4: "OptNet, Theorems 2 and 3: what a QP layer represents",
    5: "Duality and sensitivity",
    6: "Projections as layers",
    7: "Cone programs",
    8: "Disciplined parametrized programs and the affine–solver–affine form",
    9: "Unrolling and alternating differentiation",
    10: "Cost of the backward pass",
    11: "Invariances",
}


def bound_above(error: float) -> str:
    """`error` rounded up to a power of ten, so that a last bit does not change the ledger."""
    if not math.isfinite(error):
        return str(error)
    return "0" if error == 0 else f"1e{math.ceil(math.log10(error)):+03d}"


def bound_below(error: float) -> str:
    """`error` rounded down to a power of ten."""
    if not math.isfinite(error):
        return str(error)
    return "0" if error == 0 else f"1e{math.floor(math.log10(error)):+03d}"


def tally(entries: Sequence[Entry]) -> str:
    """The ledger in one line: what passed, of which strength, over how many instances."""
    passed = sum(verdict.passed for _, verdict in entries)
    strengths = Counter(entry.strength for entry, _ in entries)
    kinds = ", ".join(f"{strengths[kind]} {kind}" for kind in ("symbolic", "numeric", "certified"))
    instances = sum(verdict.instances for _, verdict in entries)
    return f"{passed} of {len(entries)} checks pass ({kinds}) over {instances} instances"


def markdown(entries: Sequence[Entry], errata: Sequence[Erratum], pages: Path) -> str:
    """The whole of ``LEDGER.md``.

    Parameters
    ----------
    entries : sequence of (Check, Verdict)
        In any order; they are sorted by item.
    errata : sequence of Erratum
        Each is printed with the verdict of the checks behind it.
    pages : Path
        Folder of the pages ``<item>-<name>.md`` that the sections link to.
    """
    every = all(verdict.passed for _, verdict in entries)
    lines = ["# Ledger of proofs", "", f"**{tally(entries)}.**"]
    if every:
        lines += [
            "Each has a negative check, a wrong formula or a dropped hypothesis, which fails as it must."
        ]
    lines += [
        f"{len(errata)} errata of the printed literature stand at the end. `make proofs` writes this file.",
        "",
        "Largest errors are rounded up to a power of ten and errors of the negative checks down, so that",
        "rounding does not change this file. Symbolic: 0 where the identity simplifies to zero.",
        "Numeric: a relative error. Certified: a rigorous upper bound, by balls or by exact rationals.",
    ]
    for item in sorted({entry.item for entry, _ in entries}):
        lines += ["", f"## {item}. {TITLES.get(item, 'Further checks')}", ""]
        page = next(iter(sorted(pages.glob(f"{item:02d}-*.md"))), None)
        if page is not None:
            lines += [f"[Statement and proof](../docs/proofs/{page.name})", ""]
        lines += [
            "| statement | source | strength | instances | largest error | tolerance | negative check | its "
            "error | pass |",
            "|---|---|---|---:|---:|---:|---|---:|---|",
        ]
        lines += [_row(entry, verdict) for entry, verdict in entries if entry.item == item]
    if errata:
        lines += ["", "## Errata", ""]
        lines += [
            _erratum(entry, {id(c): v for c, v in entries}) for entry in sorted(errata, key=lambda e: e.item)
        ]
    return "\n".join(lines) + "\n"


def terminal(entries: Sequence[Entry]) -> RichTable:
    """The same for the terminal, with the time of each check."""
    shown = RichTable(title=tally(entries))
    for column in ("item", "check", "strength", "instances", "error", "tolerance", "negative", "s", "pass"):
        shown.add_column(column, justify="left" if column in ("check", "strength") else "right")
    for entry, verdict in entries:
        shown.add_row(
            str(entry.item),
            entry.name,
            entry.strength,
            str(verdict.instances),
            f"{verdict.error:.1e}",
            f"{entry.tolerance:.0e}",
            f"{verdict.negative_error:.1e}",
            f"{verdict.seconds:.1f}",
            "yes" if verdict.passed else f"NO: {verdict.reason}",
        )
    return shown


def comma_separated(rows: Rows) -> str:
    """Rows as CSV with eight significant digits; the columns are the first row's keys."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {key: f"{value:.8g}" if isinstance(value, float) else value for key, value in row.items()}
        )
    return text.getvalue()


def _row(entry: Check, verdict: Verdict) -> str:
    cells = (
        entry.statement,
        entry.source,
        entry.strength,
        str(verdict.instances),
        bound_above(verdict.error),
        bound_above(entry.tolerance),
        entry.negative_text,
        bound_below(verdict.negative_error),
        "yes" if verdict.passed else f"**no**: {verdict.reason}",
    )
    # A bar inside a cell would end it.
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _erratum(entry: Erratum, verdicts: dict[int, Verdict]) -> str:
    names = ", ".join(f"`{c.name}`" for c in entry.checks)
    held = all(id(c) in verdicts and verdicts[id(c)].passed for c in entry.checks)
    state = "verified by" if held else "**not verified** by"
    head = f"- **{entry.where}** (item {entry.item})"
    return f"{head}. Printed: {entry.printed}. Correct: {entry.correct}. Here {state} {names}."
