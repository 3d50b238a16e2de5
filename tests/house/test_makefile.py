"""`make` explains itself: every target is in the list, with its minutes; and it knows what a run depends on."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE))


def _list(*arguments: str) -> list[str]:
    command = ["make", "--no-print-directory", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if line.startswith("  ")]


def test_help_is_the_default():
    assert _list() == _list("help")


def test_every_target_is_listed_once():
    listed = [line.split()[0] for line in _list()]
    assert sorted(listed) == sorted(TARGETS)


def test_every_target_says_what_it_does_and_how_many_minutes():
    for line in _list():
        assert re.match(r"  [a-z-]+ +\S.* +<?\d+$", line), line


def test_the_targets_that_the_readme_promises_exist():
    promised = set(re.findall(r"`make ([a-z-]+)`", (ROOT / "README.md").read_text("utf-8")))
    assert promised <= TARGETS


def _prerequisites() -> dict[str, set[str]]:
    """Return what each rule of make's own data base depends on."""
    command = ["make", "--print-data-base", "--dry-run", "help"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rules = re.findall(r"^([^#\t\n:=]+): ([^=\n]*)$", printed, re.MULTILINE)
    return {target: set(names.split(" | ")[0].split()) for target, names in rules}


def _tracked(*folders: str) -> set[str]:
    command = ["git", "ls-files", "--", *folders]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("this tree is not a git checkout, so there is no list of its files")
    return {name for name in done.stdout.split() if (ROOT / name).is_file()}


@pytest.mark.parametrize("run", ["build/results/%/companion", "build/smoke/%/smoke"])
def test_every_run_depends_on_every_source_of_the_library_and_on_every_setting(run: str):
    sources = _tracked("layers", "configs", "setup.py")
    assert any(name.endswith(".cpp") for name in sources), "the C++ core has moved: this test looks past it"
    assert sources - _prerequisites()[f"{run}/auto/provenance.json"] == set()


def test_a_run_depends_on_every_program_but_those_that_only_read_tables():
    programs = {name for name in _tracked("experiments") if name.endswith(".py")}
    found = _prerequisites()["build/results/%/companion/auto/provenance.json"]
    assert programs - found == {"experiments/compare.py", "experiments/verify.py"}


def test_what_a_compiler_leaves_behind_makes_no_run_stale():
    found = _prerequisites()["build/results/%/companion/auto/provenance.json"]
    assert {name for name in found if re.search(r"\.(so|pyc|o)$", name)} == set()


def test_the_environment_depends_on_the_sources_of_the_core():
    assert _tracked("layers/native/csrc") - _prerequisites()[".venv/.ready"] == set()


def test_what_has_to_pass_before_a_change_goes_in_runs_every_test():
    """`make test` and `make test-slow` share out all tests, `make test-all` takes no choice, and .ci/run calls it."""
    recipes = {
        target: subprocess.run(
            ["make", "--dry-run", "PYTHON=python", target],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for target in ("test", "test-slow", "test-all")
    }
    marks = {target: re.findall(r' -m "?((?:not )?slow)\b', recipe) for target, recipe in recipes.items()}
    assert marks == {"test": ["not slow"], "test-slow": ["slow"], "test-all": []}
    assert re.findall(r"^make (\S+)$", (ROOT / ".ci" / "run").read_text("utf-8"), re.MULTILINE) == [
        "lint",
        "test-all",
        "smoke",
    ]
