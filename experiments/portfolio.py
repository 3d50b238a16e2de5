"""Portfolios of real stocks, walked forward through 2000 to 2022: predict, then optimise, or learn through the layer?

Each month a long-only portfolio of 20 stocks (docs/data.md) is the solution of a quadratic program,
minimise γ/2 w'Σw - μ'w + c ‖w - held‖₁ subject to 1'w = 1, w >= 0, with predicted returns μ = Xθ from four
features of past prices and a shrunk sample covariance Σ. Two ways to learn the same θ:

- `predict_then_optimise`: ridge regression of next month's returns; γ, c and the shrinkage from a grid;
- `end_to_end`: started there, θ, γ and c follow the gradient of the net Sharpe ratio of 12-month trajectories
  through their 12 programs.

Beside them `minimum_variance` (μ = 0, the rest of the grid) and `equal_weight`. All are rebalanced monthly and pay
the same costs.

Nothing is tuned on the test years: for each block of test years, the years just before it are validation and
everything earlier is training. Grids, early stopping and the start of the gradient descent are decided on
validation by the same number, the net Sharpe ratio. Rates and numbers of steps were chosen on years before
2000. No paper has this experiment, so no published number stands beside it.

    python -m experiments.run experiment=portfolio size=companion
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from experiments.common.allocation import (
    Account,
    Decide,
    Rule,
    decision,
    equal_weight,
    even,
    sharpe,
    simulate,
)
from experiments.common.cells import run_cells
from experiments.common.config import LayerConfig, RunConfig, check_methods
from experiments.common.errors import require
from experiments.common.market import FEATURES, Market, make_market
from experiments.common.performance import MEASURES, Record, assess, measures
from experiments.common.prices import load_prices
from experiments.common.recorder import Recorder
from experiments.common.results import Frame, Tables
from experiments.common.watch import counted, scalar

METHODS = ("equal_weight", "minimum_variance", "predict_then_optimise", "end_to_end")
BASELINES = METHODS[:3]
FINAL = tuple(MEASURES)
UNITS = ("1", "1")
FIRST_YEAR = 1992


@dataclass
class Data:
    """Assets by name, none for all; blocks of test years from `first_test` to `last_test`, validation before each."""

    assets: list[str] = field(default_factory=list)  #: by name; none: all
    first_test: int = 2000  #: first year of the test [year]
    last_test: int = 2022  #: last year of the test [year]
    block_years: int = 2  #: after which everything is learned anew [years]
    validation_years: int = 4  #: before each block [years]
    trading_cost: float = 1e-3  #: of a trade [share of its value]

    def check(self) -> None:
        """Raise a `ConfigError` unless such years can be walked through."""
        require(len(self.names()) >= 2, "data.assets", self.assets, "at least two assets, or none for all")
        require(self.block_years > 0, "data.block_years", self.block_years, "a positive number of years")
        years = self.validation_years
        require(years > 0, "data.validation_years", years, "a positive number of years")
        earliest = FIRST_YEAR + years + 1
        known = earliest <= self.first_test <= 2022
        require(known, "data.first_test", self.first_test, f"{earliest} to 2022, to leave a year of training")
        require(
            self.first_test <= self.last_test <= 2022, "data.last_test", self.last_test, "first_test to 2022"
        )
        cost = self.trading_cost
        require(0 <= cost < 0.5, "data.trading_cost", cost, "a cost from 0 to less than 0.5")

    def names(self) -> list[str]:
        """The assets."""
        prices = load_prices()
        return list((prices.of(self.assets) if self.assets else prices).assets)

    def market(self) -> Market:
        """Their months."""
        return make_market(load_prices().of(self.names()))

    def blocks(self) -> Iterator[tuple[int, int]]:
        """First and last year of every block of test years."""
        for first in range(self.first_test, self.last_test + 1, self.block_years):
            yield first, min(first + self.block_years - 1, self.last_test)


@dataclass
class Grid:
    """What validation chooses from: strength of the ridge, γ, c in units of the true cost, shrinkage."""

    #: strengths of the ridge of the forecast, to choose from [1]
    ridge: list[float] = field(default_factory=lambda: [0.01, 0.1, 1.0])
    #: risk aversions, to choose from [1]
    gamma: list[float] = field(default_factory=lambda: [1.0, 3.0, 10.0, 30.0, 100.0, 300.0])
    #: of trades in the program, to choose from [true cost]
    cost: list[float] = field(default_factory=lambda: [0.1, 0.3, 1.0, 3.0])
    #: of covariances, to choose from; above 0 and at most 1 [1]
    shrinkage: list[float] = field(default_factory=lambda: [0.1, 0.5, 0.9])

    def check(self) -> None:
        """Raise a `ConfigError` unless every entry makes a program."""
        for name, low, high in (("ridge", 0, math.inf), ("gamma", 0, math.inf), ("cost", 0, math.inf)):
            values = getattr(self, name)
            valid = len(values) > 0 and all(low < value < high for value in values)
            require(valid, f"grid.{name}", values, "at least one positive, finite number")
        valid = len(self.shrinkage) > 0 and all(0 < value <= 1 for value in self.shrinkage)
        require(valid, "grid.shrinkage", self.shrinkage, "at least one number, above 0 and at most 1")


@dataclass
class Training:
    """Adam on `windows` trajectories of `horizon` months a step (the K and T of policy tuning), for `steps`."""

    steps: int = 40  #: of Adam [steps]
    lr: float = 0.02  #: learning rate of Adam [1]
    windows: int = 16  #: in a step, K [trajectories]
    horizon: int = 12  #: of a trajectory, T, 1 to 12 [months]
    evaluate_every: int = 5  #: between two evaluations on validation [steps]

    def check(self) -> None:
        """Raise a `ConfigError` unless this can be run."""
        for name in ("steps", "windows", "evaluate_every"):
            count = getattr(self, name)
            require(count > 0, f"train.{name}", count, "a positive integer")
        require(0 < self.horizon <= 12, "train.horizon", self.horizon, "1 to 12 months")
        require(
            self.windows * self.horizon > 1, "train.windows", self.windows, "more than one month in a step"
        )
        require(0 < self.lr < math.inf, "train.lr", self.lr, "a positive, finite rate")


@dataclass
class Config(RunConfig):
    """Settings."""

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    # A month is full of trades that hardly pay: a looser point may have the wrong ones, and their derivative.
    layer: LayerConfig = field(default_factory=lambda: LayerConfig(tol=1e-10))
    data: Data = field(default_factory=Data)
    grid: Grid = field(default_factory=Grid)
    train: Training = field(default_factory=Training)
    bootstrap_block: int = 12  #: length of the blocks of the intervals [months]

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        check_methods(self.methods, METHODS)
        self.data.check()
        self.grid.check()
        self.train.check()
        months = 12 * (self.data.last_test - self.data.first_test + 1)
        block = self.bootstrap_block
        require(
            0 < block <= months, "bootstrap_block", block, f"1 to {months} months, the months of the test"
        )


class Learned(nn.Module):
    """A rule whose θ, γ and c are parameters; the last two as logarithms, so that they stay positive."""

    def __init__(self, start: Rule):
        super().__init__()
        self.theta = nn.Parameter(start.theta.clone())
        self.log_gamma, self.log_cost = nn.Parameter(start.gamma.log()), nn.Parameter(start.cost.log())
        self.shrinkage = start.shrinkage

    def rule(self) -> Rule:
        """The rule, differentiable in the parameters."""
        return Rule(self.theta, self.log_gamma.exp(), self.log_cost.exp(), self.shrinkage)


def make_data(config: Config, market: Market, first_test: int) -> dict[str, np.ndarray]:
    """Rows of training and validation for the block of test years that begins with `first_test`."""
    validation = first_test - config.data.validation_years
    return {
        "train": market.rows(FIRST_YEAR, validation - 1),
        "validation": market.rows(validation, first_test - 1),
    }


def ridge_regression(market: Market, rows: np.ndarray, strength: float) -> Tensor:
    """θ of least squares from features to next month's returns in per cent, both centred over the assets.

    The penalty is `strength` times the number of observations, so 1 halves the coefficient of a lone feature.
    """
    X = market.features[rows].reshape(-1, len(FEATURES))
    y = (market.gross[rows] - market.gross[rows].mean(1, keepdim=True)).reshape(-1) / 0.01
    eye = torch.eye(len(FEATURES), dtype=X.dtype)
    return torch.linalg.solve(X.mT @ X + strength * len(X) * eye, X.mT @ y)


def candidates(config: Config, method: str, market: Market, rows: np.ndarray) -> Rule:
    """All rules of the grid; minimum variance predicts nothing, so its θ is zero."""
    grid = config.grid
    if method == "minimum_variance":
        thetas = [torch.zeros(len(FEATURES), dtype=torch.float64)]
    else:
        thetas = [ridge_regression(market, rows, strength) for strength in grid.ridge]
    theta, *rest = zip(*product(thetas, grid.gamma, grid.cost, grid.shrinkage), strict=True)
    return Rule(torch.stack(theta), *(torch.tensor(values, dtype=torch.float64) for values in rest))


def make_model(config: Config, method: str, market: Market, rows: dict[str, np.ndarray]) -> Rule:
    """The rule of the grid with the best Sharpe ratio on validation."""
    rules = candidates(config, method, market, rows["train"])
    return rules[int(evaluate(config, rules, market, rows["validation"]).argmax())]


def evaluate(config: Config, rules: Rule, market: Market, rows: np.ndarray) -> Tensor:
    """Net Sharpe ratio of every rule over consecutive `rows`, from equal weights, shape (batch,)."""
    batch, assets = len(rules.gamma), market.gross.shape[1]
    with torch.no_grad():
        decide = decision(rules, market, config.layer.build(), config.data.trading_cost)
        paths = np.tile(rows[:, None], (1, batch))
        return sharpe(simulate(decide, market, paths, even(batch, assets), config.data.trading_cost).returns)


def train(
    config: Config, seed: int, start: Rule, market: Market, rows: dict[str, np.ndarray]
) -> tuple[Rule, int]:
    """`start` improved through the layer: the rule that was best on validation, and the step it was met at."""
    rng = np.random.default_rng([seed, int(rows["validation"][0])])
    model, recipe = Learned(start), config.train
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe.lr)
    best, chosen = evaluate(config, start, market, rows["validation"]).item(), (start, 0)
    for step in counted(1, recipe.steps):
        optimiser.zero_grad()
        loss = -_trajectory_sharpe(config, model.rule(), market, rows["train"], rng)
        loss.backward()
        optimiser.step()
        if step % recipe.evaluate_every and step != recipe.steps:
            continue
        found = evaluate(config, model.rule(), market, rows["validation"]).item()
        scalar(f"sharpe/validation from {int(rows['validation'][0])}", step, found)
        if found > best:
            best, chosen = found, (copy.deepcopy(model).rule(), step)
    return chosen


def _trajectory_sharpe(
    config: Config, rule: Rule, market: Market, rows: np.ndarray, rng: np.random.Generator
) -> Tensor:
    """Sharpe ratio of all months of random trajectories together, differentiable in the rule."""
    recipe, cost = config.train, config.data.trading_cost
    starts = rng.integers(len(rows) - recipe.horizon + 1, size=recipe.windows)
    paths = rows[starts + np.arange(recipe.horizon)[:, None]]
    decide = decision(rule, market, config.layer.build(), cost)
    held = even(recipe.windows, market.gross.shape[1])
    return sharpe(simulate(decide, market, paths, held, cost).returns.flatten())


def run_cell(config: Config, method: str, seed: int) -> Tables:
    """The tables of one method walked forward through all blocks of test years."""
    record = Recorder("portfolio", method, seed, UNITS, examples=False)
    market, cost = config.data.market(), config.data.trading_cost
    held = even(1, market.gross.shape[1])
    accounts: list[Account] = []
    for first, last in config.data.blocks():
        with record.timed(f"train {first}"):
            decide = _learn(config, method, seed, market, first, record)
        with torch.no_grad():
            accounts.append(simulate(decide, market, market.rows(first, last)[:, None], held, cost))
        held = accounts[-1].held
    _record(config, market, accounts, record)
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment; methods without randomness run once, for the first seed."""
    random = ("end_to_end",)
    cells = [
        (m, seed) for m in config.methods for seed in (config.seeds if m in random else config.seeds[:1])
    ]
    tables = run_cells(run_cell, config, cells, directory)
    records = {method: _collect(tables["metrics"], method) for method in config.methods}
    rows = assess(records, BASELINES, config.bootstrap_block)
    tables["intervals"] = [{"experiment": "portfolio", "split": "test", **row} for row in rows]
    return tables


