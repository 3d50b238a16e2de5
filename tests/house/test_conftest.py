"""What all tests share holds whatever a test does."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GREEDY = """
import torch

def test_one_that_takes_two_threads():
    torch.set_num_threads(2)

def test_the_next_one_has_one_thread_all_the_same():
    assert torch.get_num_threads() == 1
"""


def test_a_test_that_takes_threads_leaves_none_to_the_next(tmp_path: Path):
    (tmp_path / "test_greedy.py").write_text(GREEDY)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        str(tmp_path),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
