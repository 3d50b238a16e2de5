"""What is known at the end of each month, and what the next month then brings: the data of a monthly trader.

Everything of a row is computed from prices up to the last trading day before its month; only `gross` looks
ahead, by that month itself.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from experiments.common.monthly import LOOKBACK, YEAR, Monthly, daily_changes, decisions
from experiments.common.prices import Prices

QUARTER, MONTH = 63, 21  # in trading days
FEATURES = ("momentum", "last month", "volatility", "below high")


@dataclass(frozen=True)
class Market(Monthly):
    """One row for each month.

    Attributes
    ----------
    features : Tensor, shape (rows, assets, 4)
        `FEATURES` of each asset, standardised over the assets of a month.
    covariance : Tensor, shape (rows, assets, assets)
        Sample covariance of the daily returns of the last 504 days, times 21: that of a month.
    gross : Tensor, shape (rows, assets)
        1 + return in the month.
    """

    features: Tensor
    covariance: Tensor
    gross: Tensor


def make_market(prices: Prices) -> Market:
    """The rows of all months before which there are `LOOKBACK` days of prices."""
    months, closing, after = decisions(prices)
    daily = daily_changes(prices)
    covariance = np.stack([MONTH * np.cov(daily[day - LOOKBACK : day], rowvar=False) for day in closing])
    features = np.stack([_features(prices.values, daily, day) for day in closing])
    return Market(
        months=months,
        features=torch.from_numpy(features),
        covariance=torch.from_numpy(covariance),
        gross=torch.from_numpy(prices.values[after] / prices.values[closing]),
    )


def shrunk(covariance: Tensor, shrinkage: Tensor) -> Tensor:
    """(1 - δ) Σ + δ v I, v the mean variance of the assets; δ of shape (batch,), Σ (batch, assets, assets)."""
    mean = covariance.diagonal(dim1=-2, dim2=-1).mean(-1)
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype)
    delta = shrinkage[..., None, None]
    return (1 - delta) * covariance + delta * mean[..., None, None] * eye


def _features(values: np.ndarray, daily: np.ndarray, day: int) -> np.ndarray:
    """The standardised features known on `day`, shape (assets, 4)."""
    past = values[day - YEAR : day + 1]
    columns = (
        np.log(past[-1 - MONTH] / past[0]),  # eleven months up to a month ago
        np.log(past[-1] / past[-1 - MONTH]),
        np.log(daily[day - QUARTER : day].std(axis=0)),
        np.log(past[-1] / past.max(axis=0)),
    )
    table = np.stack(columns, axis=1)
    return (table - table.mean(axis=0)) / table.std(axis=0)
