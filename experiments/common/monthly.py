"""Decisions at the end of each month: which days they are made on, and the months that they are for."""

from dataclasses import dataclass

import numpy as np

from experiments.common.prices import Prices

YEAR = 252  # trading days
LOOKBACK = 504  # trading days before the first decision, about two years


@dataclass(frozen=True)
class Monthly:
    """One row for each month, decided on the last trading day before it.

    Attributes
    ----------
    months : array of datetime64[M], shape (rows,)
        The months that are decided for.
    """

    months: np.ndarray

    def rows(self, first_year: int, last_year: int) -> np.ndarray:
        """The rows of the months from January of `first_year` to December of `last_year`."""
        years = self.months.astype("datetime64[Y]").astype(int) + 1970
        return np.flatnonzero((years >= first_year) & (years <= last_year))


def decisions(prices: Prices) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The months before which `LOOKBACK` daily returns are known, with the days of decision and of their own end.

    Row d of the daily returns is the return of day d + 1, so a day of decision is also how many of them are known.
    """
    ends = prices.month_ends
    known = ends[:-1] >= LOOKBACK
    return prices.months[1:][known], ends[:-1][known], ends[1:][known]


def daily_changes(prices: Prices) -> np.ndarray:
    """The return of every day but the first, shape (days - 1, assets)."""
    return np.diff(prices.values, axis=0) / prices.values[:-1]
