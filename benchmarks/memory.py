"""Peak memory of one engine on one row: `python -m benchmarks.memory ROW ENGINE SETTING`, in a process of its own.

Linux keeps the high-water mark of resident memory and lets a process reset its own. The process imports everything,
makes the data and the layer, warms up on a program of two variables, resets the mark, runs forward and backward once
and prints by how many MiB the mark has risen.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.engines import Engine, all_engines
from benchmarks.problems import Data, random_programs
from benchmarks.reference import cotangent
from benchmarks.rows import all_rows
from benchmarks.timing import Trial, run_once


def trial(engine: Engine, setting: dict[str, object], data: Data) -> Trial:
    """One forward and backward of `engine` on `data`, its layer built here."""
    solve, leaves = engine.build(data, setting), data.leaves()
    return Trial(lambda: solve(leaves), [getattr(leaves, name) for name in data.learned], [cotangent(data)])


def peak(row: str, engine: str, setting: dict[str, object]) -> float | None:
    """MiB that a fresh process needs beyond its baseline; None where that cannot be measured."""
    command = [sys.executable, "-m", "benchmarks.memory", row, engine, json.dumps(setting)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def _status(field: str) -> float:
    text = Path("/proc/self/status").read_text("utf-8")
    (kib,) = re.findall(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
    return float(kib) / 1024


def main(arguments: list[str]) -> None:
    """Entry point of the child process."""
    row, name, setting = arguments
    engine, options = all_engines()[name], json.loads(setting)
    run_once(trial(engine, options, random_programs(0, 2, 2, 3, 1)))
    ready = trial(engine, options, all_rows()[row].make(0))
    Path("/proc/self/clear_refs").write_text("5", "utf-8")
    before = _status("VmRSS")
    run_once(ready)
    sys.stdout.write(f"{_status('VmHWM') - before:.2f}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
