"""What is reported of a series of monthly returns, with block-bootstrap intervals."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from experiments.common.results import Row
from experiments.common.stats import Interval

MONTHS = 12
# name -> unit
MEASURES = {
    "annual_return": "1/year",
    "volatility": "1/year^0.5",
    "sharpe": "1/year^0.5",
    "turnover": "1/year",
    "drawdown": "1",
}


@dataclass(frozen=True)
class Record:
    """Net returns and one-way turnover of consecutive months, both of shape (..., months)."""

    returns: np.ndarray
    turnover: np.ndarray

    def take(self, order: np.ndarray) -> "Record":
        """The months `order`, shape (resamples, months), of every series."""
        return Record(self.returns[..., order], self.turnover[..., order])


def measures(record: Record) -> dict[str, np.ndarray]:
    """Every one of `MEASURES` over the last axis.

    Notes
    -----
    annual_return is the geometric mean; volatility the standard deviation of monthly returns times √12; sharpe
    12 mean / volatility, without a riskless rate; turnover the sum of ½‖w - held‖₁ in a year; drawdown the
    largest loss from an earlier peak, as a share of it.
    """
    returns = record.returns
    wealth = np.cumprod(1 + returns, axis=-1)
    peak = np.maximum(np.maximum.accumulate(wealth, axis=-1), 1.0)
    volatility = np.sqrt(MONTHS) * returns.std(axis=-1, ddof=1)
    return {
        "annual_return": wealth[..., -1] ** (MONTHS / returns.shape[-1]) - 1,
        "volatility": volatility,
        "sharpe": MONTHS * returns.mean(axis=-1) / volatility,
        "turnover": MONTHS * record.turnover.mean(axis=-1),
        "drawdown": (1 - wealth / peak).max(axis=-1),
    }


def block_orders(months: int, block: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Months in the order of each resample of the circular block bootstrap, shape (resamples, months).

    Blocks of `block` consecutive months start anywhere with equal probability, and December of the last year is
    followed by the first month (Politis & Romano 1992), so that every month is drawn equally often.
    """
    starts = rng.integers(months, size=(resamples, -(-months // block), 1))
    return ((starts + np.arange(block)) % months).reshape(resamples, -1)[:, :months]


def assess(
    records: Mapping[str, Record], baselines: tuple[str, ...], block: int, resamples: int = 5000
) -> list[Row]:
    """Every measure of every method, and its difference to each baseline, with 95 % intervals.

    Parameters
    ----------
    records : mapping
        Method -> its record, shape (seeds, months); the months are the same for all. A measure is averaged over
        seeds.
    baselines : tuple of str
        Methods that the others are compared with; all are resampled together, so common luck cancels.
    block : int
        Months in a block.
    resamples : int
        Bootstrap samples, drawn from a fixed seed.

    Returns
    -------
    list of rows
        Columns method, baseline ("" for the measure itself), metric, mean, lo, hi, unit.
    """
    months = next(iter(records.values())).returns.shape[-1]
    orders = block_orders(months, block, resamples, np.random.default_rng(0))
    found = {method: _seed_mean(measures(record)) for method, record in records.items()}
    drawn = {method: _seed_mean(measures(record.take(orders))) for method, record in records.items()}
    rows: list[Row] = []
    for method in records:
        for baseline in ("", *(name for name in baselines if name in records and name != method)):
            for metric, unit in MEASURES.items():
                less = found[baseline][metric] if baseline else 0.0
                spread = drawn[method][metric] - (drawn[baseline][metric] if baseline else 0.0)
                lo, hi = np.quantile(spread, [0.025, 0.975])
                labels = {"method": method, "baseline": baseline, "metric": metric, "unit": unit}
                interval = Interval(float(found[method][metric] - less), float(lo), float(hi))
                rows.append({**labels, "mean": interval.mean, "lo": interval.lo, "hi": interval.hi})
    return rows


def _seed_mean(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value.mean(axis=0) for name, value in values.items()}
