"""Write the report: ``python -m tools.report``.

A run of your own in build/results comes before the tracked one; on a clone that has run nothing the page shows the
tracked results, and says so.
"""

import argparse
import sys
from os.path import relpath
from pathlib import Path

from experiments.common.errors import one_line
from experiments.common.results import write_text
from tools.report.page import page
from tools.report.sources import Sources
from tools.scores import RESULTS, ROOT


def main(arguments: list[str]) -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.report", description=__doc__)
    parser.add_argument(
        "--results", type=Path, help="folder of your runs; build/results if there is one, else results"
    )
    parser.add_argument("--figures", type=Path, help="figures drawn from them; build/figures unless given")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "report", help="folder of the page")
    given = parser.parse_args(arguments)
    results = given.results or ROOT / "build" / "results"
    if given.results is not None and not any(results.glob("*/*/*/provenance.json")):
        sys.exit(f"error: {results}: no run, expected <experiment>/<size>/<layer>/provenance.json")
    ours = results.resolve() != RESULTS.resolve() and any(results.glob("*/*/*/provenance.json"))
    with one_line():
        sources = Sources(results if ours else None, given.figures or ROOT / "build" / "figures")
        text = page(sources, given.output)
        given.output.mkdir(parents=True, exist_ok=True)
        write_text(given.output / "index.html", text)
    whose = (
        f"runs of {relpath(results)} and tracked ones"
        if ours
        else "the tracked results: nothing was run here"
    )
    print(f"{relpath(given.output / 'index.html')}: {len(text.encode('utf-8')) / 1000:.0f} kB, from {whose}")


if __name__ == "__main__":
    main(sys.argv[1:])
