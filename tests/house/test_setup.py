"""The set-up takes the interpreter that it is given, and says in one line what is wrong with it."""

import contextlib
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHOICES = ("PYTHON", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "SETUP_ASKS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")


def _make(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES} | variables
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def _interpreter_that_make_chooses(*arguments: str, **variables: str) -> str:
    # --always-make --dry-run prints what a first run would do.
    lines = _make("--always-make", "--dry-run", "setup", *arguments, **variables).stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("tools/setup.sh")]
    return line.split()[1]


def test_without_a_choice_the_environment_is_our_own():
    assert _interpreter_that_make_chooses() == ".venv/bin/python"


def test_a_given_interpreter_wins_over_conda():
    assert _interpreter_that_make_chooses("PYTHON=python3", CONDA_PREFIX="/conda") == "python3"
    assert _interpreter_that_make_chooses(PYTHON="python3") == "python3"


def test_an_activated_conda_environment_is_used():
    chosen = _interpreter_that_make_chooses(CONDA_PREFIX="/conda/envs/ours", CONDA_DEFAULT_ENV="ours")
    assert chosen == "/conda/envs/ours/bin/python"
    assert _interpreter_that_make_chooses(CONDA_PREFIX="/conda/envs/ours") == "/conda/envs/ours/bin/python"


def test_the_base_environment_of_conda_is_left_alone():
    chosen = _interpreter_that_make_chooses(CONDA_PREFIX="/conda", CONDA_DEFAULT_ENV="base")
    assert chosen == ".venv/bin/python"


@pytest.fixture
def watched_python(tmp_path: Path) -> Callable[[bool], tuple[Path, Path]]:
    """Return a maker of (interpreter, log): this interpreter, except that pip is written to the log and fails.

    A test must never install: this interpreter may serve several checkouts, and an editable install from one of them
    takes it away from the others. Whether its packages stand at their pins is said by the caller instead of looked up.
    """

    def make(complete: bool) -> tuple[Path, Path]:
        program, log = tmp_path / "python3", tmp_path / "pip.log"
        log.touch()
        program.write_text(
            "#!/bin/sh\n"
            f'case " $* " in *" pip "*) echo "$*" >>"{log}"; exit 1;;\n'
            f'  *tools/pins.py*) exit {0 if complete else 1};; esac\nexec "{sys.executable}" "$@"\n'
        )
        program.chmod(0o755)
        return program, log

    return make


def test_a_complete_environment_is_left_as_it_is(watched_python: Callable[[bool], tuple[Path, Path]]):
    program, log = watched_python(True)
    done = _make("setup", f"PYTHON={program}")
    assert log.read_text() == "", "make setup called pip"
    assert done.returncode == 0, done.stderr
    assert "installing" not in done.stdout


def test_an_incomplete_environment_is_brought_to_the_lock(
    watched_python: Callable[[bool], tuple[Path, Path]],
):
    program, log = watched_python(False)
    done = _make("setup", f"PYTHON={program}")
    assert "installing the versions of requirements.lock" in done.stdout
    assert "-r requirements.lock" in log.read_text().splitlines()[0]
    assert done.returncode != 0, "pip failed, so the set-up must not call itself done"


@pytest.fixture
def conda(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """Return (variables of an activated conda environment that somebody uses for something else, log of its pip)."""
    program, log = tmp_path / "envs" / "theirs" / "bin" / "python", tmp_path / "pip.log"
    program.parent.mkdir(parents=True)
    log.touch()
    program.write_text(
        "#!/bin/sh\n"
        f'case " $* " in *" pip "*) echo "$*" >>"{log}"; exit 1;;\n'
        f'  *tools/pins.py*) echo "numpy: 2 is pinned, 1 is installed"; exit 1;; esac\nexec "{sys.executable}" "$@"\n'
    )
    program.chmod(0o755)
    return {"CONDA_PREFIX": str(program.parents[1]), "CONDA_DEFAULT_ENV": "theirs"}, log


def test_nothing_goes_into_an_environment_that_nobody_has_named_unasked(conda: tuple[dict[str, str], Path]):
    variables, log = conda
    done = _make("setup", **variables)
    assert done.returncode != 0
    assert log.read_text() == "", "make setup called pip"
    assert "nothing was installed into theirs" in done.stderr
    assert "make setup PYTHON=" in done.stderr
    assert len(done.stderr.splitlines() + done.stdout.splitlines()) < 6


@pytest.mark.parametrize(("answer", "installs"), [("y", True), ("n", False), ("", False)])
def test_at_a_terminal_somebody_is_asked(conda: tuple[dict[str, str], Path], answer: str, installs: bool):
    variables, log = conda
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES} | variables
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["make", "--no-print-directory", "setup"],
        cwd=ROOT,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    said = b""
    with contextlib.suppress(OSError):  # the terminal is gone once the program has ended
        while piece := os.read(ours, 4096):
            said += piece
    assert process.wait(60) != 0, "pip failed, or was not called"
    os.close(ours)
    assert b"install them into theirs? [y/N]" in said
    assert bool(log.read_text()) == installs


def test_who_names_an_environment_is_not_asked(conda: tuple[dict[str, str], Path]):
    variables, log = conda
    done = _make("setup", f"PYTHON={variables['CONDA_PREFIX']}/bin/python", **variables)
    assert "-r requirements.lock" in log.read_text()
    assert "y/N" not in done.stdout


def test_a_missing_interpreter_is_told():
    done = _make("setup", "PYTHON=no-such-python")
    assert done.returncode != 0
    assert "there is no interpreter 'no-such-python'" in done.stderr


@pytest.fixture
def old_python(tmp_path: Path) -> Path:
    """Return the path of a program that behaves like Python 3.9 as far as the set-up looks."""
    program = tmp_path / "python3"
    program.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.1" && exit 0\nexit 1\n')
    program.chmod(0o755)
    return program


def test_an_interpreter_that_is_too_old_is_told(old_python: Path):
    done = _make("setup", f"PYTHON={old_python}")
    assert done.returncode != 0
    assert "Python >= 3.11 is needed" in done.stderr
    assert "Python 3.9.1" in done.stderr


@pytest.fixture
def set_up_without_a_compiler(tmp_path: Path) -> Callable[[bool], str]:
    """Return what `make setup` does in a tree that was set up without a compiler, now that there is one or not."""
    tree, tools = tmp_path / "tree", tmp_path / "bin"
    for folder in ("layers/native/csrc", "configs/experiment", "experiments", "tools", ".venv"):
        (tree / folder).mkdir(parents=True)
    for name in (
        "Makefile",
        "requirements.lock",
        "pyproject.toml",
        "setup.py",
        "tools/setup.sh",
        "tools/pins.py",
    ):
        shutil.copy(ROOT / name, tree / name)
    (tree / ".venv" / ".ready").touch()
    tools.mkdir()
    for name in ("make", "bash", "sh", "find", "python3"):
        (tools / name).symlink_to(shutil.which(name) or sys.executable)

    def setup(compiler: bool) -> str:
        if compiler:
            (tools / "g++").symlink_to("/bin/true")
        environment = {"PATH": str(tools)}
        command = [str(tools / "make"), "--dry-run", "setup"]
        return subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, check=True
        ).stdout

    return setup


def test_the_core_is_built_once_a_compiler_has_appeared(set_up_without_a_compiler: Callable[[bool], str]):
    assert "tools/setup.sh" not in set_up_without_a_compiler(False)
    assert "tools/setup.sh .venv/bin/python" in set_up_without_a_compiler(True)
