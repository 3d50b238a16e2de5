"""Intervals over seeds: what is known of a mean, a geometric mean, a proportion, a change.

Which interval a table holds stands beside it, in the column `interval`. tests/experiments/test_stats.py measures how
often each of them covers the truth at 3, 5 and 10 values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from scipy.special import ndtri, stdtrit

from experiments.common.results import Frame, Row

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A middle with the ends of its interval; with fewer than two values the ends are not a number.

    `kind` says what the middle is and how the ends were found.
    """

    mean: float
    lo: float
    hi: float
    kind: str = ""


def t_interval(values: np.ndarray, level: float = LEVEL) -> Interval:
    """Mean m and m +- t s / sqrt(n), with t the quantile of Student's distribution of n - 1 degrees of freedom.

    Parameters
    ----------
    values : array, shape (n,)
        One finite value for each seed.
    level : float
        Probability that the interval holds the expectation, where the values are normal.

    Raises
    ------
    ValueError
        If `values` is empty or not finite.
    """
    values = _checked(values)
    mean = float(values.mean())
    if values.size == 1:
        return Interval(mean, np.nan, np.nan, "one value")
    # The spread of equal values is zero, and not what rounding leaves of their mean.
    spread = 0.0 if np.ptp(values) == 0 else float(values.std(ddof=1))
    half = float(stdtrit(values.size - 1, (1 + level) / 2)) * spread / np.sqrt(values.size)
    return Interval(mean, mean - half, mean + half, "t")


def log_t_interval(values: np.ndarray, level: float = LEVEL) -> Interval:
    """Geometric mean of positive `values`, and the t-interval of their logarithms taken back.

    Raises
    ------
    ValueError
        If a value is not positive and finite.
    """
    values = _checked(values)
    if values.min() <= 0:
        raise ValueError(f"log_t_interval: expected positive values, got {values}")
    logs = t_interval(np.log(values), level)
    if logs.kind == "one value":
        return Interval(float(values[0]), np.nan, np.nan, logs.kind)
    return Interval(*(float(np.exp(end)) for end in (logs.mean, logs.lo, logs.hi)), kind="t of logarithms")


def wilson(successes: float, trials: float, level: float = LEVEL) -> Interval:
    """The score interval of a proportion (Wilson 1927): all p with |k/n - p| <= z sqrt(p (1 - p) / n).

    It has a width at 0 and at 1 too. The middle is k/n.

    Raises
    ------
    ValueError
        Unless 0 <= successes <= trials and there is a trial.
    """
    if not 0 <= successes <= trials or trials <= 0:
        raise ValueError(
            f"wilson: expected 0 <= successes <= trials, trials > 0, got {successes} of {trials}"
        )
    z, share = float(ndtri((1 + level) / 2)), successes / trials
    middle = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    # At 0 and 1 an end is the proportion itself; rounding must not put it on the wrong side.
    return Interval(share, min(share, middle - half), max(share, middle + half), "Wilson")


def proportion_interval(shares: np.ndarray, trials: int = 1, level: float = LEVEL) -> Interval:
    """What is known of a proportion from one share for each seed, each of `trials` trials.

    Trials of one seed share what was learned, so the seeds differ by more than chance among trials: the interval is the
    hull of Wilson's over all trials and, with more than one trial a seed, of the t-interval over seeds, inside [0, 1].
    """
    shares = _checked(shares)
    pooled = wilson(float(shares.sum()) * trials, shares.size * trials, level)
    if trials == 1 or shares.size == 1:
        return pooled
    seeds = t_interval(shares, level)
    lo, hi = max(0.0, min(pooled.lo, seeds.lo)), min(1.0, max(pooled.hi, seeds.hi))
    return Interval(pooled.mean, lo, hi, "Wilson and t")


