"""An experiment is a set of cells, (method, seed) each; this runs them, in several processes if asked, and
can go on after an interruption: a finished cell waits on disk until the tables of the whole run have been
written.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch

from experiments.common.bars import Bars
from experiments.common.checkpoint import checkpoints, forget_checkpoints
from experiments.common.errors import ConfigError
from experiments.common.provenance import cell_provenance, fingerprint
from experiments.common.results import Tables, merge, write_text
from experiments.common.watch import listening, logged
from experiments.common.workers import shared
from layers import LayerError

LOG = logging.getLogger("experiments")

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
        Where the finished cells wait; see `provenance_of_cells` and `forget_cells`.
    """
    files = {cell: _folder(config, directory) / f"{cell[0]}-{cell[1]}.json" for cell in cells}
    kept = {cell: tables for cell, path in files.items() if (tables := _kept(path)) is not None}
    missing = [cell for cell in cells if cell not in kept]
    with Bars(config.experiment, len(cells), len(kept)) as bars:
        for cell, (tables, record) in _computed(run_cell, config, missing, directory, bars):
            kept[cell] = _keep(files[cell], tables, record)
            LOG.info("%s, seed %d: %.1f s", *cell, record["seconds"])
            bars.finished(cell)
    return merge(kept[cell] for cell in cells)


def provenance_of_cells(config: Any, directory: Path) -> list[dict[str, Any]]:
    """What the finished cells of `config` say of their origin, by method and seed."""
    heads = [path.read_text("utf-8").split("\n", 1)[0] for path in _folder(config, directory).glob("*.json")]
    records = [json.loads(head)["provenance"] for head in heads]
    return sorted(records, key=lambda record: (record["method"], record["seed"]))


def forget_cells(config: Any, directory: Path) -> None:
    """Remove the cells of `config`, and of nothing else, once the tables made from them are safe."""
    shutil.rmtree(_folder(config, directory), ignore_errors=True)
    with suppress(OSError):  # cells of other settings or sources wait there too
        _folder(config, directory).parent.rmdir()


def _folder(config: Any, directory: Path) -> Path:
    return directory / ".cells" / fingerprint(config)


def _keep(path: Path, tables: Tables, record: dict[str, Any]) -> Tables:
    """Write a cell: a line with its origin and a digest of the second line, its tables."""
    body = json.dumps(tables)
    head = json.dumps({"digest": hashlib.sha256(body.encode()).hexdigest(), "provenance": record})
    write_text(path, f"{head}\n{body}")
    forget_checkpoints(path.with_suffix(""))
    return json.loads(body)


def _kept(path: Path) -> Tables | None:
    """The tables of a finished cell; None if there are none, or they are not what was written."""
    if not path.exists():
        return None
    head, _, body = path.read_bytes().partition(b"\n")
    with suppress(ValueError, KeyError, TypeError):
        if json.loads(head)["digest"] == hashlib.sha256(body).hexdigest():
            return json.loads(body)
    LOG.warning("%s is damaged and is computed again", path)
    path.unlink()
    return None


def _computed(
    run_cell: RunCell, config: Any, cells: list[Cell], directory: Path, bars: Bars
) -> Iterator[tuple[Cell, tuple[Tables, dict[str, Any]]]]:
    work = partial(_watched, directory, run_cell, config)
    if config.workers > 1 and len(cells) > 1:
        yield from shared(work, cells, config.workers, bars.hears if bars.shown else None)
        return
    for cell in cells:
        with listening(partial(bars.hears, cell) if bars.shown else None):
            found = work(cell)
        yield cell, found


def _watched(directory: Path, run_cell: RunCell, config: Any, cell: Cell) -> tuple[Tables, dict[str, Any]]:
    """One cell, whose trainings are kept now and then, and logged if that was asked for."""
    name = f"{cell[0]}-{cell[1]}"
    log = logged(config.log, directory / "events" / name)
    with checkpoints(_folder(config, directory) / name), log:
        return _single_threaded(run_cell, config, cell)


def _single_threaded(run_cell: RunCell, config: Any, cell: Cell) -> tuple[Tables, dict[str, Any]]:
    """The tables of one cell, and where they come from."""
    before, start = torch.get_num_threads(), time.perf_counter()
    torch.set_num_threads(THREADS)
    try:
        tables = run_cell(config, *cell)
    except LayerError as error:
        raise ConfigError(f"{cell[0]}, seed {cell[1]}: {error}") from error
    finally:
        torch.set_num_threads(before)
    return tables, cell_provenance(config, *cell, time.perf_counter() - start)
