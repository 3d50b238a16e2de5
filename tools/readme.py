"""Carry the tracked results into README.md and docs/: ``python -m tools.readme``.

Each number, table and list stands between ``<!-- name -->`` and ``<!-- /name -->`` and comes from a file that a program
wrote; docs/results.md is such a page as a whole.
`make publish`, `make proofs` and `make bench` call it.
"""

import ast
import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import geometric_mean

from tools.adjoints_page import decisions, matrix
from tools.results_page import page as results
from tools.scores import ROOT, counted, losses, program_of, rows_of, scoreboard

README = ROOT / "README.md"
CHOOSING = ROOT / "docs" / "choosing.md"
GALLERY = ROOT / "docs" / "gallery.md"
RESULTS = ROOT / "docs" / "results.md"
GRADIENTS = ROOT / "layers" / "qp" / "gradients.py"
BENCHMARK = ROOT / "benchmarks" / "results.csv"
RATIOS = ROOT / "benchmarks" / "ratios.csv"
#: groups of rows that are averaged, as in benchmarks/report.py
COUNTED = ("peers", "applications", "latency")
#: and by themselves, as they lose
SPARSE = ("sparse", "large")


def minutes() -> str:
    """Return the time that the released run of `make reproduce` took, and on what."""
    paths = sorted((ROOT / "results").glob("*/companion/auto/provenance.json"))
    records = [json.loads(path.read_text("utf-8")) for path in paths]
    seconds = sum(record["seconds"] for record in records)
    processors = " and ".join(sorted({record["cpu"] for record in records}))
    workers = max(record["config"]["workers"] for record in records)
    return f"{seconds / 60:.0f} minutes on {workers} cores ({processors})"


