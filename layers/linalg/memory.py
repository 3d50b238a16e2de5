"""Memory that would be exceeded is told before it is taken."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from layers.errors import ProblemError

GIBIBYTE = 2.0**30


def available_bytes() -> float:
    """What this process may still take: of the machine, or of its container if that has less; infinity if unknown."""
    free = float("inf")
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = 1024.0 * float(line.split()[1])
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        free = min(
            free, float((group / "memory.max").read_text()) - float((group / "memory.current").read_text())
        )
    return free


def require_memory(needed: float, what: str, advice: str) -> None:
    """Refuse what would not fit.

    Raises
    ------
    ProblemError
        With the bytes that are needed and those that are there.
    """
    if needed < GIBIBYTE:
        return
    free = available_bytes()
    if needed > free:
        raise ProblemError(
            f"{what} would take {needed / GIBIBYTE:.1f} GiB ({needed:.0f} bytes), of which {free / GIBIBYTE:.1f} are "
            f"there; {advice}"
        )
