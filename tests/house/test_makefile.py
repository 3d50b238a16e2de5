"""`make` explains itself: every target is in the list, with its minutes; and it knows what a run depends on."""

import re
import subprocess
import sys
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


def _of_a_run(experiment: str, size: str) -> set[str]:
    """Return what make's rule for a run depends on, as make itself finds it."""
    target = f"build/{'smoke' if size == 'smoke' else 'results'}/{experiment}/{size}/auto/provenance.json"
    command = ["make", "--print-data-base", "--dry-run", f"PYTHON={sys.executable}", target]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (names,) = re.findall(rf"^{re.escape(target)}: (.*)$", printed, re.MULTILINE)
    return set(names.split(" | ")[0].split())


def _tracked(*folders: str) -> set[str]:
    command = ["git", "ls-files", "--", *folders]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("this tree is not a git checkout, so there is no list of its files")
    return {name for name in done.stdout.split() if (ROOT / name).is_file()}


@pytest.mark.parametrize("size", ["companion", "smoke"])
def test_every_run_depends_on_every_source_of_the_library_and_on_its_own_settings(size: str):
    sources = {name for name in _tracked("layers") if Path(name).suffix in {".py", ".cpp", ".hpp"}}
    assert any(name.endswith(".cpp") for name in sources), "the C++ core has moved: this test looks past it"
    found = _of_a_run("sudoku", size)
    assert sources | {"setup.py"} <= found
    own = {"config.yaml", "layer/auto.yaml", f"size/{size}.yaml"}
    assert {f"configs/{name}" for name in own} <= found
    assert f"build/settled/sudoku/{size}.yaml" in found
    # The sheet itself says more than the settings, and of other sizes too.
    assert not any("configs/experiment/" in name or "/adp/" in name or "paper" in name for name in found)


def test_a_run_depends_on_the_programs_that_it_imports_and_on_no_other():
    """What Python has loaded after importing an experiment is what Make names, and nothing is missing."""
    found = {name for name in _of_a_run("gallery", "companion") if name.startswith("experiments/")}
    code = (
        "import sys, experiments.gallery\n"
        "print(*(getattr(m, '__file__', None) for n, m in sys.modules.items() if n.split('.')[0] == 'experiments'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {Path(name).relative_to(ROOT).as_posix() for name in done.stdout.split()}
    assert loaded - found == set()
    assert "experiments/programs/stiffness.py" in loaded
    assert {"experiments/command.py", "experiments/job.py", "experiments/common/workers.py"} <= found
    for stranger in ("sudoku", "adp", "compare", "verify", "publish", "common/sudoku/models"):
        assert f"experiments/{stranger}.py" not in found


def _recipe(*arguments: str) -> str:
    command = ["make", "--dry-run", "PYTHON=python", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_a_figure_is_a_target(suffix: str):
    assert f"python -m figures adp --format {suffix}\n" in _recipe(f"figures/adp.{suffix}")


def test_one_experiment_can_be_verified_and_published():
    assert "-m experiments.verify --size companion --layer auto --experiment adp\n" in _recipe(
        "verify", "EXPERIMENT=adp"
    )
    assert "--experiment" not in _recipe("verify")
    one = _recipe("publish", "EXPERIMENT=adp")
    assert "-m experiments.publish --experiment adp\n" in one
    assert "-m experiments.run" not in one


def test_every_experiment_with_a_configuration_is_reproduced():
    names = {path.stem for path in (ROOT / "configs" / "experiment").glob("*.yaml")}
    assert (
        set(re.findall(r"build/results/(\w+)/companion", _recipe("--print-data-base", "reproduce"))) == names
    )


def test_what_a_compiler_leaves_behind_makes_no_run_stale():
    found = _of_a_run("sudoku", "companion")
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
