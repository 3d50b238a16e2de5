"""The portfolio of least variance of real stocks: a covariance fitted first, or learned through the portfolio.

Returns of stocks can hardly be estimated, their covariance can: what is learned here is the covariance, and what is
claimed is variance, not return. Each month from 2000 to 2022 the long-only portfolio of 20 stocks (docs/data.md) that
has least variance under an estimate is bought, held through the month, and judged by the variance of its daily
returns.

- `covariance_layer`: a dozen numbers of a family of estimates (half-lives of variances and of correlations, two targets
  of shrinkage, how far apart the scales are: common/covariance/family.py) start at the sample covariance with a
  half-life of `start` and follow the gradient of the variance that portfolios have had, through their programs;
- `covariance_likelihood`: the same family, fitted by the likelihood of the daily returns of the month after;
- `covariance_search`: half-life and shrinkage from a grid.

Beside them the sample covariance, Ledoit and Wolf's estimate (scikit-learn), both with the best of several windows, and
equal weights. Nothing is tuned on the test years: for each block of test years the years just before it are validation,
where the grids, the windows and the number of steps are chosen, all by the variance of daily returns, and everything
earlier is training. The rate was chosen on 1997 to 1999. No paper has this experiment.

    python -m experiments.run experiment=covariance size=companion
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from experiments.common.cells import run_cells
from experiments.common.checkpoint import Loop
from experiments.common.config import LayerConfig, RunConfig, check_methods
from experiments.common.covariance.family import Family, least_variance, negative_log_likelihood
from experiments.common.covariance.returns import (
    MEASURES,
    Account,
    Months,
    assess,
    daily_returns,
    make_months,
    turnover,
)
from experiments.common.errors import require, require_one_of, require_rate
from experiments.common.prices import load_prices
from experiments.common.recorder import Recorder
from experiments.common.results import Frame, Tables
from experiments.common.watch import counted, scalar
from layers import QPLayer

WINDOWED = ("sample_covariance", "ledoit_wolf")
LEARNED = ("covariance_likelihood", "covariance_layer")
METHODS = ("equal_weight", *WINDOWED, "covariance_search", *LEARNED)
FINAL = tuple(MEASURES)
FIRST_YEAR = 1992

Weigh = Callable[[np.ndarray], Tensor]


@dataclass
class Data:
    """Assets by name, none for all; blocks of test years from `first_test` to `last_test`, validation before each."""

    assets: list[str] = field(default_factory=list[str])  #: by name; none: all
    first_test: int = 2000  #: first year of the test [year]
    last_test: int = 2022  #: last year of the test [year]
    block_years: int = 2  #: after which everything is learned anew [years]
    validation_years: int = 4  #: before each block [years]
    #: of moments that are mixed [trading days]
    half_lives: list[float] = field(default_factory=lambda: [21.0, 63.0, 252.0, 1008.0])
    start: float = 252.0  #: that learning begins with, one of the half-lives [trading days]
    #: of the estimates with a window, to choose from [trading days]
    windows: list[int] = field(default_factory=lambda: [126, 252, 504, 1008])
    #: shares of either target, to choose from [share]
    shrinkage: list[float] = field(default_factory=lambda: [0.0, 0.1, 0.3, 0.6])

    def check(self) -> None:
        """Raise a `ConfigError` unless such years can be walked through."""
        names = self.names()
        require(len(names) >= 2, "data.assets", self.assets, "at least two assets, or none for all")
        for part in ("block_years", "validation_years"):
            years = getattr(self, part)
            require(years > 0, f"data.{part}", years, "a positive number of years")
        earliest = FIRST_YEAR + self.validation_years + 1
        known = earliest <= self.first_test <= 2022
        require(known, "data.first_test", self.first_test, f"{earliest} to 2022, to leave a year of training")
        last = self.last_test
        require(self.first_test <= last <= 2022, "data.last_test", last, "first_test to 2022")
        valid = len(self.half_lives) > 0 and all(1 <= half < math.inf for half in self.half_lives)
        require(valid, "data.half_lives", self.half_lives, "at least one half-life of a day or more")
        require_one_of("data.start", self.start, self.half_lives)
        valid = len(self.windows) > 0 and min(self.windows) > len(names)
        require(valid, "data.windows", self.windows, "windows of more days than there are assets")
        valid = len(self.shrinkage) > 0 and all(0 <= share <= 0.8 for share in self.shrinkage)
        require(valid, "data.shrinkage", self.shrinkage, "at least one share, from 0 to 0.8")

    def names(self) -> list[str]:
        """The assets."""
        prices = load_prices()
        return list((prices.of(self.assets) if self.assets else prices).assets)

    def months(self) -> Months:
        """What is known of them by month."""
        return make_months(load_prices().of(self.names()), self.half_lives)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """First and last year of every block of test years."""
        for first in range(self.first_test, self.last_test + 1, self.block_years):
            yield first, min(first + self.block_years - 1, self.last_test)


@dataclass
class Training:
    """Adam on all months of training at once, for `steps`, asked of on validation every so many."""

    steps: int = 100  #: gradient steps for each block [steps]
    lr: float = 0.01  #: rate of Adam [1]
    evaluate_every: int = 5  #: between two looks at validation [steps]

    def check(self) -> None:
        """Raise a `ConfigError` unless this can be run."""
        for name in ("steps", "evaluate_every"):
            require(getattr(self, name) > 0, f"train.{name}", getattr(self, name), "a positive integer")
        require_rate("train.lr", self.lr)


@dataclass
class Config(RunConfig):
    """Settings."""

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    layer: LayerConfig = field(default_factory=lambda: LayerConfig(tol=1e-10))
    data: Data = field(default_factory=Data)
    train: Training = field(default_factory=Training)
    bootstrap_block: int = 12  #: of the bootstrap [months]

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        check_methods(self.methods, METHODS)
        self.data.check()
        self.train.check()
        months, block = 12 * (self.data.last_test - self.data.first_test + 1), self.bootstrap_block
        require(0 < block <= months, "bootstrap_block", block, f"1 to {months} months, those of the test")


def estimate(months: Months, method: str, window: int, rows: np.ndarray) -> Tensor:
    """The covariances that `method` finds in the last `window` daily returns known, or in all where there are fewer."""
    found: list[np.ndarray] = []
    for count in months.closing[rows]:
        past = months.daily[max(0, count - window) : count]
        found.append(np.cov(past, rowvar=False) if method == "sample_covariance" else ledoit_wolf(past)[0])
    return torch.from_numpy(np.stack(found))


def variance(months: Months, rows: np.ndarray, weights: Tensor) -> Tensor:
    """The mean square of the daily returns of portfolios with these weights, differentiable in them."""
    return daily_returns(months, rows, weights).square().sum() / months.days[rows].sum()


def train(
    config: Config, method: str, start: Family, months: Months, rows: dict[str, np.ndarray]
) -> tuple[Family, int]:
    """`start` improved on training: the numbers that were best on validation, and the step they were met at."""
    model, layer = copy.deepcopy(start), config.layer.build()
    optimiser = torch.optim.Adam(model.parameters(), lr=config.train.lr)
    loop = Loop(model, optimiser)
    kept = loop.restored({"next": 0, "best": math.inf, "chosen": 0, "state": {}})
    best, chosen, state = kept["best"], kept["chosen"], kept["state"]
    for step in counted(kept["next"], config.train.steps):
        if step:
            optimiser.zero_grad()
            _loss(method, model, layer, months, rows["train"]).backward()
            optimiser.step()
            model.project()
        if step % config.train.evaluate_every == 0 or step == config.train.steps:
            with torch.no_grad():
                weights = least_variance(layer, model(months.moments[rows["validation"]]))
                found = variance(months, rows["validation"], weights).item()
            scalar(f"variance on validation to {months.months[rows['validation'][-1]]}", step, found)
            if found < best:
                best, chosen, state = found, step, copy.deepcopy(model.state_dict())
        loop.keep({"next": step + 1, "best": best, "chosen": chosen, "state": state})
    model.load_state_dict(state)
    return model, chosen


def _loss(method: str, model: Family, layer: QPLayer, months: Months, rows: np.ndarray) -> Tensor:
    covariance = model(months.moments[rows])
    if method == "covariance_layer":
        return variance(months, rows, least_variance(layer, covariance)).log()
    growth = months.growth[rows]
    returns = growth[:, 1:] / growth[:, :-1] - 1
    moments = returns.mT @ returns / months.days[rows][:, None, None]
    return negative_log_likelihood(covariance, moments, months.days[rows].double())


def search(config: Config, months: Months, rows: np.ndarray) -> Family:
    """The half-life and the shrinkage of a grid whose portfolios vary least on `rows`."""
    data, layer = config.data, config.layer.build()
    shares = [(one, two) for one, two in product(data.shrinkage, repeat=2) if one + two <= 1]
    families = [Family(len(data.half_lives), k, pair) for k in range(len(data.half_lives)) for pair in shares]
    with torch.no_grad():
        costs = [
            variance(months, rows, least_variance(layer, family(months.moments[rows]))).item()
            for family in families
        ]
    return families[int(np.argmin(costs))]


def weigher(config: Config, method: str, months: Months, first_test: int, record: Recorder) -> Weigh:
    """The weights of `method` for the test years from `first_test`, with what was chosen put on record."""
    layer, validation = config.layer.build(), first_test - config.data.validation_years
    rows = {
        "train": months.rows(FIRST_YEAR, validation - 1),
        "validation": months.rows(validation, first_test - 1),
    }
    if method == "equal_weight":
        assets = months.daily.shape[1]
        return lambda rows: torch.full((len(rows), assets), 1 / assets, dtype=torch.float64)
    if method in WINDOWED:
        windows = config.data.windows

        def held(window: int, rows: np.ndarray) -> Tensor:
            return least_variance(layer, estimate(months, method, window, rows))

        place = rows["validation"]
        costs = [variance(months, place, held(window, place)).item() for window in windows]
        window = windows[int(np.argmin(costs))]
        record.metric("window", "validation", first_test, window, "days")
        return lambda rows: held(window, rows)
    step = 0
    if method == "covariance_search":
        family = search(config, months, rows["validation"])
    else:
        place = config.data.half_lives.index(config.data.start)
        family = Family(len(config.data.half_lives), place, (0.0, 0.0))
        start = copy.deepcopy(family)
        found = record.learned(
            family, lambda: _trained(config, method, start, family, months, rows), str(first_test)
        )
        step = found or 0
    _record_numbers(config, family, step, first_test, record)

    def learned(rows: np.ndarray) -> Tensor:
        with torch.no_grad():
            return least_variance(layer, family(months.moments[rows]))

    return learned


def _trained(
    config: Config, method: str, start: Family, into: Family, months: Months, rows: dict[str, np.ndarray]
) -> int:
    found, step = train(config, method, start, months, rows)
    into.load_state_dict(found.state_dict())
    return step


def run_cell(config: Config, method: str, seed: int) -> Tables:
    """The tables of one method walked forward through all blocks of test years."""
    record = Recorder("covariance", method, seed, ("1", "1"), examples=False)
    months, weights = config.data.months(), []
    for first, last in config.data.blocks():
        with record.timed(f"train {first}"):
            weigh = weigher(config, method, months, first, record)
        weights.append(weigh(months.rows(first, last)))
    rows = months.rows(config.data.first_test, config.data.last_test)
    held = torch.cat(weights)
    returns, traded = daily_returns(months, rows, held), turnover(months, rows, held)
    account = Account(
        months.days[rows].numpy(),
        returns.sum(-1).numpy(),
        returns.square().sum(-1).numpy(),
        traded.numpy(),
    )
    for month, *values in zip(months.months[rows].astype(int), *vars(account).values(), strict=True):
        for name, value in zip(vars(account), values, strict=True):
            record.metric(name, "test", int(month), float(value), "1/month")
    for name, value in account.measures().items():
        record.metric(name, "test", 0, float(value), MEASURES[name])
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment; nothing is drawn, so that one seed is all."""
    tables = run_cells(run_cell, config, [(method, config.seeds[0]) for method in config.methods], directory)
    accounts = {method: _account(tables["metrics"], method) for method in config.methods}
    rows = assess(accounts, config.bootstrap_block)
    tables["intervals"] = [{"experiment": "covariance", "split": "test", **row} for row in rows]
    return tables


def _record_numbers(config: Config, family: Family, step: int, first_test: int, record: Recorder) -> None:
    """The half-lives and shares that a family came to, the weights divided by their sums."""
    numbers = {"step": float(step), "exponent": family.exponent.item()}
    for part in ("variance", "correlation", "shrinkage"):
        weights = getattr(family, part).detach().clamp(min=0)
        names = config.data.half_lives if part != "shrinkage" else ("sample", "identity", "constant")
        for name, share in zip(names, (weights / weights.sum()).tolist(), strict=True):
            numbers[f"{part} {name:g}" if isinstance(name, float) else f"{part} {name}"] = share
    for name, value in numbers.items():
        record.metric(name, "validation", first_test, value, "1")


def _account(rows: list[Frame], method: str) -> Account:
    """The months of `method`, in order."""
    own = sorted(
        (row["step"], row["metric"], row["value"]) for row in rows if row["method"] == method and row["step"]
    )

    def series(metric: str) -> np.ndarray:
        return np.array([value for _, name, value in own if name == metric])

    return Account(*(series(name) for name in ("days", "summed", "squared", "traded")))
