"""One run: check the settings, compute the cells, write the tables and, last, where they come from."""

import json
import logging
import math
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from experiments.common import weights
from experiments.common.cells import LOG, THREADS, forget_cells, provenance_of_cells
from experiments.common.errors import ConfigError
from experiments.common.lock import owned
from experiments.common.provenance import provenance, settings
from experiments.common.records import (
    PROVENANCE,
    Place,
    again,
    check_table,
    checksum,
    flat,
    folder_name,
    read_record,
)
from experiments.common.results import Row, Tables, write_table, write_text
from experiments.common.sheet_source import register
from experiments.common.sources import ROOT
from experiments.common.stats import scales, summarise
from layers import engines

CONFIGS = ROOT / "configs"
# A file of configs/experiment with a program of the same name is an experiment; others are settings of one of them.
EXPERIMENTS: dict[str, ModuleType] = {
    path.stem: import_module(f"experiments.{path.stem}")
    for path in sorted((CONFIGS / "experiment").glob("*.yaml"))
    if (ROOT / "experiments" / path.name).with_suffix(".py").exists()
}
# These say where a run computes and what it tells on the way, and not what: they name no other run.
WHERE = {"output", "workers", "device", "log"}

register()
# An engine has a file in configs/layer where more than its name is to be said.
LAYERS = sorted({*engines(), *(path.stem for path in (CONFIGS / "layer").glob("*.yaml"))})
for _name in LAYERS:
    if not (CONFIGS / "layer" / f"{_name}.yaml").exists():
        ConfigStore.instance().store(group="layer", name=_name, node={"solver": _name})
for _name, _module in EXPERIMENTS.items():
    ConfigStore.instance().store(
        group="experiment", name=f"{_name}_schema", node=_module.Config, package="_global_"
    )


def run(config: DictConfig, directory: Path) -> None:
    """Check `config`, run its experiment and write tables, summary and provenance into `directory`.

    Provenance is removed before the first table is replaced and written after the last one: where it lies, the tables
    are whole and its own.

    Raises
    ------
    ConfigError
        Before anything is computed, if a setting cannot be used or another process writes this folder.
    """
    given: Any = OmegaConf.to_object(config)
    given.check()
    module = EXPERIMENTS[given.experiment]
    start = time.perf_counter()
    with owned(directory), _logged(directory / "run.log"):
        tables: Tables = module.run(given, directory)
        check_finite(tables["metrics"], module.FINAL)
        tables["summary"] = summarise(pd.DataFrame(tables["metrics"]), module.FINAL, **scales(module, config))
        record = provenance(given, changes(given), provenance_of_cells(given, directory))
        record |= {"threads_per_process": THREADS, "seconds": round(time.perf_counter() - start, 1)}
        _replace(directory, tables, record)
        forget_cells(given, directory)


def check_finite(metrics: list[Row], final: tuple[str, ...]) -> None:
    """Raise a `ConfigError` that names the first of the `final` metrics which is no number."""
    for row in metrics:
        if row["metric"] in final and not math.isfinite(float(str(row["value"]))):
            what = f"{row['method']}, seed {row['seed']}: {row['metric']} on {row['split']} is {row['value']}"
            raise ConfigError(f"{what}: training went astray; a lower learning rate may help")


def composed(experiment: str, size: str, layer: str) -> DictConfig:
    """The configuration of an experiment in a size with a layer, nothing else changed."""
    chosen = [f"experiment={experiment}", f"size={size}", f"layer={layer}"]
    if GlobalHydra.instance().is_initialized():
        return compose("config", chosen)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("config", chosen)


def changes(given: Any) -> dict[str, Any]:
    """The settings, dotted, in which a run differs from the one of its experiment, size and solver, with its values."""
    plain = dict(flat(settings(given)))
    base = dict(flat(_standard(given.experiment, given.size, given.layer.solver)))
    names = (name for name in plain if name.rpartition(".")[2] not in WHERE)
    return {name: plain[name] for name in names if name not in base or base[name] != plain[name]}


def place(given: Any) -> Place:
    """Where the tables of a run belong: a run with anything changed has a folder of its own."""
    return Place(given.experiment, given.size, given.layer.solver, folder_name(changes(given)))


def check_run(results: Path, which: Place) -> dict[str, Any]:
    """The provenance of the run at `which` below `results`, whose tables and settings have been checked.

    Raises
    ------
    ConfigError
        Naming the table that is missing or damaged, or the setting that is another one in the files of today.
    """
    record = read_record(results, which)
    tables = sorted(path.name for path in (results / which.path).glob("*.csv"))
    for name in record.get("tables", tables):
        check_table(results / which.path / name, record, which)
    base = dict(flat(_standard(which.experiment, which.size, which.layer))) | record.get("changes", {})
    for name, value in flat(record["config"]):
        # A method or a seed that joined later makes an older run incomplete, and no other run.
        fewer = name in ("methods", "seeds") and set(value or ()) <= set(base[name] or ())
        if name.rpartition(".")[2] not in WHERE and base.get(name, value) != value and not fewer:
            raise ConfigError(
                f"{results / which.path}: {name} was {value} in this run and is {base[name]} in the files of today; "
                f"{again(which)}"
            )
    return record


@cache
def _standard(experiment: str, size: str, layer: str) -> dict[str, Any]:
    return settings(OmegaConf.to_object(composed(experiment, size, layer)))


def _replace(directory: Path, tables: Tables, record: dict[str, Any]) -> None:
    (directory / PROVENANCE).unlink(missing_ok=True)
    for path in (*directory.glob("*.csv"), directory / weights.FILE):
        path.unlink(missing_ok=True)
    learned = tables.pop("weights", [])
    for name, rows in tables.items():
        write_table(directory / f"{name}.csv", rows)
    if learned:
        weights.write(directory / weights.FILE, learned)
    written: list[str] = sorted([*(f"{name}.csv" for name in tables), *([weights.FILE] if learned else [])])
    record["tables"] = {name: checksum(directory / name) for name in written}
    write_text(directory / PROVENANCE, json.dumps(record, indent=2) + "\n")


class _Log(logging.FileHandler):
    """A log on a full disk fails like any other file, and not with a traceback of its own beside the run."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        assert error is not None
        raise error


@contextmanager
def _logged(path: Path) -> Generator[None]:
    """Append what the run says of its cells to `path`."""
    handler = _Log(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.disabled = False  # Hydra, told to log nothing, disables whatever logger there is
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        handler.close()
