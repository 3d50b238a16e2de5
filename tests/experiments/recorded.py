"""Provenance for tables that a test wrote: what makes a folder a run."""

import json
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from experiments.common.provenance import settings
from experiments.common.records import PROVENANCE, checksum
from experiments.job import composed


@cache
def _settings(experiment, size, layer):
    return settings(OmegaConf.to_object(composed(experiment, size, layer)))


def record(folder: Path, **changed) -> None:
    """Write beside the tables of `folder`, <...>/<experiment>/<size>/<layer>, the provenance of an unchanged run.

    What is `changed` replaces fields of it.
    """
    tables = {path.name: checksum(path) for path in folder.glob("*.csv")}
    whole = {"config": _settings(*folder.parts[-3:]), "changes": {}, "tables": tables, "seconds": 1.0}
    (folder / PROVENANCE).write_text(json.dumps(whole | changed))
