"""Finds the proofs and runs one of their checks: what a worker process needs."""

from __future__ import annotations

import importlib
import pkgutil

import proofs
from proofs.ledger import CHECKS, Verdict

MACHINERY = {"__main__", "ledger", "report", "runner"}


def load() -> None:
    """Import every proof, in alphabetical order, so that each registers its checks; sort them by item."""
    for module in sorted(info.name for info in pkgutil.iter_modules(proofs.__path__) if not info.ispkg):
        if module not in MACHINERY:
            importlib.import_module(f"proofs.{module}")
    CHECKS.sort(key=lambda entry: entry.item)


def run_named(name: str) -> Verdict:
    """Run the check called `name` in this process."""
    load()
    return next(entry for entry in CHECKS if entry.name == name).run()
