"""Processes that share work end with their parent, and none is lost unnoticed; a folder has one writer at a time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.common.errors import ConfigError
from experiments.common.lock import owned
from experiments.common.workers import shared

ROOT = Path(__file__).resolve().parents[2]
OWN = "from experiments.common.lock import owned"


def square(number):
    return number * number


def fail(number):
    raise ConfigError(f"no answer for {number}")


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(60)


def alive(pid):
    # A zombie has ended: nobody in these tests waits for the children of a killed parent.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_every_item_comes_back_with_its_result():
    assert dict(shared(square, range(5), 2)) == {number: number**2 for number in range(5)}


def test_an_error_in_a_process_is_raised_here():
    with pytest.raises(ConfigError, match="no answer for 1") as caught:
        list(shared(fail, [1], 1))
    assert "fail(number)" not in str(caught.value)
    assert any("in fail" in note for note in caught.value.__notes__)


def test_a_killed_process_is_told():
    with pytest.raises(ConfigError, match="the process that computed 7 was killed"):
        list(shared(die, [7], 1))


def test_processes_end_when_the_work_is_left(tmp_path):
    work = shared(sleep, [str(tmp_path)], 1)
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    # what a shell starts in the background ignores it
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(3)
    with pytest.raises(KeyboardInterrupt):
        next(work)
    signal.signal(signal.SIGINT, usual)
    signal.signal(signal.SIGALRM, before)
    (path,) = tmp_path.iterdir()
    until(lambda: not alive(int(path.name)))


def test_processes_end_with_a_parent_that_was_killed(tmp_path):
    code = (
        "from experiments.common.workers import shared; from tests.experiments.test_workers import sleep\n"
        f"if __name__ == '__main__': list(shared(sleep, [{str(tmp_path)!r}] * 2, 2))"
    )
    program = tmp_path / "program.py"
    program.write_text(code)
    parent = subprocess.Popen([sys.executable, str(program)], env={**os.environ, "PYTHONPATH": str(ROOT)})
    started = lambda: [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]  # noqa: E731
    until(lambda: len(started()) == 2)
    parent.kill()
    parent.wait()
    until(lambda: not any(alive(pid) for pid in started()), seconds=5)


def test_a_folder_in_use_is_refused_with_its_owner_and_since_when(tmp_path):
    with owned(tmp_path):
        code = f"from pathlib import Path; {OWN}\nwith owned(Path({str(tmp_path)!r})): pass"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert f"process {os.getpid()}, which started at 20" in done.stderr
        assert "is writing this folder; wait for it" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_dead_owner_is_taken_over(tmp_path):
    code = (
        f"import time; from pathlib import Path; {OWN}\nwith owned(Path({str(tmp_path)!r})): time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    until(lambda: (tmp_path / ".lock").exists() and (tmp_path / ".lock").stat().st_size > 0)
    with pytest.raises(ConfigError, match=f"process {owner.pid}"), owned(tmp_path):
        pass
    owner.kill()
    owner.wait()
    assert (tmp_path / ".lock").exists()
    with owned(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
