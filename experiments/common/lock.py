"""One process writes a folder at a time."""

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from experiments.common.errors import ConfigError


@contextmanager
def owned(directory: Path) -> Generator[None]:
    """Hold `directory`, made if missing, for the block; the file .lock in it says which process does, and since when.

    The operating system lets go of the lock when its owner ends, however it ends: a dead owner's is taken over.

    Raises
    ------
    ConfigError
        If a living process holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / ".lock"
    handle = _locked(path)
    try:
        os.truncate(handle, 0)
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        os.write(handle, json.dumps({"process": os.getpid(), "started": started}).encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _locked(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise ConfigError(
                f"{path.parent}: {_owner(path)}; wait for it, or end it, and try again"
            ) from None
        except OSError:
            os.close(handle)
            raise
        # An owner that has just finished has removed the file that was opened here: its lock protects nothing.
        if path.exists() and path.stat().st_ino == os.fstat(handle).st_ino:
            return handle
        os.close(handle)


def _owner(path: Path) -> str:
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        return f"process {owner['process']}, which started at {owner['started']}, is writing this folder"
    except (OSError, ValueError):
        return "another process is writing this folder"
