"""What is known of daily returns at the end of each month, what the month after brings, and what a portfolio makes of
it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from experiments.common.monthly import YEAR, Monthly, daily_changes, decisions
from experiments.common.performance import block_orders
from experiments.common.prices import Prices
from experiments.common.results import Row
from experiments.common.stats import Interval

#: name -> unit
MEASURES = {"variance": "1/year", "volatility": "1/year^0.5", "turnover": "1/year"}


@dataclass(frozen=True)
class Months(Monthly):
    """One row for each month that portfolios are held.

    Attributes
    ----------
    closing : array of int, shape (rows,)
        How many daily returns are known at the decision.
    daily : array, shape (days, assets)
        All daily returns.
    moments : Tensor, shape (rows, half-lives, assets, assets)
        Second moments of the daily returns known, a return counting half as much after each of the half-lives.
    growth : Tensor, shape (rows, days, assets)
        Prices in the month over those at the decision, the day of the decision first; short months stand still at the
        end.
    days : Tensor, shape (rows,)
        Trading days of each month.
    """

    closing: np.ndarray
    daily: np.ndarray
    moments: Tensor
    growth: Tensor
    days: Tensor


def make_months(prices: Prices, half_lives: list[float]) -> Months:
    """The rows of all months before which enough daily returns are known."""
    months, closing, after = decisions(prices)
    daily = daily_changes(prices)
    days = after - closing
    steps = np.minimum(np.arange(days.max() + 1), days[:, None])
    growth = prices.values[closing[:, None] + steps] / prices.values[closing][:, None]
    moments = np.stack([_moments(daily, closing, 0.5 ** (1 / half)) for half in half_lives], 1)
    return Months(
        months=months,
        closing=closing,
        daily=daily,
        moments=torch.from_numpy(moments),
        growth=torch.from_numpy(growth),
        days=torch.from_numpy(days),
    )


def _moments(daily: np.ndarray, closing: np.ndarray, decay: float) -> np.ndarray:
    """Σ wₛrₛrₛ' / Σ wₛ over the returns known at each decision, wₛ falling by `decay` from one day to the day
    before.
    """
    total, weight, found = np.zeros((daily.shape[1],) * 2), 0.0, []
    last = 0
    for count in closing:
        past = daily[last:count]
        fallen = decay ** np.arange(len(past))[::-1]
        total = decay ** len(past) * total + (past * fallen[:, None]).T @ past
        weight = decay ** len(past) * weight + fallen.sum()
        found.append(total / weight)
        last = count
    return np.stack(found)


def daily_returns(months: Months, rows: np.ndarray, weights: Tensor) -> Tensor:
    """What each day of the months `rows` earns, shape (rows, days), for weights at their beginning, (rows, assets).

    Shares are held through the month, so that weights drift; after its last day a month earns nothing.
    """
    value = (months.growth[rows] @ weights[:, :, None])[:, :, 0]
    return value[:, 1:] / value[:, :-1] - 1


def turnover(months: Months, rows: np.ndarray, weights: Tensor) -> Tensor:
    """½‖w - held‖₁ at the beginning of each of consecutive `rows` but the first, which buys: zero."""
    held = months.growth[rows][:, -1] * weights
    held = held / held.sum(-1, keepdim=True)
    traded = 0.5 * (weights[1:] - held[:-1]).abs().sum(-1)
    return torch.cat((torch.zeros(1, dtype=traded.dtype), traded))


@dataclass(frozen=True)
class Account:
    """Of consecutive months, shape (..., months): days, sums of daily returns and of their squares, what is traded."""

    days: np.ndarray
    summed: np.ndarray
    squared: np.ndarray
    traded: np.ndarray

    def measures(self) -> dict[str, np.ndarray]:
        """Every one of `MEASURES` over the last axis: of daily returns, a year of 252 days."""
        count = self.days.sum(-1)
        variance = YEAR * (self.squared.sum(-1) - self.summed.sum(-1) ** 2 / count) / (count - 1)
        return {
            "variance": variance,
            "volatility": np.sqrt(variance),
            "turnover": 12 * self.traded.mean(-1),
        }

    def take(self, order: np.ndarray) -> "Account":
        """The months `order`, shape (resamples, months)."""
        return Account(*(getattr(self, name)[order] for name in ("days", "summed", "squared", "traded")))


def assess(accounts: dict[str, Account], block: int, resamples: int = 5000) -> list[Row]:
    """Every measure of every method and its difference to each other one, with 95 % intervals.

    Circular block bootstrap of months, in blocks of `block`, the same for all methods, so that common luck cancels;
    columns as of `performance.assess`.
    """
    months = len(next(iter(accounts.values())).days)
    orders = block_orders(months, block, resamples, np.random.default_rng(0))
    found = {method: account.measures() for method, account in accounts.items()}
    drawn = {method: account.take(orders).measures() for method, account in accounts.items()}
    rows: list[Row] = []
    for method in accounts:
        for baseline in ("", *(name for name in accounts if name != method)):
            for metric, unit in MEASURES.items():
                less = found[baseline][metric] if baseline else 0.0
                spread = drawn[method][metric] - (drawn[baseline][metric] if baseline else 0.0)
                lo, hi = np.quantile(spread, [0.025, 0.975])
                ends = Interval(float(found[method][metric] - less), float(lo), float(hi))
                labels = {"method": method, "baseline": baseline, "metric": metric, "unit": unit}
                rows.append({**labels, "mean": ends.mean, "lo": ends.lo, "hi": ends.hi})
    return rows
