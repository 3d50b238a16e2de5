"""Daily prices of 20 large American stocks, 1990 to 2022: the file that the package skfolio carries.

The file is found through the list of installed packages, so nothing of skfolio is imported, and its content
is compared with a checksum, so a changed file cannot change a result unseen. What the data are and what they
are not (survivors only) is told in docs/data.md.
"""

import gzip
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np

from experiments.common.errors import ConfigError, require, require_one_of
from experiments.common.files import checked_bytes

PACKAGE = "skfolio"
FILE = "skfolio/datasets/data/sp500_dataset.csv.gz"
SHA256 = "ee21cac28befb1d0a739a9ceb22184f995394726aa0cfde9a21941d1ac04ac0d"


@dataclass(frozen=True)
class Prices:
    """Adjusted closing prices in dollars: one row for each trading day, one column for each of `assets`."""

    days: np.ndarray
    assets: tuple[str, ...]
    values: np.ndarray

    @property
    def month_ends(self) -> np.ndarray:
        """Index of the last trading day of every month, in order; the last month may be incomplete."""
        months = self.days.astype("datetime64[M]")
        return np.append(np.flatnonzero(np.diff(months)), len(months) - 1)

    @property
    def months(self) -> np.ndarray:
        """The month of every entry of `month_ends`, as datetime64[M]."""
        return self.days[self.month_ends].astype("datetime64[M]")

    def of(self, assets: list[str]) -> "Prices":
        """The columns of `assets`, in that order; raises ConfigError for a name that is not there."""
        for asset in assets:
            require_one_of("data.assets", asset, self.assets)
        require(len(set(assets)) == len(assets), "data.assets", assets, "assets that differ")
        columns = [self.assets.index(asset) for asset in assets]
        return Prices(self.days, tuple(assets), self.values[:, columns])


@dataclass(frozen=True)
class LogNormal:
    """Log-normal returns of a month: log(1 + return) is normal with `mean` and `covariance`.

    `gross_mean` and `gross_covariance` are those of 1 + return itself,
    m_i = exp(μ_i + ½Σ_ii) and C_ij = m_i m_j (exp(Σ_ij) - 1).
    """

    mean: np.ndarray
    covariance: np.ndarray

    @property
    def gross_mean(self) -> np.ndarray:
        """E(1 + return), shape (assets,)."""
        return np.exp(self.mean + 0.5 * np.diag(self.covariance))

    @property
    def gross_covariance(self) -> np.ndarray:
        """cov(1 + return), shape (assets, assets)."""
        return np.outer(self.gross_mean, self.gross_mean) * np.expm1(self.covariance)

    def sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Draws of 1 + return, shape (*shape, assets)."""
        root = np.linalg.cholesky(self.covariance)
        return np.exp(self.mean + rng.standard_normal((*shape, len(self.mean))) @ root.T)


@cache
def load_prices() -> Prices:
    """All prices of the file.

    Raises
    ------
    ConfigError
        If the package or its file is missing, or the content is not the one the results were made from.
    """
    return parse_prices(_path())


def parse_prices(path: Path) -> Prices:
    """The prices in `path`, a compressed CSV file; raises ConfigError if it is missing or was altered."""
    missing = f" from {PACKAGE}; install it again: make setup"
    altered = f"another version of {PACKAGE}, or an altered file; install the pinned one: make setup"
    packed = checked_bytes(path, SHA256, "prices", missing, altered)
    lines = gzip.decompress(packed).decode("ascii").splitlines()
    cells = [line.split(",") for line in lines]
    days = np.array([row[0] for row in cells[1:]], dtype="datetime64[D]")
    return Prices(days, tuple(cells[0][1:]), np.array([row[1:] for row in cells[1:]], dtype=float))


def monthly_log_moments(prices: Prices, last: str, count: int) -> LogNormal:
    """Sample mean and covariance (divisor count - 1) of the log returns of `count` months that end with `last`.

    Raises
    ------
    ConfigError
        If `last` is not a month such as 2019-12, or the file does not reach that far back.
    """
    logs = monthly_log_returns(prices, last, count)
    return LogNormal(logs.mean(axis=0), np.cov(logs, rowvar=False))


def monthly_log_returns(prices: Prices, last: str, count: int) -> np.ndarray:
    """log(price / price a month earlier) in the `count` months that end with `last`, shape (count, assets)."""
    months = prices.months
    try:
        month = np.datetime64(last, "M")
    except ValueError:
        raise ConfigError(f"data.last_month: got {last!r}, expected a month such as 2019-12") from None
    known = f"a month from {months[1]} to {months[-1]}"
    require(bool(months[1] <= month <= months[-1]), "data.last_month", last, known)
    end = int(np.searchsorted(months, month))
    require(2 <= count <= end, "data.months", count, f"2 to {end} months of returns before {last}")
    closing = np.log(prices.values[prices.month_ends[end - count : end + 1]])
    return np.diff(closing, axis=0)


def least_volatile(prices: Prices, last: str, months: int, count: int) -> list[str]:
    """The `count` assets whose monthly log returns vary least in the window, in the order of the file."""
    require(2 <= count <= len(prices.assets), "data.count", count, f"2 to {len(prices.assets)} assets")
    spread = monthly_log_returns(prices, last, months).std(axis=0)
    chosen = np.sort(np.argsort(spread, kind="stable")[:count])
    return [prices.assets[column] for column in chosen]


def _path() -> Path:
    try:
        return Path(str(distribution(PACKAGE).locate_file(FILE)))
    except PackageNotFoundError:
        raise ConfigError(f"prices: the package {PACKAGE} is not installed; install it: make setup") from None
