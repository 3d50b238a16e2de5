"""The sheet of an experiment, configs/experiment/<name>.yaml: all that is said of it outside of its program.

Settings aside, which Hydra composes, a sheet has six sections, each of which may be absent:

sizes
    By size what differs from the defaults of the program; `smoke` (seconds), `companion` (a minute), `paper`.
published
    The publication: paper, settings (how our sizes differ from it), defaults and claims (common/claims.py).
rivals
    Which methods with a layer meet which without one (common/rivals.py).
tolerances
    How far a rerun of it may be from the tracked tables (verify.py).
labels
    By method, in the order of the figures, its name and its colour.
lesson
    What was learned, in words with numbers of the tables in them (tools/lessons.py).

Nothing of torch is imported: the figures read here too.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError

from experiments.common.errors import ConfigError
from experiments.common.sources import ROOT, SECTIONS, blocks

SHEETS = ROOT / "configs" / "experiment"


@cache
def section(path: Path, name: str) -> Any:
    """The section `name` of the sheet at `path` as plain values, None if it has none.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    lines = blocks(path.read_text(encoding="utf-8")).get(name)
    return None if lines is None else read(lines, path).get(name)


def sections(name: str, folder: Path = SHEETS) -> Iterator[tuple[str, Any]]:
    """Experiment and section `name` of every sheet that has it."""
    for path in sorted(folder.glob("*.yaml")):
        found = section(path, name)
        if found is not None:
            yield path.stem, found


def settings(path: Path) -> dict[str, Any]:
    """What the sheet at `path` says beside its sections; an experiment that says nothing has its program's defaults."""
    said = blocks(path.read_text(encoding="utf-8"))
    found = read("\n".join(lines for key, lines in said.items() if key not in SECTIONS), path)
    return {"defaults": [f"{path.stem}_schema", "_self_"], "experiment": path.stem} | found


def read(text: str, path: Path) -> dict[str, Any]:
    """The YAML of `text`, which stands in the file at `path`, interpolations unresolved.

    Raises
    ------
    ConfigError
        If it is no mapping, with the line.
    """
    try:
        found: Any = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except YAMLError as error:
        told = re.sub(r"\s+", " ", str(error))
        raise ConfigError(f"{path}: {told}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: expected settings and sections, name: value, got {text[:40]!r}")
    return {str(key): value for key, value in found.items()}
