"""`make` explains itself: every target is in the list, with its minutes."""

import re
import subprocess
from pathlib import Path

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
