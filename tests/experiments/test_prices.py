"""The prices: the pinned file and no other, months that end where they should, moments of log-normal returns."""

import gzip
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from experiments import markowitz, portfolio
from experiments.common import prices as module
from experiments.common.errors import ConfigError
from experiments.common.prices import (
    LogNormal,
    Prices,
    least_volatile,
    load_prices,
    monthly_log_moments,
    monthly_log_returns,
    parse_prices,
)

ROOT = Path(__file__).resolve().parents[2]


def test_the_file_is_the_documented_one():
    prices = load_prices()
    assert prices.values.shape == (8313, 20)
    assert (str(prices.days[0]), str(prices.days[-1])) == ("1990-01-02", "2022-12-28")
    assert (np.diff(prices.days).astype(int) > 0).all()
    assert np.isfinite(prices.values).all()
    assert (prices.values > 0).all()
    apple = prices.values[:, prices.assets.index("AAPL")]
    np.testing.assert_array_equal(apple[[0, -1]], [0.264, 125.674])


def test_month_ends_are_the_last_days_of_their_months():
    prices = load_prices()
    ends = prices.month_ends
    assert len(ends) == 12 * 33
    assert len(set(prices.months)) == len(ends)
    month = prices.days.astype("datetime64[M]")
    assert (month[ends[:-1] + 1] == month[ends[:-1]] + 1).all()


def test_an_altered_file_is_refused(tmp_path):
    content = gzip.decompress(module._path().read_bytes())
    altered = tmp_path / "sp500_dataset.csv.gz"
    altered.write_bytes(gzip.compress(content.replace(b"0.264", b"0.265", 1)))
    with pytest.raises(ConfigError, match=r"sha256 .* an altered file"):
        parse_prices(altered)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(
        ConfigError, match=r"sp500_dataset\.csv\.gz is missing from skfolio; install it again"
    ):
        parse_prices(tmp_path / "sp500_dataset.csv.gz")


def test_a_missing_package_is_told(monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(module, "distribution", absent)
    with pytest.raises(ConfigError, match="the package skfolio is not installed"):
        module._path()


def test_the_package_itself_is_not_imported():
    code = "import sys; from experiments.common.prices import load_prices; load_prices(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"skfolio", "sklearn", "plotly"} & set(done.stdout.split())


def test_assets_are_taken_by_name_in_the_order_given():
    prices = load_prices().of(["XOM", "AAPL"])
    assert prices.assets == ("XOM", "AAPL")
    np.testing.assert_array_equal(prices.values[0], [4.068, 0.264])


@pytest.mark.parametrize(
    ("assets", "message"),
    [
        (["AAPL", "TSLA"], "data.assets: got 'TSLA', expected one of: AAPL"),
        (["KO", "KO"], "assets that differ"),
    ],
)
def test_assets_that_cannot_be_taken_are_told(assets, message):
    with pytest.raises(ConfigError, match=message):
        load_prices().of(assets)


def test_log_returns_of_a_window_telescope_to_its_price_ratio():
    prices = load_prices()
    logs = monthly_log_returns(prices, "2019-12", 144)
    closing = {
        str(month): prices.values[end] for month, end in zip(prices.months, prices.month_ends, strict=True)
    }
    np.testing.assert_allclose(logs.sum(0), np.log(closing["2019-12"] / closing["2007-12"]), rtol=1e-12)


@pytest.mark.parametrize(
    ("last", "count", "message"),
    [
        ("2023-01", 12, "a month from 1990-02 to 2022-12"),
        ("summer", 12, "a month such as 2019-12"),
        ("1991-01", 13, "2 to 12 months"),
        ("1991-01", 0, "2 to 12 months"),
    ],
)
def test_windows_that_do_not_exist_are_told(last, count, message):
    with pytest.raises(ConfigError, match=message):
        monthly_log_returns(load_prices(), last, count)


def test_moments_are_those_of_numpy_and_the_gross_ones_those_of_a_large_sample():
    moments = monthly_log_moments(load_prices().of(["KO", "XOM", "AAPL"]), "2019-12", 144)
    logs = monthly_log_returns(load_prices().of(["KO", "XOM", "AAPL"]), "2019-12", 144)
    np.testing.assert_allclose(moments.mean, logs.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(logs.T), rtol=1e-12)
    # A factor of ten in the spread, so that the term ½Σ cannot be lost in the noise of the sample.
    wide = LogNormal(moments.mean, 10 * moments.covariance)
    sample = wide.sample((400_000,), np.random.default_rng(0))
    error = np.sqrt(np.diag(wide.gross_covariance) / len(sample))
    assert (np.abs(sample.mean(0) - wide.gross_mean) < 4 * error).all()
    assert (np.abs(sample.mean(0) - np.exp(wide.mean)) > 10 * error).all()
    np.testing.assert_allclose(np.cov(sample.T), wide.gross_covariance, rtol=0.05, atol=1e-4)


def test_the_least_volatile_assets_vary_less_than_all_others():
    chosen = least_volatile(load_prices(), "2019-12", 144, 12)
    spread = dict(
        zip(load_prices().assets, monthly_log_returns(load_prices(), "2019-12", 144).std(0), strict=True)
    )
    assert len(chosen) == 12
    assert max(spread[name] for name in chosen) < min(spread[name] for name in spread.keys() - set(chosen))


def test_the_last_month_may_be_incomplete():
    days = np.array(["2020-01-30", "2020-01-31", "2020-02-03"], dtype="datetime64[D]")
    prices = Prices(days, ("A",), np.ones((3, 1)))
    np.testing.assert_array_equal(prices.month_ends, [1, 2])


@pytest.mark.parametrize("experiment", [markowitz, portfolio])
def test_a_missing_file_is_told_when_the_settings_are_checked_so_before_any_training(
    experiment, monkeypatch, tmp_path
):
    monkeypatch.setattr(module, "_path", lambda: tmp_path / "prices.csv.gz")
    load_prices.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r"prices\.csv\.gz is missing"):
            experiment.Config().check()
    finally:
        load_prices.cache_clear()
