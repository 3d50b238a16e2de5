"""The files an experiment is computed from: its own, what it imports inside `experiments`, the library, its settings.

The fingerprint of a run and Make's graph ask here, so that neither forgets what the other knows. Nothing but the
standard library is imported: Make asks before there is an environment.

    python -m experiments.common.sources NAME SIZE      # the files, one line, relative to the root

The sheet of an experiment, configs/experiment/<name>.yaml, tells more than the settings of one size. What Make is given
in its place is a file below build/ with that part of it, written when that part changes: a claim, a label or a comment
that was edited makes no run stale.
"""

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMPORT = re.compile(
    r"^ *(?:from +(experiments[\w.]*) +import +(\([^)]*\)|.*)|import +(experiments[\w.]*))", re.M
)
COMPILED = {".cpp", ".hpp"}
# What a sheet says beside its settings; common/sheets.py tells what each holds.
SECTIONS = ("sizes", "published", "rivals", "tolerances", "labels", "lesson")


def programs(name: str) -> list[Path]:
    """The Python files below `experiments` that running the experiment `name` imports, itself included."""
    found: set[Path] = set()
    left = ["experiments.run", f"experiments.{name}"]
    while left:
        path = _file(left.pop())
        if path is None or path in found:
            continue
        found.add(path)
        # Importing a module runs the packages around it first.
        left += [".".join(folder.relative_to(ROOT).parts) for folder in _packages(path)]
        for module, names, plain in IMPORT.findall(path.read_text(encoding="utf-8")):
            left += [module or plain, *(f"{module}.{word}" for word in re.findall(r"\w+", names))]
    return sorted(found)


def library(compiled: bool = True) -> list[Path]:
    """The source files of `layers`, those of its C++ core only if `compiled`."""
    suffixes = {".py"} | (COMPILED if compiled else set())
    return sorted(path for path in (ROOT / "layers").rglob("*") if path.suffix in suffixes)


def configurations(name: str, size: str, layer: str = "auto") -> list[Path]:
    """The files from which the settings of experiment `name` in `size` with `layer` are composed."""
    names = ("config", "hydra/output/build", f"layer/{layer}", f"size/{size}")
    found = (ROOT / "configs" / f"{each}.yaml" for each in names)
    return sorted(path for path in (*found, settled(name, size)) if path.exists())


def blocks(text: str) -> dict[str, str]:
    """The lines of a YAML mapping by its keys; comments before a key belong to the one before it."""
    found: dict[str, str] = {}
    key = ""
    for line in text.splitlines(keepends=True):
        begins = re.match(r"([A-Za-z_]\w*):", line)
        key = begins[1] if begins else key
        found[key] = found.get(key, "") + line
    found.pop("", None)
    return found


def settled(name: str, size: str, build: Path = ROOT / "build") -> Path:
    """A file with what the sheet of `name` says of its settings in `size`, as new as the last change of that."""
    sheet = (ROOT / "configs" / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    # Comments make nothing stale, and may stand at any depth.
    said = blocks("\n".join(line for line in sheet.splitlines() if line.strip() and line.lstrip()[0] != "#"))
    lines = said.pop("sizes", "").splitlines(keepends=True)[1:]
    deep = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    own = blocks("".join(line[deep:] for line in lines)).get(size, "")
    text = "".join([*(lines for key, lines in said.items() if key not in SECTIONS), own])
    path = build / "settled" / name / f"{size}.yaml"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    return path


def _file(module: str) -> Path | None:
    stem = ROOT / module.replace(".", "/")
    candidates = (stem.with_suffix(".py"), stem / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _packages(path: Path) -> list[Path]:
    return [folder for folder in path.parents if folder.is_relative_to(ROOT / "experiments")]


if __name__ == "__main__":
    _name, _size = sys.argv[1:]
    print(*(path.relative_to(ROOT) for path in (*programs(_name), *library(), *configurations(_name, _size))))
