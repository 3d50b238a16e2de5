"""What is tracked: as in the picture, nothing heavy, nothing of one machine, no network host."""

import re
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "architecture.md"
UNPICTURED = {"__init__.py", "__main__.py", "py.typed"}
# A program beside its sheet: docs/results.md and `--help` list them.
APPLICATIONS = {f"experiments/{path.stem}.py" for path in ROOT.glob("configs/experiment/*.yaml")}


def _tracked() -> list[str]:
    # Added but not yet committed counts, ignored does not; in an exported tree there is no git to ask.
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("this tree is not a git checkout, so there is no list of its files")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def _texts() -> list[tuple[str, str]]:
    files = [name for name in _tracked() if Path(name).suffix not in {".png", ".pdf", ".npz"}]
    return [(name, (ROOT / name).read_text("utf-8")) for name in files]


def _pictured() -> list[str]:
    """Return the paths of the picture: two blanks more are one folder deeper, the first word is the name."""
    block = re.search(r"```text\n(.*?)```", PICTURE.read_text("utf-8"), re.DOTALL)
    assert block is not None, "docs/architecture.md has lost its picture"
    parents: list[str] = []
    paths: list[str] = []
    for line in block.group(1).splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        parents = [*parents[:depth], line.split()[0]]
        paths.append("".join(parents))
    return paths


def test_everything_in_the_picture_exists():
    absent = [path for path in _pictured() if not (ROOT / path).exists()]
    assert absent == []


def test_everything_tracked_is_in_the_picture():
    """A folder drawn with content is drawn with all of it; one drawn without stands for its content."""
    pictured = _pictured()
    opened = {""} | {path for path in pictured if any(p != path and p.startswith(path) for p in pictured)}
    missing = set()
    for name in _tracked():
        parts = name.split("/")
        for depth in range(len(parts)):
            folder = "".join(f"{part}/" for part in parts[:depth])
            entry = folder + parts[depth] + ("/" if depth < len(parts) - 1 else "")
            if folder in opened and entry not in pictured and parts[depth] not in UNPICTURED:
                missing.add(entry)
    assert missing - APPLICATIONS == set()


def test_no_file_is_heavier_than_one_mebibyte():
    heavy = [name for name in _tracked() if (ROOT / name).stat().st_size > 2**20]
    assert heavy == []


def test_no_path_of_this_machine():
    places = {str(place) for place in (ROOT, Path.home(), Path(tempfile.gettempdir()))} - {"/"}
    pattern = re.compile("|".join(rf"(?<![\w.~/]){re.escape(place)}(?![\w-])" for place in places))
    found = {name for name, text in _texts() if pattern.search(text)}
    assert found == set()


def test_no_program_names_a_host():
    # A page to read may link; that the report loads nothing from a host, tests/report holds.
    pages = {".md", ".cff", ".html"}
    programs = [(name, text) for name, text in _texts() if Path(name).suffix not in pages]
    found = {name for name, text in programs if re.search(r"\b(https?|ftp|ssh|git)://", text)}
    assert found - {"LICENSE"} == set()


def test_generated_files_are_not_tracked():
    generated = [
        name for name in _tracked() if re.match(r"build/|outputs/|multirun/|\.venv/|.*\.py[co]$", name)
    ]
    assert generated == []
