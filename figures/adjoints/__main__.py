"""Draw the figures of docs/adjoints.md: `python -m figures.adjoints` writes figures/adjoints/<name>.png."""

import argparse
import sys
from pathlib import Path

from experiments.common.errors import one_line
from figures import style
from figures.adjoints.strip import TABLES, adjoints, draw
from figures.program import found

FOLDER = Path(__file__).parent


def main(arguments: list[str]) -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m figures.adjoints", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the tables")
    parser.add_argument("--run", default="companion/auto", help="<size>/<layer>; companion/auto unless given")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the figures")
    given = parser.parse_args(arguments)
    style.apply()
    with one_line():
        tables, said = found(given.results, given.run, TABLES)
        given.output.mkdir(parents=True, exist_ok=True)
        for name in adjoints(tables):
            figure = draw(tables, name)
            style.note(figure, said)
            style.save(figure, given.output / name, ["png"])


if __name__ == "__main__":
    main(sys.argv[1:])
