"""The files an experiment is computed from: its own, what it imports inside `experiments`, the library, its settings.

The fingerprint of a run and Make's graph ask here, so that neither forgets what the other knows. Nothing but the
standard library is imported: Make asks before there is an environment.

    python -m experiments.common.sources NAME SIZE      # the files, one line, relative to the root
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMPORT = re.compile(
    r"^ *(?:from +(experiments[\w.]*) +import +(\([^)]*\)|.*)|import +(experiments[\w.]*))", re.M
)
COMPILED = {".cpp", ".hpp"}


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
    names = ("config", "hydra/output/build", f"layer/{layer}", f"experiment/{name}", f"size/{size}")
    return sorted(ROOT / "configs" / f"{each}.yaml" for each in (*names, f"size/{name}/{size}"))


def _file(module: str) -> Path | None:
    stem = ROOT / module.replace(".", "/")
    candidates = (stem.with_suffix(".py"), stem / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _packages(path: Path) -> list[Path]:
    return [folder for folder in path.parents if folder.is_relative_to(ROOT / "experiments")]


if __name__ == "__main__":
    _name, _size = sys.argv[1:]
    print(*(path.relative_to(ROOT) for path in (*programs(_name), *library(), *configurations(_name, _size))))
