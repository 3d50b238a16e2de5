"""Intervals over seeds."""

from dataclasses import dataclass

import numpy as np

from experiments.common.results import Frame, Row


@dataclass(frozen=True)
class Interval:
    """A mean with the ends of its interval; with fewer than two values the ends are not a number."""

    mean: float
    lo: float
    hi: float


def bootstrap(values: np.ndarray, level: float = 0.95, resamples: int = 10_000) -> Interval:
    """Mean of `values` with its percentile bootstrap interval (Efron & Tibshirani 1993, section 13.3).

    Parameters
    ----------
    values : array, shape (count,)
        One finite value for each seed.
    level : float
        Probability content of the interval.
    resamples : int
        Bootstrap samples, drawn from a fixed seed: the same values give the same interval.

    Raises
    ------
    ValueError
        If `values` is empty or not finite.
    """
    values = np.asarray(values, dtype=float)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"bootstrap: expected at least one value, all finite, got {values}")
    mean = float(values.mean())
    if values.size == 1:
        return Interval(mean, np.nan, np.nan)
    draws = np.random.default_rng(0).integers(values.size, size=(resamples, values.size))
    lo, hi = np.quantile(values[draws].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(lo), float(hi))


def summarise(metrics: Frame, final: tuple[str, ...]) -> list[Row]:
    """Rows of `summary`: mean and interval over seeds of the metrics in `final`, by method and split."""
    keys = ["experiment", "method", "split", "metric", "unit"]
    chosen = metrics[metrics["metric"].isin(final)]
    rows: list[Row] = []
    for group, values in chosen.groupby(keys, sort=True)["value"]:
        interval = bootstrap(values.to_numpy())
        labels = dict(zip(keys, group, strict=True))
        rows.append(
            {**labels, "mean": interval.mean, "lo": interval.lo, "hi": interval.hi, "seeds": len(values)}
        )
    return rows
