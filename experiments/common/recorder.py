"""Collects the rows of one cell of an experiment."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from experiments.common import weights
from experiments.common.results import Row, Tables
from experiments.common.weights import Parameters

Found = TypeVar("Found")


class Recorder:
    """Rows of one (method, seed); signals and matrices, which are for looking at, only if `examples`.

    Parameters
    ----------
    experiment, method : str
        Labels of every row; each call may name another method.
    seed : int
        Label of every row.
    units : tuple of str
        Unit of a signal and of its square.
    examples : bool
        Whether to keep signals and matrices.
    """

    def __init__(self, experiment: str, method: str, seed: int, units: tuple[str, str], examples: bool):
        self.experiment, self.method, self.seed, self.examples = experiment, method, seed, examples
        self.unit, self.squared_unit = units
        self.tables: Tables = {"metrics": [], "timings": [], "signals": [], "matrices": []}

    def metric(
        self, metric: str, split: str, step: int, value: float, unit: str, method: str | None = None
    ) -> None:
        """Record one number."""
        values: dict[str, object] = {
            "split": split,
            "step": step,
            "metric": metric,
            "value": float(value),
            "unit": unit,
        }
        self.tables["metrics"].append(self._row(method, values))

    def curves(self, mse: dict[str, dict[int, float]]) -> None:
        """Record the mean squared error by split and epoch."""
        for split, errors in mse.items():
            for epoch, error in errors.items():
                self.metric("mse", split, epoch, error, self.squared_unit)

    def errors(self, errors: dict[str, float], step: int = 0, method: str | None = None) -> None:
        """Record the mean squared error of the finished method by split, and its epoch as `step`."""
        for split, error in errors.items():
            self.metric("final_mse", split, step, error, self.squared_unit, method)

    @contextmanager
    def timed(self, phase: str, method: str | None = None) -> Generator[None]:
        """Record the seconds spent inside the block."""
        start = time.perf_counter()
        yield
        self.timing(phase, time.perf_counter() - start, method=method)

    def timing(self, phase: str, value: float, unit: str = "s", method: str | None = None) -> None:
        """Record a measured time, or a number computed from such times."""
        self.tables["timings"].append(self._row(method, {"phase": phase, "value": value, "unit": unit}))

    def learned(self, parameters: Parameters, train: Callable[[], Found], part: str = "") -> Found | None:
        """What `train()` returns, which changes `parameters` in place; as they are then, they are kept.

        Where weights are given (`experiments.evaluate`), these are put in place instead, and there is nothing to
        return. `part` tells several models of one method apart.
        """
        prefix = "/".join(filter(None, (self.method, str(self.seed), part)))
        if weights.put(parameters, prefix):
            return None
        found = train()
        self.tables.setdefault("weights", []).extend(weights.rows(parameters, prefix))
        return found

    def refusal(self, split: str, step: int, reason: str, method: str | None = None) -> None:
        """Record why a method gave no answer."""
        row = self._row(method, {"split": split, "step": step, "reason": reason})
        self.tables.setdefault("refusals", []).append(row)

    def signals(self, signals: np.ndarray, method: str | None = None, first_index: int = 0) -> None:
        """Record the rows of `signals`, whose first sample has the index `first_index`."""
        for (signal, index), value in np.ndenumerate(signals if self.examples else signals[:0]):
            place = {"signal": signal, "index": first_index + index}
            row = self._row(method, {**place, "value": float(value), "unit": self.unit})
            self.tables["signals"].append(row)

    def matrix(self, name: str, entries: np.ndarray) -> None:
        """Record every entry of a dimensionless matrix."""
        for (i, j), value in np.ndenumerate(entries if self.examples else entries[:0]):
            place = {"matrix": name, "row": i, "column": j}
            self.tables["matrices"].append(self._row(None, {**place, "value": float(value), "unit": "1"}))

    def _row(self, method: str | None, values: dict[str, object]) -> Row:
        return {"experiment": self.experiment, "method": method or self.method, "seed": self.seed, **values}
