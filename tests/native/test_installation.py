"""Without a compiler the package installs, says why the core is missing, and solves by the torch engine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.native.conftest import ROOT

PROGRAM = """
import sys, warnings
import torch
import layers
from layers import UnavailableError, engines, solve_qp

assert layers.__file__.startswith(sys.argv[1]), layers.__file__
reason = engines()["native"]
assert "its C++ core is not built" in reason and "install a C++17 compiler" in reason, reason
Q, q = torch.eye(2, dtype=torch.float64), torch.tensor([-2.0, 1.0], dtype=torch.float64, requires_grad=True)
G, h = -Q, torch.zeros(2, dtype=torch.float64)
with warnings.catch_warnings(record=True) as heard:
    warnings.simplefilter("always")
    for _ in range(3):
        z = solve_qp(Q, q, G, h).z
told = [str(w.message) for w in heard if issubclass(w.category, RuntimeWarning)]
assert told == [f'solver="auto" takes the torch engine: {reason}'], told
assert (z - torch.tensor([2.0, 0.0])).abs().max() < 1e-12
assert (torch.autograd.grad(z.sum(), q)[0] - torch.tensor([-1.0, 0.0])).abs().max() < 1e-12
try:
    solve_qp(Q, q, G, h, solver="native")
except UnavailableError as error:
    assert reason in str(error) and 'solver="auto"' in str(error), error
else:
    raise AssertionError("the core answered")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, installed from a copy of the tree on a machine whose compiler does not work."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "layers", source / "layers", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps",
        "--no-build-isolation", "--target", str(target), str(source),
    ]  # fmt: skip
    broken = shutil.which("false") or "false"
    done = subprocess.run(
        command, env=os.environ | {"CC": broken, "CXX": broken}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert not list(target.glob("layers/native/_core*.so"))
    return target


@pytest.mark.slow
def test_an_installation_without_a_compiler_solves_by_the_torch_engine(
    installed: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(installed)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
