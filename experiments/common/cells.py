"""An experiment is a set of cells, (method, seed) each; this runs them, in several processes if asked, and
can go on after an interruption: a finished cell waits on disk until the tables of the whole run have been
written.
"""

import json
import multiprocessing
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from experiments.common.provenance import fingerprint
from experiments.common.results import Tables, merge, write_text

# One thread in every process: sums run in the same order whatever the machine is doing, so that tables
# repeat.
THREADS = 1

Cell = tuple[str, int]
RunCell = Callable[[Any, str, int], Tables]


def run_cells(run_cell: RunCell, config: Any, cells: Sequence[Cell], directory: Path) -> Tables:
    """All rows of `run_cell(config, method, seed)` for (method, seed) in `cells`.

    Parameters
    ----------
    run_cell : callable
        A function of a module, so that other processes can import it; it must not depend on what ran before
        it.
    config : dataclass
        With the field `workers`: how many processes share the work. Their number changes no result.
    cells : sequence of (str, int)
        Methods and seeds.
    directory : path
        Where the finished cells wait; see `forget_cells`.
    """
    kept = directory / ".cells" / fingerprint(config)
    parts = {cell: kept / f"{cell[0]}-{cell[1]}.json" for cell in cells}
    missing = [cell for cell in cells if not parts[cell].exists()]
    with _progress() as progress:
        task = progress.add_task(config.experiment, total=len(cells), completed=len(cells) - len(missing))
        for cell, tables in _computed(run_cell, config, missing):
            write_text(parts[cell], json.dumps(tables))
            progress.update(task, advance=1, description=f"{config.experiment}: {cell[0]}, seed {cell[1]}")
    return merge(json.loads(part.read_text(encoding="utf-8")) for part in parts.values())


def forget_cells(directory: Path) -> None:
    """Remove the cells kept for a restart, once the tables made from them are safe."""
    shutil.rmtree(directory / ".cells", ignore_errors=True)


def _computed(run_cell: RunCell, config: Any, cells: list[Cell]) -> Iterator[tuple[Cell, Tables]]:
    if config.workers == 1 or len(cells) < 2:
        for cell in cells:
            yield _labelled(run_cell, config, cell)
        return
    # A forked process would inherit torch's thread pool in an undefined state, hence spawn. The workers leave
    # an interruption to this process, which ends them on its way out of the block.
    context = multiprocessing.get_context("spawn")
    processes, ignore = min(config.workers, len(cells)), (signal.SIGINT, signal.SIG_IGN)
    with context.Pool(processes, initializer=signal.signal, initargs=ignore) as pool:
        yield from pool.imap_unordered(partial(_labelled, run_cell, config), cells)


def _labelled(run_cell: RunCell, config: Any, cell: Cell) -> tuple[Cell, Tables]:
    return cell, _single_threaded(run_cell, config, cell)


def _single_threaded(run_cell: RunCell, config: Any, cell: Cell) -> Tables:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        return run_cell(config, *cell)
    finally:
        torch.set_num_threads(before)


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True)
