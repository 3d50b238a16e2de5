"""Reading runs: a folder of tables says in its provenance.json whose they are, and every reader asks first.

A run lives in <results>/<experiment>/<size>/<layer>, and one whose settings were changed in a folder of its own below,
named by the changes. Nothing but the standard library and pandas is imported: the figures read here too.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd

from experiments.common.errors import ConfigError

PROVENANCE = "provenance.json"
# Said of what a run did not record because its program was older than the field.
UNKNOWN = "not recorded"
# Longer names of folders are cut and end in a digest; file systems stop at 255 bytes.
LONGEST = 100


@dataclass(frozen=True, order=True)
class Place:
    """Where a run belongs below a folder of results; `changes` is empty where nothing was changed."""

    experiment: str
    size: str
    layer: str
    changes: str = ""

    @property
    def path(self) -> Path:
        """The folder, relative to the results."""
        return Path(self.experiment, self.size, self.layer, self.changes)

    @property
    def run(self) -> str:
        """The part that figures take: <size>/<layer>, then the changes if there are any."""
        return self.path.relative_to(self.experiment).as_posix()

    def __str__(self) -> str:
        return self.path.as_posix()


def folder_name(changes: Mapping[str, Any]) -> str:
    """A name for `changes`, settings to values: readable and, where it had to be cut, ending in a digest of all."""
    text = ",".join(f"{key}={_plain(value)}" for key, value in sorted(changes.items()))
    name = re.sub(r"[^\w.,=\[\]+-]", "_", text)
    if name == text and len(name) <= LONGEST:
        return name
    return f"{name[:LONGEST]}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def places(results: Path, experiments: Iterable[str] | None = None) -> list[Place]:
    """Every place below `results`, of these `experiments` if given, that holds a run, a damaged one included."""
    found = {
        Place(*path.parent.relative_to(results).parts)
        for pattern in ("*/*/*", "*/*/*/*")
        for path in results.glob(f"{pattern}/*")
        if path.name == PROVENANCE or path.suffix == ".csv"
    }
    return sorted(place for place in found if experiments is None or place.experiment in experiments)


def read_record(results: Path, place: Place) -> dict[str, Any]:
    """The provenance of the run at `place`.

    Raises
    ------
    ConfigError
        If there is none, it cannot be read, or it is that of a run that belongs elsewhere.
    """
    path = results / place.path / PROVENANCE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        recorded = _recorded_place(record)
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing: no run has finished in this folder; {again(place)}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read ({error!r}); {again(place)}") from error
    if recorded != place:
        raise ConfigError(f"{path} is that of another run, {recorded}; {again(place)}")
    return record


def selected(
    results: Path,
    experiments: list[str] | None = None,
    sizes: list[str] | None = None,
    layers: list[str] | None = None,
    changed: bool = False,
) -> list[Place]:
    """The unchanged runs below `results`, and the `changed` ones if wanted; those asked for if any are.

    Raises
    ------
    ConfigError
        If there is none, or none of an experiment that was asked for.
    """
    chosen = [
        place
        for place in places(results)
        if (changed or not place.changes)
        and (experiments is None or place.experiment in experiments)
        and (sizes is None or place.size in sizes)
        and (layers is None or place.layer in layers)
    ]
    for experiment in experiments or [None]:
        if not any(experiment in (None, place.experiment) for place in chosen):
            wanted = {"experiment": [experiment] if experiment else None, "size": sizes, "layer": layers}
            asked = "".join(f" {name}={', '.join(names)}" for name, names in wanted.items() if names)
            raise ConfigError(
                f"{results}: no run{asked and ' of' + asked}, expected <experiment>/<size>/<layer>/{PROVENANCE}; "
                "python -m experiments.run makes one"
            )
    return chosen


def read_csv(results: Path, place: Place, name: str, **options: Any) -> Any:
    """The table `name` of the run at `place`, read with the `options` of pandas, once it is what the run wrote.

    Raises
    ------
    ConfigError
        If it is missing or damaged, or the folder is that of another run.
    """
    record, path = read_record(results, place), results / place.path / f"{name}.csv"
    check_table(path, record, place)
    return pd.read_csv(path, **options)


def check_table(path: Path, record: dict[str, Any], place: Place) -> None:
    """Raise a `ConfigError` unless the table at `path` is there and has the checksum of `record`, if that has any."""
    known = record.get("tables")
    if known is not None and path.name not in known:
        raise ConfigError(f"{path}: the run wrote no such table, only {', '.join(sorted(known))}")
    if not path.is_file():
        raise ConfigError(f"{path} is missing; {again(place)}")
    if known is not None and checksum(path) != known[path.name]:
        raise ConfigError(f"{path} is damaged: it is not what the run wrote; {again(place)}")


def checksum(path: Path) -> str:
    """Digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def again(place: Place) -> str:
    """What to do about a run that cannot be used."""
    changed = f" with its changes, {place.changes}" if place.changes else ""
    return f"`{command(place)}`{changed} makes it again"


def command(place: Place, changes: Mapping[str, Any] | None = None) -> str:
    """The command that makes the run at `place` with these `changes`."""
    chosen = {"experiment": place.experiment, "size": place.size, "layer": place.layer, **(changes or {})}
    return (
        f"python -m experiments.run {shlex.join(f'{name}={_plain(value)}' for name, value in chosen.items())}"
    )


def flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested settings by dotted name; an empty section is a leaf."""
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _recorded_place(record: dict[str, Any]) -> Place:
    config = record["config"]
    changes = record.get("changes") or {}
    return Place(config["experiment"], config["size"], config["layer"]["solver"], folder_name(changes))


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(_plain(each) for each in cast('list[Any]', value))}]"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