def _learn(config: Config, method: str, seed: int, market: Market, first: int, record: Recorder) -> Decide:
    """The rule of `method` for the test years from `first`, with what was chosen put on record."""
    if method == "equal_weight":
        return equal_weight
    rows = make_data(config, market, first)
    start = "predict_then_optimise" if method == "end_to_end" else method
    rule, step = make_model(config, start, market, rows), 0
    if method == "end_to_end":
        rule, step = train(config, seed, rule, market, rows)
    numbers = {
        "gamma": rule.gamma,
        "cost": rule.cost,
        "shrinkage": rule.shrinkage,
        "step": torch.tensor([step]),
    }
    numbers |= {f"theta {name}": rule.theta[:, place] for place, name in enumerate(FEATURES)}
    for name, value in numbers.items():
        record.metric(name, "validation", first, value.item(), "1")
    return decision(rule, market, config.layer.build(), config.data.trading_cost)


def _record(config: Config, market: Market, accounts: list[Account], record: Recorder) -> None:
    """Every month, and the measures of all of them; a month counts from January 1970."""
    rows = market.rows(config.data.first_test, config.data.last_test)
    months = market.months[rows].astype(int)
    returns, turnover = (
        torch.cat([getattr(a, name) for a in accounts])[:, 0] for name in ("returns", "turnover")
    )
    for month, earned, traded in zip(months, returns.tolist(), turnover.tolist(), strict=True):
        record.metric("net_return", "test", int(month), earned, "1/month")
        record.metric("traded", "test", int(month), traded, "1/month")
    for name, value in measures(Record(returns.numpy(), turnover.numpy())).items():
        record.metric(name, "test", 0, float(value), MEASURES[name])


def _collect(rows: list[Frame], method: str) -> Record:
    """The months of all seeds of `method`, in order."""
    own = [row for row in rows if row["method"] == method]
    seeds = sorted({row["seed"] for row in own})

    def series(metric: str) -> np.ndarray:
        return np.array(
            [
                [row["value"] for row in own if row["metric"] == metric and row["seed"] == seed]
                for seed in seeds
            ]
        )

    return Record(series("net_return"), series("traded"))
