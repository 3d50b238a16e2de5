"""Where numbers come from: code, settings, packages, processor; no name or path of the machine."""

import hashlib
import json
import platform
import subprocess
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from layers import third_party

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("configs", "experiments", "layers")
# Beside the packages behind the engines of the layer, which the layer names itself.
PACKAGES = (
    *("torch", "numpy", "scipy", "pandas", "cvxpy", "clarabel", "diffcp"),
    *("PyWavelets", "skfolio", "hydra-core"),
)


def provenance(config: Any, seconds: float, threads: int) -> dict[str, object]:
    """What is needed to repeat a run of `config`; it took `seconds` with `threads` in each process."""
    return {
        "config": settings(config),
        "git": git_state(),
        "packages": versions(),
        "python": platform.python_version(),
        "cpu": processor(),
        "system": platform.system(),
        "threads_per_process": threads,
        "seconds": round(seconds, 1),
    }


def settings(config: Any) -> dict[str, Any]:
    """The resolved configuration as plain values, less the folder of the output, which changes no number."""
    plain = OmegaConf.to_container(OmegaConf.structured(config), resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key != "output"}


def fingerprint(config: Any) -> str:
    """A digest of settings and source files: equal digests mean equal numbers on one machine."""
    digest = hashlib.sha256(json.dumps(settings(config), sort_keys=True).encode())
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".py", ".yaml", ".cpp", ".hpp"}:
                digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def git_state() -> dict[str, object]:
    """Revision and whether the code that computes differs from it; both None outside a git checkout."""
    revision, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", *SOURCES)
    return {"revision": revision, "dirty": None if changes is None else bool(changes)}


def versions() -> dict[str, str | None]:
    """Installed version of each package that can change a number, None where it is missing."""
    found: dict[str, str | None] = {}
    for name in dict.fromkeys(chain(PACKAGES, *third_party().values())):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def processor() -> str:
    """Model name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
