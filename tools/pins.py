"""Tell whether the packages of this interpreter stand at the pinned versions (standard library only).

``python tools/pins.py PIN...`` prints one line per disagreement and exits with 1 when there is any; ``--lock`` in place
of the pins asks for the lock alone.
"""

import json
import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
OURS = "differentiable-convex-layers"


def read_lock(lines: list[str]) -> dict[str, str]:
    """Return ``{package: version}`` from lines ``package==version``, comments and blank lines left out."""
    pins: dict[str, str] = {}
    for line in lines:
        text = line.split("#")[0].strip()
        if text:
            name, version = text.split("==")
            pins[re.sub(r"[-_.]+", "-", name).lower()] = version
    return pins


def _find(name: str) -> Distribution | None:
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    # pip writes RECORD last: without it the installation was interrupted.
    return found if found.read_text("RECORD") is not None else None


def disagreements(pins: dict[str, str]) -> list[str]:
    """Return one sentence per package that is missing or stands at another version than its pin."""
    lines: list[str] = []
    for name, wanted in pins.items():
        found = _find(name)
        # A local label names the build (torch 2.13.0+cpu is torch 2.13.0 built without CUDA).
        version = None if found is None else found.version.split("+")[0]
        if version != wanted:
            lines.append(f"{name}: {wanted} is pinned, {version or 'nothing'} is installed")
    return lines


def stale_install() -> list[str]:
    """Return a sentence if our own package is not installed editable from this very tree."""
    found = _find(OURS)
    origin = None if found is None else found.read_text("direct_url.json")
    if origin is None or unquote(json.loads(origin)["url"]) != f"file://{ROOT.as_posix()}":
        return [f"{OURS}: is not installed from {ROOT}"]
    return []


def main(extra_pins: list[str]) -> int:
    """Compare this interpreter with requirements.lock and ``extra_pins``, or ``--lock``; return the exit status."""
    lock = LOCK.read_text("utf-8").splitlines()
    if extra_pins == ["--lock"]:
        lines = disagreements(read_lock(lock))
    else:
        lines = disagreements(read_lock([*lock, *extra_pins])) + stale_install()
    for line in lines:
        sys.stdout.write(f"{line}\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
