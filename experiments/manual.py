"""What `python -m experiments.run --help` says: nothing is written here that the programs do not know themselves."""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
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
    """Every setting of the experiment that `words` choose: value as composed, default, and what is expected of it.

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
    expected, defaults = dict(_expected(module.Config)), dict(_defaults(module.Config))
    rows = [("setting", "here", "default", "expected")]
    expected["methods"] = "some of those below"
    expected["layer.adjoint.name"] = "an adjoint; --help lists them"
    expected |= {f"layer.adjoint.{key}": f"of {', '.join(names)}" for key, names in _of_adjoints().items()}
    for name, value in flat(settings(config)):
        rows.append((name, _short(value), _short(defaults.get(name, "")), expected.get(name, "")))
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    for row in rows:
        columns = [cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)]
        lines.append("  ".join([*columns, row[3]]).rstrip())
    methods = getattr(module, "METHODS", ())
    return "\n".join([*lines, *([f"\nmethods: {', '.join(methods)}"] if methods else [])])


def _of_adjoints() -> dict[str, list[str]]:
    """Which adjoints have a setting, by its name."""
    found: dict[str, list[str]] = {}
    for name in adjoints():
        for key in adjoint(name).settings:
            found.setdefault(key, []).append(name)
    return found


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
    return text if len(text) <= 40 else f"{text[:37]}..."


def _defaults(config: type) -> Iterator[tuple[str, Any]]:
    """The default of each setting of the dataclass `config`, by dotted name."""
    yield from flat(settings(config))


def _expected(config: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """What the checks of `config` and of its sections expect of a setting, by dotted name."""
    for base in reversed(config.__mro__):
        if "check" in vars(base):
            for name, text in _required(vars(base)["check"]):
                yield (name if name.startswith(prefix) else f"{prefix}{name}"), text
    for each in fields(config):
        section = _section(each)
        if section is not None:
            yield from _expected(section, f"{prefix}{each.name}.")
        elif "meaning" in each.metadata:
            yield f"{prefix}{each.name}", each.metadata["meaning"]
        elif each.type in (bool, "bool"):
            yield f"{prefix}{each.name}", "true or false"


def _section(each: Field[Any]) -> type | None:
    """The dataclass of a field that is a section of its own."""
    made = each.default_factory() if each.default_factory is not MISSING else each.default
    return type(made) if is_dataclass(made) else None


def _required(check: Any) -> Iterator[tuple[str, str]]:
    """Names and expectations of the calls `require(holds, name, given, expected)` in the source of a check."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(check)))
    loops = {
        loop.target.id: [each.value for each in loop.iter.elts if isinstance(each, ast.Constant)]
        for loop in ast.walk(tree)
        if isinstance(loop, ast.For)
        and isinstance(loop.target, ast.Name)
        and isinstance(loop.iter, ast.Tuple)
    }
    calls = [
        call for call in ast.walk(tree) if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    ]
    for call in calls:
        function = ast.unparse(call.func)
        if function == "require":
            expected = " ".join(ast.unparse(call.args[3]).strip("f'\"").split())
            yield from ((name, expected) for name in _names(call.args[1], loops))
        elif function == "require_rate":
            yield from ((name, "a learning rate") for name in _names(call.args[0], loops))


def _names(node: ast.expr, loops: dict[str, list[Any]]) -> list[str]:
    """The settings that the name in a call may be; a part that is a section, `{name}`, is left out."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    names = [""]
    for part in node.values if isinstance(node, ast.JoinedStr) else []:
        if isinstance(part, ast.Constant):
            names = [f"{name}{part.value}" for name in names]
        elif isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name):
            names = [f"{name}{value}" for name in names for value in loops.get(part.value.id, [""])]
    return [name.removeprefix(".") for name in names if name]
