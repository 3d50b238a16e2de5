"""Sweeps run in parallel, and on a cluster, and find what they find one after the other."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.common.results import UNREPEATABLE

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = {"joblib": "hydra_joblib_launcher", "submitit_local": "hydra_submitit_launcher"}
SWEEP = ("--multirun", "size=smoke", "methods=[total_variation]", "seeds=[0],[1]")
OPTIONS = {
    "joblib": ("hydra.launcher.n_jobs=2",),
    "submitit_local": (
        "hydra.launcher.timeout_min=5",
        "hydra.launcher.cpus_per_task=1",
        "hydra.launcher.mem_gb=1",
    ),
}


def swept(output: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiments.run", *words, f"output={output}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def tables(output: Path) -> dict[str, bytes]:
    found = {path.relative_to(output).as_posix(): path for path in output.rglob("*.csv")}
    return {name: path.read_bytes() for name, path in found.items() if path.stem not in UNREPEATABLE}


@pytest.fixture(params=[pytest.param("joblib"), pytest.param("submitit_local", marks=pytest.mark.slow)])
def launcher(request: pytest.FixtureRequest) -> str:
    plugin = f"hydra_plugins.{PLUGINS[request.param]}"
    if importlib.util.find_spec("hydra_plugins") is None or importlib.util.find_spec(plugin) is None:
        pytest.skip(
            f"{PLUGINS[request.param].replace('_', '-')} is not installed: pip install -e '.[cluster]'"
        )
    return request.param


def test_a_sweep_side_by_side_has_the_tables_of_one_after_the_other(launcher: str, tmp_path: Path):
    done = swept(tmp_path / "beside", *SWEEP, f"hydra/launcher={launcher}", *OPTIONS[launcher])
    assert done.returncode == 0, done.stderr
    assert swept(tmp_path / "after", *SWEEP).returncode == 0
    found = tables(tmp_path / "beside")
    assert len({name.rpartition("/")[0] for name in found}) == 2
    assert found == tables(tmp_path / "after")


def test_a_mistake_in_a_run_beside_others_is_told_on_one_screen(launcher: str, tmp_path: Path):
    words = (*SWEEP[:1], "size=smoke", "methods=[optnet_pure]", "seeds=[0],[1]", "layer.max_iterations=1")
    done = swept(tmp_path, *words, f"hydra/launcher={launcher}", *OPTIONS[launcher])
    assert done.returncode != 0
    assert "problems not solved" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) < 12


def test_without_a_cluster_the_launcher_of_one_is_refused(launcher: str, tmp_path: Path):
    if launcher == "joblib" or shutil.which("srun") is not None:
        pytest.skip("no launcher of clusters is installed, or this is a cluster")
    done = swept(tmp_path, *SWEEP, "hydra/launcher=submitit_slurm")
    assert done.stderr.startswith("error: hydra/launcher: got 'submitit_slurm', expected a node of a cluster")
    assert len(done.stderr.splitlines()) == 1
