"""Scores what a tracked run has learned, without training: `python -m experiments.evaluate experiment=sudoku`.

The parameters come out of <results>/<experiment>/<size>/<layer>/weights.npz and are scored on the data of their
seeds; each number stands beside the one in the table of the run. A number that is further from it than
the tolerances of its sheet allow is an error. Other settings: size=companion, layer=auto, results=results.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from experiments.common import weights
from experiments.common.cells import run_cells
from experiments.common.errors import one_line, require_one_of
from experiments.common.records import Place, read_csv
from experiments.common.results import DIGITS, Frame
from experiments.job import EXPERIMENTS, check_run, composed
from experiments.verify import agrees, rules_of

KEYS = ["experiment", "method", "seed", "split", "metric"]
DEFAULTS = {"size": "companion", "layer": "auto", "results": "results"}


def evaluate(results: Path, place: Place) -> Frame:
    """The final numbers of what the run at `place` learned: `scored` now, and the `value` in its table.

    Raises
    ------
    ConfigError
        If the run has kept no weights, is damaged, or was made with other settings than those of today.
    """
    module = EXPERIMENTS[place.experiment]
    config: Any = OmegaConf.to_object(composed(place.experiment, place.size, place.layer))
    check_run(results, place)
    kept = weights.read(results, place)
    config.workers = 1
    methods = [method for method in getattr(module, "LEARNED", ()) if method in config.methods]
    cells = [(method, seed) for method in methods for seed in config.seeds]
    with weights.given(kept), TemporaryDirectory() as folder:
        found = pd.DataFrame(run_cells(module.run_cell, config, cells, Path(folder))["metrics"])
    # With the digits of a table, so that equal numbers are equal.
    scored = _final(found, module.FINAL).map(_as_written).rename("scored")
    tracked = _final(read_csv(results, place, "metrics"), module.FINAL)
    return pd.concat([scored, tracked], axis=1, join="inner").reset_index()


def differing(table: Frame, rules: list[dict[str, Any]]) -> Frame:
    """The rows of `evaluate` whose two numbers differ by more than the `rules` of `make verify` allow."""
    far = [not agrees(row, row["value"], row["scored"], rules) for row in table.to_dict("records")]
    return table[far]


def _as_written(value: float) -> float:
    return float(DIGITS % value)


def _final(metrics: Frame, final: tuple[str, ...]) -> Frame:
    """Values by `KEYS`; the step is not asked: it is the epoch that training chose."""
    return metrics[metrics["metric"].isin(final)].set_index(KEYS)["value"]


def _chosen(arguments: list[str]) -> tuple[Path, Place]:
    parts = [word.partition("=") for word in arguments]
    words = {name: value for name, _, value in parts}
    for name in words:
        require_one_of("setting", name, ["experiment", *DEFAULTS])
    given = {**DEFAULTS, **words}
    require_one_of("experiment", given.get("experiment", ""), EXPERIMENTS)
    return Path(given["results"]), Place(given["experiment"], given["size"], given["layer"])


def main(arguments: list[str]) -> None:
    """Entry point of the command line."""
    if {"-h", "--help"} & {*arguments}:
        print(__doc__)
        return
    with one_line():
        results, place = _chosen(arguments)
        table = evaluate(results, place)
    print(table.to_string(index=False, float_format="{:.6g}".format))
    far = differing(table, rules_of(place.experiment))
    if len(far):
        sys.exit(
            f"{len(far)} of {len(table)} numbers are not those of the table:\n{far.to_string(index=False)}"
        )
    print(f"{len(table)} numbers of {place}, scored without training, are those of its table")


if __name__ == "__main__":
    main(sys.argv[1:])
