"""The command line of `experiments.run`: the only user of Hydra's main."""

import os
import re
import shlex
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.common.errors import one_line
from experiments.common.overrides import check_command_line, parsed, spelled_out
from experiments.common.records import Place
from experiments.common.results import read_table
from experiments.common.sources import ROOT
from experiments.job import CONFIGS, place, run
from experiments.manual import of_experiment, overview
from layers import LayerError


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="config")
def _run_composed(config: DictConfig) -> None:
    # Inside Hydra already: it would print a line of its own before it lets an error pass.
    with one_screen():
        given: Any = OmegaConf.to_object(config)
        which, output = place(given), Path(given.output)
        run(config, output / which.path)
        print(told(output, which))


def execute(arguments: list[str]) -> None:
    """Run what `arguments` ask for, or leave with a message that fits on one screen."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    with one_screen():
        given = parsed(arguments)
        if given.help:
            print(of_experiment(given.overrides) if given.overrides else overview())
            return
        if not (given.hydra_help or given.shell_completion):
            check_command_line(CONFIGS, arguments)
        # Hydra takes options before all settings or after them, not between.
        options = [word for word in arguments if word not in given.overrides]
        sys.argv[1:] = [*map(spelled_out, given.overrides), *options]
        _run_composed()


@contextmanager
def one_screen() -> Generator[None]:
    """Turn every error that a user can mend into a message and an exit; any other is a fault of ours and passes."""
    try:
        with one_line("; what is finished is kept, the same command goes on from there"):
            yield
    except (LayerError, HydraException, OmegaConfBaseException) as error:
        sys.exit(f"error: {error}")
    except _of_a_cluster() as error:
        # What the run said before it left its own process stands among the words about that.
        said = re.search(r"^error: .*", str(error), re.DOTALL | re.MULTILINE)
        if said is None:
            raise
        sys.exit(said[0].strip())


def _of_a_cluster() -> tuple[type[Exception], ...]:
    """The errors that submitit has for a run that failed elsewhere, if it is used."""
    module: Any = sys.modules.get("submitit.core.utils")
    return () if module is None else (module.UncompletedJobError,)


def told(output: Path, which: Place) -> str:
    """What a finished run tells: its folder, its summary, and the command of its figures if it has any."""
    folder = output / which.path
    summary = read_table(folder / "summary.csv").drop(columns="experiment")
    lines = [summary.to_string(index=False, float_format="{:.4g}".format), f"tables: {folder}"]
    mark = f'"{which.experiment}/'
    stems = sorted(path.stem for path in (ROOT / "figures").glob("*.py") if mark in path.read_text("utf-8"))
    if stems:
        words = ["--results", str(output), "--run", which.run, "--output", "build/figures"]
        lines.append(f"figures: {shlex.join(['python', '-m', 'figures', *stems, *words])}")
    return "\n".join(lines)
