"""Write the three files of a new experiment: ``make new-experiment NAME=projection``.

A program, a sheet and a figure, which run as they are; replace what they do by what you mean. Nothing but the standard
library is imported: it works before there is an environment.
"""

import re
import sys
from pathlib import Path
from string import Template

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = ROOT / "tools" / "templates"
FILES = {
    "experiment.py.txt": "experiments/{name}.py",
    "sheet.yaml.txt": "configs/experiment/{name}.yaml",
    "figure.py.txt": "figures/{name}.py",
}


def write(name: str, root: Path = ROOT) -> list[Path]:
    """Write the files of the experiment ``name`` below ``root`` and return their paths.

    Raises
    ------
    SystemExit
        If the name is no lower-case identifier, or one of the files is there already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        sys.exit(f"NAME={name}: expected a name in lower case, as in make new-experiment NAME=projection")
    paths = {template: root / pattern.format(name=name) for template, pattern in FILES.items()}
    there = [path.relative_to(root).as_posix() for path in paths.values() if path.exists()]
    if (root / "experiments" / name).exists() or there:
        sys.exit(
            f"NAME={name}: {there[0] if there else f'experiments/{name}'} is there already; take another name"
        )
    values = {"name": name, "title": name.replace("_", " ").capitalize()}
    for template, path in paths.items():
        path.write_text(Template((TEMPLATES / template).read_text("utf-8")).substitute(values), "utf-8")
    return list(paths.values())


if __name__ == "__main__":
    _name = sys.argv[1] if len(sys.argv) > 1 else ""
    for _path in write(_name):
        sys.stdout.write(f"{_path.relative_to(ROOT)}\n")
    sys.stdout.write(f"now: python -m experiments.run experiment={_name} size=smoke\n")
