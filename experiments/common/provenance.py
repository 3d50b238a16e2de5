"""Where numbers come from: code, settings, packages, processor; no name or path of the machine."""

import hashlib
import json
import platform
import subprocess
from functools import cache
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from experiments.common.sources import ROOT, library, programs
from layers import core, third_party

SOURCES = ("configs", "experiments", "layers")
# Beside the packages behind the engines of the layer, which the layer names itself.
PACKAGES = (
    *("torch", "numpy", "scipy", "pandas", "cvxpy", "clarabel", "diffcp"),
    *("PyWavelets", "skfolio", "hydra-core"),
)


@cache
def origin() -> dict[str, Any]:
    """Where this process computes: revision, versions, processor, and what `solver="auto"` is here.

    Asked once: a process computes with the code that it has imported, whatever happens to the files meanwhile.
    """
    return {
        "git": git_state(),
        "packages": versions(),
        "python": platform.python_version(),
        "cpu": processor(),
        "system": platform.system(),
        "engine": engine(),
    }


def engine() -> dict[str, Any]:
    """What `solver="auto"` takes here, and of the C++ core its instruction set (doubles at once) and a digest."""
    built = core()
    taken = "interior_point" if built is None else "native"
    return {"auto": taken, **({"lanes": None, "core": None} if built is None else built)}


def device() -> str:
    """Where the tensors of this process have been: the name of its CUDA device once that was used, else cpu."""
    return torch.cuda.get_device_name() if torch.cuda.is_initialized() else "cpu"


def cell_provenance(config: Any, method: str, seed: int, seconds: float) -> dict[str, Any]:
    """What is needed to repeat one cell, written by the process that computed it in `seconds`."""
    labels = {"method": method, "seed": seed, "seconds": round(seconds, 2), "device": device()}
    return {**labels, **origin(), "config": settings(config)}


def provenance(config: Any, changes: dict[str, Any], cells: list[dict[str, Any]]) -> dict[str, Any]:
    """What is needed to repeat a run of `config`, whose `changes` set it apart from the run of the same size.

    The table of the `cells` tells the seconds of each and where it was computed, as far as that differs from the
    whole; `mixed` names what is not the same for all of them.
    """
    common = origin()
    parts = [_differing(cell, common) for cell in cells]
    mixed = sorted({key for part in parts for key in part} & {*common})
    devices = {part["device"] for part in parts}
    return {
        "config": settings(config),
        "changes": changes,
        **common,
        "mixed": mixed + ["device"] * (len(devices) > 1),
        "cells": parts,
    }


def _differing(cell: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    """The provenance of a cell without what `common` says already."""
    return {
        key: value
        for key, value in cell.items()
        if key != "config" and (key not in common or value != common[key])
    }


def settings(config: Any) -> dict[str, Any]:
    """The resolved configuration as plain values, less the folder of the output, which changes no number."""
    plain = OmegaConf.to_container(OmegaConf.structured(config), resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key != "output"}


def fingerprint(config: Any) -> str:
    """A digest of settings, sources, versions and engine: equal digests mean equal numbers on one machine.

    The number of processes that share the work is no part of it, nor what a training tells on the way.
    """
    asked = {key: value for key, value in settings(config).items() if key not in ("workers", "log")}
    digest = hashlib.sha256(json.dumps([asked, versions(), engine()], sort_keys=True).encode())
    # The C++ sources are no part of it, but the core that was built from them, which `engine` digests.
    for path in (*programs(config.experiment), *library(compiled=False)):
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
