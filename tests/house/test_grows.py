"""The house grows by one file: CONTRIBUTING.md followed literally, for each kind, in a copy of the tree."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

BACKEND = '''"""qpth under another name: what a backend costs."""

from dataclasses import replace

from layers.backends import qpth_

BACKEND = replace(qpth_.BACKEND, name="newcomer")
'''
ADJOINT = '''"""The active-set system under another name: what an adjoint costs.

    K d = −(z̄, λ̄, ν̄)                                                                                             (1)

*Exact* where the rows are independent. *At a kink*: one side. *Cost*: one factorisation.
"""

from __future__ import annotations

from torch import Tensor

from layers.problem import QP
from layers.qp.adjoints.active_set import ActiveSet
from layers.qp.gradients import Adjoint, Triple


class Newcomer(Adjoint):
    """Equation (1)."""

    name = "newcomer"

    def gradients(self, problem: QP, x: Triple, bars: Triple) -> tuple[Tensor, ...]:
        """The gradients of Q, q, G, h, A and b."""
        return ActiveSet().gradients(problem, x, bars)
'''
PROOF = '''"""(x + 1)² = x² + 2x + 1, beside a sum.

Statement. For every real x. Literature. Any. Check. Floating point.
"""

from __future__ import annotations

from collections.abc import Iterator

from proofs.ledger import check


@check(item=12, statement="(x + 1)² = x² + 2x + 1", source="any", strength="numeric", tolerance=1e-12)
def newcomer(instances: int) -> Iterator[float]:
    """A sum beside a square."""
    for x in range(instances):
        yield abs(sum([x**2, x, x, 1]) - (x + 1) ** 2)


@newcomer.negative("the mixed term once")
def _wrong(instances: int) -> Iterator[float]:
    for x in range(1, instances + 1):
        yield abs(x**2 + x + 1 - (x + 1) ** 2)
'''


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of what is tracked, itself under git, with the core that is built here."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("this tree is not a git checkout, so there is no list of its files")
    core = [path.relative_to(ROOT).as_posix() for path in (ROOT / "layers" / "native").glob("_core*.so")]
    copy = tmp_path / "tree"
    for name in [*done.stdout.splitlines(), *core]:
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    for words in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *words], cwd=copy, check=True)
    return copy


def told(tree: Path, *command: str) -> str:
    """Return what a command says in the copy; it has to end well."""
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def python(tree: Path, *arguments: str) -> str:
    return told(tree, sys.executable, "-m", *arguments)


def passes(tree: Path, *arguments: str) -> None:
    """Run tests of the copy; some have to be chosen, and none may be skipped for want of what is there."""
    said = python(tree, "pytest", "--quiet", "-p", "no:cacheprovider", *arguments)
    assert "passed" in said


def lints(tree: Path, *files: str) -> None:
    python(tree, "ruff", "check", *files)
    python(tree, "ruff", "format", "--check", *files)
    python(tree, "pyright", "--pythonpath", sys.executable, *files)
    program = "from importlinter.cli import lint_imports_command as run; run()"
    told(tree, sys.executable, "-c", program, "--no-logo")


def test_an_experiment_is_three_files_and_no_edit(tree: Path):
    said = told(
        tree, "make", "--no-print-directory", "new-experiment", "NAME=newcomer", f"PYTHON={sys.executable}"
    )
    files = said.splitlines()[:-1]
    assert files == ["experiments/newcomer.py", "configs/experiment/newcomer.yaml", "figures/newcomer.py"]
    for size in ("smoke", "companion"):
        assert "final_mse" in python(tree, "experiments.run", "experiment=newcomer", f"size={size}")
    run = ("--results", "build/results")
    python(tree, "figures", "newcomer", *run, "--run", "smoke/auto", "--output", "build/figures")
    assert (tree / "build" / "figures" / "newcomer.png").exists()
    python(tree, "experiments.compare", *run)
    assert "newcomer,bounded,linear" in (tree / "build" / "results" / "contests.csv").read_text("utf-8")
    assert "newcomer" in python(tree, "experiments.run", "--help")
    assert "build/results/newcomer/companion/auto/provenance.json" in told(
        tree, "make", "--dry-run", "--print-data-base", f"PYTHON={sys.executable}", "reproduce"
    )
    lints(tree, files[0], files[2])
    passes(tree, *(f"tests/house/test_{name}.py" for name in ("tree", "makefile", "readme")))
    passes(tree, *(f"tests/experiments/test_{name}.py" for name in ("sheets", "compare", "rivals")))
    passes(
        tree,
        "tests/experiments/test_run.py",
        "tests/experiments/test_one_screen.py",
        "-k",
        "newcomer",
    )
    figures = (f"tests/figures/test_{name}.py" for name in ("figures", "program"))
    passes(tree, *figures, "-k", "newcomer or every_method")


def test_a_backend_is_one_file(tree: Path):
    file = "layers/backends/newcomer_.py"
    (tree / file).write_text(BACKEND, "utf-8")
    run = ("experiment=denoising", "size=smoke", "methods=[optnet_pure]", "seeds=[0]")
    assert "optnet_pure" in python(tree, "experiments.run", *run, "layer=newcomer")
    assert "newcomer " in python(tree, "experiments.run", "--help")
    lints(tree, file)
    passes(
        tree,
        "tests/layers/test_backends.py",
        "tests/layers/test_mechanics_backends.py",
        "-k",
        "newcomer or behind",
    )
    passes(tree, "tests/experiments/test_run.py", "-k", "newcomer and denoising and not large_denoising")


def test_an_adjoint_is_one_file(tree: Path):
    file = "layers/qp/adjoints/newcomer.py"
    (tree / file).write_text(ADJOINT, "utf-8")
    run = ("experiment=denoising", "size=smoke", "methods=[optnet_pure]", "seeds=[0]")
    assert "optnet_pure" in python(tree, "experiments.run", *run, "layer.adjoint=newcomer")
    assert "newcomer " in python(tree, "experiments.run", "--help")
    lints(tree, file)
    passes(tree, *(f"tests/layers/test_{name}.py" for name in ("adjoints", "adjoint_laws", "adjoints_docs")))
    passes(
        tree,
        "tests/layers/test_equation_8.py",
        "tests/layers/test_conic_lpgd.py",
        "tests/layers/test_bad_input.py",
    )
    passes(tree, "tests/house/test_adjoints_page.py", "tests/experiments/test_differentiation.py")


def test_a_proof_is_one_file(tree: Path):
    file = "proofs/newcomer.py"
    (tree / file).write_text(PROOF, "utf-8")
    assert "1 of 1 checks pass" in python(tree, "proofs", "12", "--jobs", "1")
    lints(tree, file)
    passes(tree, "tests/proofs/test_items_1_to_5_and_11.py", "-k", "newcomer or unique or every")


@pytest.mark.parametrize(
    ("name", "message"),
    [("Denoising", "expected a name in lower case"), ("sudoku", "is there already"), ("run", "is there already"),
     ("", "expected a name"), ("common", "is there already")],
)  # fmt: skip
def test_a_name_that_cannot_be_taken_is_told(name: str, message: str):
    command = [sys.executable, "tools/new_experiment.py", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert message in done.stderr
