"""What `python -m experiments.run --help` says: nothing is written here that the programs do not know themselves."""

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from itertools import takewhile
from typing import Any

from hydra import initialize_config_dir
from omegaconf import OmegaConf

from experiments.common.overrides import compose_checked
from experiments.common.provenance import settings
from experiments.common.records import flat
from experiments.common.sources import ROOT
from experiments.job import CONFIGS, EXPERIMENTS, LAYERS
from layers import adjoint, adjoints, engines

USAGE = """usage: python -m experiments.run [experiment=NAME] [size=SIZE] [layer=LAYER] [setting=value ...] [options]

  experiment=NAME --help   every setting of one experiment
  -m, --multirun           one run for each combination of values: 'layer=auto,qpth' 'seeds=[0],[1]'
  --cfg job, --info        the composed settings without a run; Hydra's own reports; --hydra-help tells of them
"""

_MARK = re.compile(r"\s*#:")


def overview() -> str:
    """The experiments, sizes, layers and adjoints that there are here."""
    sizes = sorted(path.stem for path in (CONFIGS / "size").glob("*.yaml"))
    lines = [USAGE, "experiments, with the minutes of the tracked runs where there are any"]
    for name, module in EXPERIMENTS.items():
        times = ", ".join(filter(None, (_minutes(name, size) for size in sizes)))
        lines.append(f"  {name:<18} {_title(module.__doc__)}{f' ({times})' if times else ''}")
    lines += ["", f"sizes: {', '.join(sizes)} (smoke takes seconds, its numbers mean nothing)", "", "layers"]
    for name in LAYERS:
        reason = engines().get(name)
        lines.append(f"  {name:<18} {'available' if reason is None else reason}")
    lines += ["", "layer.adjoint, and where its derivative is the true one"]
    lines += [f"  {name:<18} {exact}" for name, exact in adjoints().items()]
    return "\n".join(lines)


def of_experiment(words: list[str]) -> str:
    """Every setting of the experiment that `words` choose: value as composed, default, unit, and what it means.

    Raises
    ------
    ConfigError
        If `words` name something that does not exist.
    """
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config: Any = OmegaConf.to_object(compose_checked(words))
    module = EXPERIMENTS[config.experiment]
    lines = [f"experiment={config.experiment} size={config.size}: {_title(module.__doc__)}", ""]
    lines += [textwrap.dedent(module.Config.__doc__ or "").strip(), ""]
    told, defaults = meanings(module.Config), dict(flat(settings(module.Config)))
    rows = [("setting", "here", "default", "unit", "meaning")]
    for name, value in flat(settings(config)):
        meaning, unit = meaning_of(told, name)
        rows.append((name, _short(value), _short(defaults.get(name, "")), unit, meaning))
    widths = [max(len(row[place]) for row in rows) for place in range(4)]
    for row in rows:
        columns = [cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)]
        lines.append("  ".join([*columns, row[4]]).rstrip())
    lines += ["", *(f"{name}: {text}" for name, text in _sections(module.Config))]
    methods = getattr(module, "METHODS", ())
    return "\n".join([*lines, *([f"methods: {', '.join(methods)}"] if methods else [])])


def meanings(config: type) -> dict[str, tuple[str, str]]:
    """Meaning and unit of every setting of the dataclass `config`, by dotted name, both "" where nothing is said.

    They are the comment of a field that begins with `#:` and ends with the unit, [1] where there is none; it stands
    behind the field, or above it. A class that gives a field another default leaves what it means to the class below.
    """
    found = {"methods": ("some of those below", "")}
    for name, each, comment in _fields(config):
        if name != "methods" and _section(each) is None:
            found[name] = _split(comment)
    found["layer.adjoint.name"] = ("an adjoint; --help lists them", "")
    return found | {f"layer.adjoint.{key}": said for key, said in _of_adjoints().items()}


def meaning_of(told: dict[str, tuple[str, str]], name: str) -> tuple[str, str]:
    """Meaning and unit of the setting `name`: what is said of a setting with entries is said of each of them."""
    place = max((each for each in told if f"{name}.".startswith(f"{each}.")), key=len, default="")
    return told.get(place, ("", ""))


def _fields(config: type, prefix: str = "") -> Iterator[tuple[str, Field[Any], str]]:
    """The fields of `config` and of its sections, by dotted name, with their comments."""
    comments = {k: v for base in reversed(config.__mro__) if is_dataclass(base) for k, v in _comments(base)}
    for each in fields(config):
        yield f"{prefix}{each.name}", each, comments.get(each.name, "")
        section = _section(each)
        if section is not None:
            yield from _fields(section, f"{prefix}{each.name}.")


def _comments(config: type) -> Iterator[tuple[str, str]]:
    """The fields that a class itself declares, and the comments that begin with `#:`."""
    source = textwrap.dedent(inspect.getsource(config))
    lines = source.splitlines()
    for node in ast.parse(source).body[0].body:  # pyright: ignore[reportAttributeAccessIssue]
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        behind = lines[(node.end_lineno or 0) - 1].encode()[node.end_col_offset :].decode()
        above = list(takewhile(_MARK.match, reversed(lines[: node.lineno - 1])))
        found = [line for line in (*reversed(above), behind) if _MARK.match(line)]
        if found:
            yield node.target.id, " ".join(_MARK.sub("", line).strip() for line in found)


def _split(comment: str) -> tuple[str, str]:
    meaning, _, unit = comment.rpartition(" [")
    return (meaning, unit.removesuffix("]")) if comment.endswith("]") else (comment, "")


def _of_adjoints() -> dict[str, tuple[str, str]]:
    """Meaning and unit of the settings of adjoints, for each that has one, from their own descriptions."""
    found: dict[str, dict[str, list[str]]] = {}
    numbers: set[str] = set()
    for name in adjoints():
        made = adjoint(name)
        for key, value in made.settings.items():
            numbers |= set() if isinstance(value, str) else {key}
            docs = "\n".join(base.__doc__ or "" for base in type(made).__mro__)
            entry = re.search(rf"^ *{key} : .*\n((?: {{8,}}.*\n)+)", docs, re.MULTILINE)
            text = " ".join(entry[1].split()).split(".")[0] if entry else ""
            found.setdefault(key, {}).setdefault(text, []).append(name)
    return {
        key: (
            "; ".join(f"of {', '.join(names)}: {text}" for text, names in said.items() if text),
            "1" if key in numbers else "",
        )
        for key, said in found.items()
    }


def _title(doc: str | None) -> str:
    """The first sentence of a docstring, cut where a line ends."""
    return textwrap.shorten(" ".join((doc or "").strip().split("\n\n")[0].split()), 72, placeholder=" ...")


def _minutes(name: str, size: str) -> str:
    path = ROOT / "results" / name / size / "auto" / "provenance.json"
    if not path.exists():
        return ""
    record = json.loads(path.read_text(encoding="utf-8"))
    return f"{size} {record['seconds'] / 60:.1f}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 28 else f"{text[:25]}..."


def _sections(config: type) -> Iterator[tuple[str, str]]:
    """The sections of settings, and what each is."""
    for name, each, comment in _fields(config):
        section = _section(each)
        if section is not None:
            yield name, comment or (section.__doc__ or "").strip().split("\n\n")[0]


def _section(each: Field[Any]) -> type | None:
    """The dataclass of a field that is a section of its own."""
    made = each.default_factory() if each.default_factory is not MISSING else each.default
    kind = each.type if made is MISSING else type(made)
    return kind if isinstance(kind, type) and is_dataclass(kind) else None