def tally() -> str:
    """Return the first line of the ledger of proofs: how many checks pass."""
    found = re.search(r"^\*\*(.*)\*\*$", (ROOT / "proofs" / "LEDGER.md").read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise ValueError("proofs/LEDGER.md: expected a line in bold type with the tally; run `make proofs`")
    return found.group(1).rstrip(".")


def measured(path: Path = BENCHMARK) -> str:
    """Return the fastest accurate engine of each row of the benchmark, forward and backward together, as a table."""
    if not path.exists():
        return "\nNo table has been made yet: run `make bench`.\n"
    with path.open(encoding="utf-8", newline="") as file:
        timed = [row for row in csv.DictReader(file) if row["phase"] == "both" and row["median_ms"]]
    accurate = [
        row for row in timed if row["accurate"] == "True" and row["group"] not in ("accuracy", "convex")
    ]
    rows: dict[str, list[dict[str, str]]] = {}
    for row in sorted(accurate, key=lambda row: float(row["median_ms"])):
        rows.setdefault(row["row"], []).append(row)
    names = [name for name in dict.fromkeys(row["row"] for row in timed) if name in rows]
    if not names:
        return "\nThe last run has no row with an accurate time: run `make bench`.\n"
    head = [
        f"{accurate[0]['machine']}, {accurate[0]['threads']} threads; medians of forward and backward together.\n",
        "| row | batch, n, m, p | fastest accurate | ms | fastest of the other side, ours or a peer | ms |",
        "|---|---|---|---:|---|---:|",
    ]
    return "\n" + "\n".join([*head, *(_measured_row(name, rows[name]) for name in names)]) + "\n"


def linked(text: str) -> str:
    """Return ``text`` with every link to equation 8 in code at the line where the function stands now."""
    lines = GRADIENTS.read_text("utf-8").splitlines()
    at = next(i for i, line in enumerate(lines, 1) if line.startswith("def equation_8("))
    return re.sub(r"(\(layers/qp/gradients\.py#L)\d+\)", rf"\g<1>{at})", text)


def _measured_row(name: str, engines: list[dict[str, str]]) -> str:
    best = engines[0]
    others = [row for row in engines if row["ours"] != best["ours"]]
    cells = [name, ", ".join(best[k] for k in ("batch", "n", "m", "p"))]
    for row in (best, *others[:1]):
        cells += [f"`{row['engine']}`", f"{float(row['median_ms']):.3g}"]
    return "| " + " | ".join(cells + ["", ""] * (not others)) + " |"


def speed(path: Path = RATIOS) -> str:
    """Return our time against the fastest layer of others and the fastest bare solver of each row, in a sentence."""
    if not path.exists():
        return "run `make bench`"
    with path.open(encoding="utf-8", newline="") as file:
        everything = [row for row in csv.DictReader(file) if row["ratio"]]
    rows = [row for row in everything if row["group"] in COUNTED]
    ratios = {row["row"]: float(row["ratio"]) for row in rows}
    said = f"{_times(ratios)} as fast as the fastest accurate layer of others (geometric mean of {len(ratios)} rows"
    whole = f"{said}; least {min(ratios.values()):.2f})" + "".join(_bare_speed(rows))
    return whole + _sparse_speed([row for row in everything if row["group"] in SPARSE])


def _sparse_speed(rows: list[dict[str, str]]) -> str:
    """Return the same of sparse programs, where there are some."""
    if not rows:
        return ""
    layers, bare = ({r["row"]: float(r[c]) for r in rows if r.get(c)} for c in ("ratio", "bare_ratio"))
    of_bare = f", {geometric_mean(bare.values()):.1f} a bare solver ({len(bare)})" if bare else ""
    return f"; sparse: {_times(layers)} a layer ({len(layers)} rows){of_bare}"


def _bare_speed(rows: list[dict[str, str]]) -> Iterator[str]:
    """Yield the same against a bare solver in a Python loop, with a backward pass behind it and without a gradient."""
    for what, column in (
        ("a bare solver in a loop with a backward pass", "bare_ratio"),
        ("one without a gradient", "alone_bare_ratio"),
    ):
        found = {row["row"]: float(row[column]) for row in rows if row.get(column)}
        if found:
            slower = sum(ratio < 1 for ratio in found.values())
            yield f", {_times(found)} {what} (least {min(found.values()):.2f}; slower in {slower})"


def _times(ratios: dict[str, float]) -> str:
    return f"{geometric_mean(ratios.values()):.1f} times"


def gallery() -> str:
    """Return every tracked figure under the script that draws it, with what the script says of figure and marks."""
    by_script: dict[Path, list[Path]] = {}
    for picture in sorted((ROOT / "figures").rglob("*.png")):
        script = program_of(picture)
        if script.exists():
            by_script.setdefault(script.relative_to(ROOT), []).append(picture.relative_to(ROOT))
    return "\n" + "\n".join(_shown(script, by_script[script]) for script in sorted(by_script)) + "\n"


def _shown(script: Path, pictures: list[Path]) -> str:
    title, caption = described(script)
    said = f"\n{caption}\n" if caption else ""
    images = "\n\n".join(f"![{title}](../{picture})" for picture in pictures)
    return f"## [`{script}`](../{script})\n\n{title}\n\n{images}\n{said}"


def described(script: Path) -> tuple[str, str]:
    """Return what a script of a figure says of it: the first line of the program, and of ``draw`` everything."""
    program = ast.parse((ROOT / script).read_text("utf-8"))
    title = (ast.get_docstring(program) or "").partition("\n")[0]
    draws = [node for node in program.body if isinstance(node, ast.FunctionDef) and node.name == "draw"]
    return title, " ".join(" ".join((ast.get_docstring(node) or "").split()) for node in draws)


Blocks = dict[str, Callable[[], str]]
BLOCKS: Blocks = {
    "minutes": minutes,
    "counted": lambda: counted(rows_of("comparison")),
    "scoreboard": lambda: scoreboard(rows_of("comparison")),
    "losses": lambda: losses(rows_of("contests")),
    "speed": speed,
    "tally": tally,
}
CHOOSING_BLOCKS: Blocks = {"decisions": decisions, "adjoints": matrix, "measured": measured}
GALLERY_BLOCKS: Blocks = {"gallery": gallery}


def filled(text: str, blocks: Blocks = BLOCKS, page: str = "README.md") -> str:
    """Return ``text`` with every marked place filled from the tracked results.

    Raises
    ------
    ValueError
        If a mark is missing, so that a number cannot quietly leave the page.
    """
    for name, render in blocks.items():
        mark = re.compile(rf"(<!-- {name} -->).*?(<!-- /{name} -->)", re.DOTALL)
        if not mark.search(text):
            raise ValueError(f"{page}: expected <!-- {name} --> ... <!-- /{name} -->")
        block = render()
        text = mark.sub(lambda found, block=block: f"{found.group(1)}{block}{found.group(2)}", text)
    return text


if __name__ == "__main__":
    README.write_text(linked(filled(README.read_text("utf-8"))), "utf-8")
    RESULTS.write_text(results(), "utf-8")
    for page, blocks in ((CHOOSING, CHOOSING_BLOCKS), (GALLERY, GALLERY_BLOCKS)):
        page.write_text(filled(page.read_text("utf-8"), blocks, page.name), "utf-8")
