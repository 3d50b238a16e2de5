"""Hourly demand for electricity in New South Wales, May 1996 to December 1998: experiments/data/nsw_demand.csv.

Where the file comes from and what was done to it is told in docs/data.md. Demand is normalised there to [0, 1]; its
unit is not known.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from experiments.common.files import checked_bytes
from experiments.common.sources import ROOT

FILE = ROOT / "experiments" / "data" / "nsw_demand.csv"
SHA256 = "a428d9009656ace95505b83dee8adbf931b09fe2ee6cb9acb0f67c76c6a02a64"
#: days back from which a forecast knows the load
LAGS = (1, 7)


@dataclass(frozen=True)
class Demand:
    """One row a day: its `date`, and the mean demand of each of 24 hours."""

    dates: np.ndarray
    values: np.ndarray

    def examples(self, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """What is known the day before, shape (days, inputs), and the load of 24 hours times `scale`.

        Known are the load of the day before and of a week before, the day of the week, and the sine and cosine of the
        day of the year; the first week has no week before.
        """
        load, dates = scale * self.values, self.dates
        first = max(LAGS)
        weekday = np.eye(7)[(dates.astype("datetime64[D]").astype(int) - 4) % 7]
        turn = 2 * np.pi * (dates - dates.astype("datetime64[Y]")).astype(int) / 365.25
        season = np.stack((np.cos(turn), np.sin(turn)), 1)
        past = [load[first - lag : len(load) - lag] for lag in LAGS]
        return np.concatenate([*past, weekday[first:], season[first:]], 1), load[first:]


@cache
def load_demand() -> Demand:
    """The tracked file; raises `ConfigError` if it is missing or was altered."""
    return parse_demand(FILE)


def parse_demand(path: Path) -> Demand:
    """The demand in the CSV file `path`; raises `ConfigError` if it is missing or was altered."""
    again = f"git checkout -- {FILE.relative_to(ROOT)}"
    text = checked_bytes(path, SHA256, "demand", f"; it is tracked: {again}", f"an altered file; {again}")
    rows = [line.split(",") for line in text.decode("ascii").splitlines()[1:]]
    dates = np.array([row[0] for row in rows], dtype="datetime64[D]")
    return Demand(dates, np.array([row[1:] for row in rows], dtype=float))