def change_interval(values: np.ndarray, baseline: np.ndarray, level: float = LEVEL) -> Interval:
    """Relative change of `values` against `baseline`, seed by seed.

    Ratios that are all positive give their geometric mean less one, with the t-interval of their logarithms. Where one
    is not (nothing wrong in one seed, say), the paired differences over the mean of the baseline are taken.

    Raises
    ------
    ValueError
        If the two do not pair, a value is not finite, or the baseline is zero.
    """
    values, baseline = _checked(values), _checked(baseline)
    if values.shape != baseline.shape or baseline.mean() == 0:
        raise ValueError(
            f"change_interval: expected pairs, a baseline other than zero, got {values}, {baseline}"
        )
    if (baseline != 0).all() and (values / baseline).min() > 0:
        ratio = log_t_interval(values / baseline, level)
        return Interval(ratio.mean - 1, ratio.lo - 1, ratio.hi - 1, f"{ratio.kind}, paired")
    difference = t_interval((values - baseline) / baseline.mean(), level)
    lo, hi = sorted((difference.lo, difference.hi))
    return Interval(difference.mean, lo, hi, f"{difference.kind}, paired differences")


def interval(
    values: np.ndarray, unit: str = "", decades: bool = False, trials: int | None = None
) -> Interval:
    """The interval of one metric over seeds, by what the metric is.

    Parameters
    ----------
    values : array, shape (n,)
        One value for each seed.
    unit : str
        A `fraction` lies in [0, 1]: its interval is `proportion_interval` where the trials of a seed are known or each
        seed is one, else that of t, cut there.
    decades : bool
        Positive values that span decades: the geometric mean and the interval of the logarithms.
    trials : int, optional
        Of how many trials the fraction of one seed is.
    """
    values = _checked(values)
    if decades and values.min() > 0:
        return log_t_interval(values)
    if trials is None and unit == "fraction" and np.isin(values, (0.0, 1.0)).all() and values.size > 1:
        trials = 1
    if trials is not None:
        return proportion_interval(values, trials)
    plain = t_interval(values)
    # An error relative to something is called a fraction as well, and may be above one.
    if unit != "fraction" or values.min() < 0 or values.max() > 1:
        return plain
    return Interval(plain.mean, *np.clip((plain.lo, plain.hi), 0.0, 1.0).tolist(), kind=plain.kind)


def summarise(
    metrics: Frame,
    final: tuple[str, ...],
    decades: tuple[str, ...] = (),
    trials: Mapping[str, int] | None = None,
) -> list[Row]:
    """Rows of `summary`: middle and interval over seeds of the metrics in `final`, by method and split.

    Those in `decades` get the geometric mean, those in `trials` are fractions of so many; see `interval`.
    """
    keys = ["experiment", "method", "split", "metric", "unit"]
    chosen = metrics[metrics["metric"].isin(final)]
    rows: list[Row] = []
    for group, values in chosen.groupby(keys, sort=True)["value"]:
        labels = dict(zip(keys, group, strict=True))
        name = labels["metric"]
        found = interval(values.to_numpy(), labels["unit"], name in decades, (trials or {}).get(name))
        numbers = {"mean": found.mean, "lo": found.lo, "hi": found.hi, "interval": found.kind}
        rows.append({**labels, **numbers, "seeds": len(values)})
    return rows


def scales(module: ModuleType, config: Any) -> dict[str, Any]:
    """What `summarise` has to know of the metrics of an experiment, from its module and the settings of a run.

    `DECADES` names those that are positive and span decades; `TRIALS` says of how many trials the share of one seed is,
    as a number or as the place of a setting.
    """
    places: dict[str, int | str] = getattr(module, "TRIALS", {})
    trials = {metric: setting(config, place) for metric, place in places.items()}
    return {"decades": getattr(module, "DECADES", ()), "trials": trials}


def setting(config: Any, place: int | str) -> int:
    """The number at `place` of the settings, such as `data.test`; a number is itself."""
    if isinstance(place, int):
        return place
    for name in place.split("."):
        config = config[name]
    return int(config)


def _checked(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"expected at least one value, all finite, got {values}")
    return values
