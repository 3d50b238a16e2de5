"""Tuning a Markowitz policy, by its derivative: the example of Agrawal, Barratt, Boyd & Stellato, "Learning convex
optimization control policies" (arXiv 1912.09529), on moments of real prices.

Question: every month a trader solves a mean-variance program with trading and short costs, but is judged by
another utility, min(2(r - 1), r - 1) of the month's gross return r. How much is gained by descending along the
gradient of that utility through 24 months of programs, in the estimates mu and Sigma^(1/2) and the risk
aversion gamma? Published: utility 0.0042048 -> 0.0053392, +27.0 %.

The settings are those of the published notebook: 12 assets, log-normal returns, gamma 15, costs 0.001, K = 10
trajectories of T = 24 months in a step, 400 steps of projected stochastic gradient descent with rate 1e-3,
halved every 100. Its moments of 12 funds are not public domain; ours are those of the 12 stocks that vary least
among the 20 of docs/data.md, over as many months (144), up to the year of the paper. Every seed draws its own
training and test trajectories; all methods of a seed see the same ones. The published test has 10
trajectories, ours more, because the noise of 10 is larger than the gain.

`gamma_search` is the baseline that a trader has without any layer: only gamma changed, on a grid; its choice is
also where `tuned_from_search` starts. The utility is homogeneous in the excess of r over 1, and short positions
are allowed, so borrowing without end pays once good months outweigh bad ones twice: the grid is cut where the
policy starts with an exposure 1'|w| above 2, what a margin of one half allows. Tuning is not cut, so each tuned
policy also meets a search that may go as far as it went: `<method>/gamma_alone` has only gamma changed, on the
grid and at the exposure where tuning ended, and starts with no more exposure than that.

    python -m experiments.run experiment=markowitz size=companion    # minutes
    python -m experiments.run experiment=markowitz size=paper        # the notebook's steps
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from experiments.common.cells import run_cells
from experiments.common.checkpoint import Loop
from experiments.common.config import LayerConfig, RunConfig, check_methods
from experiments.common.errors import require
from experiments.common.prices import LogNormal, least_volatile, load_prices, monthly_log_moments
from experiments.common.recorder import Recorder
from experiments.common.results import Tables
from experiments.common.trading import initial_holdings, self_financing
from experiments.common.watch import counted, scalar

METHODS = ("untuned", "gamma_search", "tuned", "tuned_from_search")
LEARNED = METHODS[2:]
FINAL = ("final_utility", "final_gain", "gamma", "exposure")
UNITS = ("share of wealth", "share of wealth squared")
# What the exposure of a solved program may be off by, relatively.
ROUNDING = 1e-6
# Streams of random numbers of a seed.
TRAIN, SEARCH, TEST = range(3)


@dataclass
class Data:
    """Moments from `months` months up to `last_month`; `assets` by name, or none: the `count` least volatile."""

    assets: list[str] = field(default_factory=list)  #: by name; none: the least volatile ones
    count: int = 12  #: of them, where none are named [assets]
    months: int = 144  #: of which the moments are [months]
    last_month: str = "2019-12"  #: the last of these, year-month

    def check(self) -> None:
        """Raise a `ConfigError` unless these moments exist and are those of a covariance of full rank."""
        names = self.names()
        require(len(names) >= 2, "data.assets", names, "at least two assets")
        require(
            self.months > len(names), "data.months", self.months, f"more months than assets, {len(names)}"
        )
        self.moments()

    def names(self) -> list[str]:
        """The assets."""
        if self.assets:
            return list(load_prices().of(self.assets).assets)
        return least_volatile(load_prices(), self.last_month, self.months, self.count)

    def moments(self) -> LogNormal:
        """Their log-normal returns of a month."""
        return monthly_log_moments(load_prices().of(self.names()), self.last_month, self.months)


@dataclass
class Market:
    """Costs, horizon of a trajectory in months, and trajectories in a step (the paper's K) and in the test."""

    trading_cost: float = 1e-3  #: of a trade [share of its value]
    short_cost: float = 1e-3  #: of a short position for a month [share of its value]
    horizon: int = 24  #: of a trajectory, T [months]
    trajectories: int = 10  #: in a step, K [trajectories]
    test: int = 100  #: that are reported [trajectories]

    def check(self) -> None:
        """Raise a `ConfigError` unless such a market can be simulated."""
        for name in ("trading_cost", "short_cost"):
            cost = getattr(self, name)
            require(0 <= cost < 0.5, f"market.{name}", cost, "a cost from 0 to less than 0.5")
        for name, meaning in (
            ("horizon", "months, T"),
            ("trajectories", "trajectories, K"),
            ("test", "trajectories"),
        ):
            count = getattr(self, name)
            require(count > 0, f"market.{name}", count, f"a positive number of {meaning}")


@dataclass
class Training:
    """Projected stochastic gradient descent: `steps` at rate `lr`, which is halved every `halve_every` steps."""

    steps: int = 400  #: of projected stochastic gradient descent [steps]
    lr: float = 1e-3  #: rate of a step [1]
    halve_every: int = 100  #: after which the rate is halved [steps]
    evaluate_every: int = 10  #: between two utilities that are recorded [steps]

    def check(self) -> None:
        """Raise a `ConfigError` unless this can be run."""
        for name in ("steps", "halve_every", "evaluate_every"):
            count = getattr(self, name)
            require(count > 0, f"train.{name}", count, "a positive number of steps")
        require(0 < self.lr < math.inf, "train.lr", self.lr, "a positive, finite rate")


@dataclass
class Config(RunConfig):
    """Settings; the defaults are the notebook's."""

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    # A month is full of trades that hardly pay: at 1e-8 a point may still have the wrong ones, and its derivative is
    # then that of another set of trades (0.3 % of a step was seen).
    layer: LayerConfig = field(default_factory=lambda: LayerConfig(tol=1e-10))
    data: Data = field(default_factory=Data)
    market: Market = field(default_factory=Market)
    train: Training = field(default_factory=Training)
    gamma: float = 15.0  #: risk aversion at the start [1]
    #: risk aversions that are searched [1]
    gammas: list[float] = field(default_factory=lambda: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0])
    #: with which a searched policy may start: the sum of absolute holdings, 1 or more [wealth]
    largest_exposure: float = 2.0

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        check_methods(self.methods, METHODS)
        self.data.check()
        self.market.check()
        self.train.check()
        require(0 < self.gamma < math.inf, "gamma", self.gamma, "a positive, finite risk aversion")
        valid = len(self.gammas) > 0 and all(0 < gamma < math.inf for gamma in self.gammas)
        require(valid, "gammas", self.gammas, "at least one positive, finite risk aversion")
        bound = self.largest_exposure
        require(1 <= bound < math.inf, "largest_exposure", bound, "a finite share of wealth, 1 or more")


class MarkowitzPolicy(nn.Module):
    """Trades u(h) = |h| argmax μ'w - γ ‖Σ^½ w‖² subject to costs paid, with w = h/|h| + u and |h| = 1'h.

    Parameters
    ----------
    config : Config
        Costs and layer.
    moments : LogNormal
        Where μ and Σ^½ start: mean and covariance of the gross returns.
    gamma : float
        Where γ starts; learned as its square root, as in the notebook.
    """

    def __init__(self, config: Config, moments: LogNormal, gamma: float):
        super().__init__()
        self.market, self.layer = config.market, config.layer.build()
        values, vectors = np.linalg.eigh(moments.gross_covariance)
        self.mean = nn.Parameter(torch.from_numpy(moments.gross_mean.copy()))
        self.root = nn.Parameter(torch.from_numpy((vectors * np.sqrt(values)) @ vectors.T))
        self.gamma_root = nn.Parameter(torch.tensor(math.sqrt(gamma), dtype=torch.float64))

    def forward(self, held: Tensor) -> Tensor:
        """Trades for holdings of shape (trajectories, assets)."""
        wealth = held.sum(-1, keepdim=True)
        costs = (self.market.trading_cost, self.market.short_cost)
        return wealth * self_financing(
            self.layer, self.gamma_root * self.root, self.mean, *costs, held / wealth
        )

    def start(self) -> Tensor:
        """The holdings a trajectory starts from, the policy's own optimum without trading costs; a constant."""
        with torch.no_grad():
            root = self.gamma_root * self.root
            return initial_holdings(self.layer, root, self.mean, self.market.short_cost)

    def project(self) -> None:
        """Put the parameters back into their set: √γ >= 0."""
        with torch.no_grad():
            self.gamma_root.clamp_(min=0.0)


def utility(growth: Tensor) -> Tensor:
    """min(2(r - 1), r - 1): a loss counts twice."""
    return torch.minimum(2 * (growth - 1), growth - 1)


def rollout(policy: MarkowitzPolicy, returns: Tensor) -> tuple[Tensor, Tensor]:
    """Follow `policy` through gross `returns`, shape (months, trajectories, assets).

    Returns
    -------
    utilities : Tensor, shape (months, trajectories)
        Of the growth of wealth in each month, costs included; differentiable in the policy.
    holdings : Tensor, shape (months + 1, trajectories, assets)
        At the beginning of each month, before the trade.
    """
    held = policy.start().expand(returns.shape[1:])
    utilities, holdings = [], [held]
    for gross in returns:
        after = gross * (held + policy(held))
        utilities.append(utility(after.sum(-1) / held.sum(-1)))
        holdings.append(after)
        held = after
    return torch.stack(utilities), torch.stack(holdings)


def make_data(config: Config, seed: int, stream: int, count: int) -> Tensor:
    """Gross returns of `count` trajectories from one stream of `seed`, shape (months, count, assets)."""
    rng = np.random.default_rng([seed, stream])
    return torch.from_numpy(config.data.moments().sample((config.market.horizon, count), rng))


def make_model(config: Config, gamma: float) -> MarkowitzPolicy:
    """The untuned policy with risk aversion `gamma`."""
    return MarkowitzPolicy(config, config.data.moments(), gamma)


def evaluate(policy: MarkowitzPolicy, returns: Tensor) -> float:
    """Mean utility of a month over trajectories and months."""
    with torch.no_grad():
        return rollout(policy, returns)[0].mean().item()


def train(config: Config, seed: int, policy: MarkowitzPolicy, test: Tensor, record: Recorder) -> None:
    """Tune `policy` in place; the test utility is recorded along the way and decides nothing.

    The rate is halved before step 100, 200, ... as in the notebook, whose first step is number 1. A change of μ
    moves the holdings in proportion to 1/γ, and so does the gradient: the rate is proportional to γ², so that a
    policy that starts at another risk aversion moves its holdings as far in a step.
    """
    months, trajectories = config.market.horizon, config.market.trajectories
    rng, moments = np.random.default_rng([seed, TRAIN]), config.data.moments()
    rate = config.train.lr * (policy.gamma_root.item() ** 2 / config.gamma) ** 2
    optimiser = torch.optim.SGD(policy.parameters(), lr=rate)
    record.metric("utility", "test", 0, evaluate(policy, test), "1/month")
    loop = Loop(policy, optimiser, rng, rows=record.tables["metrics"])
    for step in counted(loop.restored({"next": 1})["next"], config.train.steps):
        if step % config.train.halve_every == 0:
            optimiser.param_groups[0]["lr"] /= 2
        optimiser.zero_grad()
        returns = torch.from_numpy(moments.sample((months, trajectories), rng))
        loss = -rollout(policy, returns)[0].mean()
        loss.backward()
        optimiser.step()
        policy.project()
        record.metric("utility", "train", step, -loss.item(), "1/month")
        scalar("utility/train", step, -loss.item())
        if step % config.train.evaluate_every == 0 or step == config.train.steps:
            record.metric("utility", "test", step, evaluate(policy, test), "1/month")
        loop.keep({"next": step + 1})


def search_gamma(config: Config, seed: int, gammas: list[float], largest: float) -> float:
    """The best of `gammas` that start with an exposure of at most `largest`, on trajectories that are no test's."""
    returns, best = make_data(config, seed, SEARCH, config.market.test), (-math.inf, 0.0)
    for gamma in gammas:
        policy = make_model(config, gamma)
        if exposure(policy) <= largest * (1 + ROUNDING):
            best = max(best, (evaluate(policy, returns), gamma))
    known = f"one that starts with an exposure of at most {largest:g}"
    require(best[1] > 0, "gammas", gammas, known)
    return best[1]


def gamma_of(config: Config, wanted: float) -> float:
    """The risk aversion at which the untuned policy starts with the exposure `wanted`, which falls as gamma grows.

    By bisection of log gamma; the end of [1e-3, 1e3] that is nearer where no gamma has it.
    """
    low, high = math.log(1e-3), math.log(1e3)
    for _ in range(40):
        middle = (low + high) / 2
        if exposure(make_model(config, math.exp(middle))) > wanted:
            low = middle
        else:
            high = middle
    return math.exp(high)


def exposure(policy: MarkowitzPolicy) -> float:
    """1'|w| of the holdings a trajectory starts from."""
    return policy.start().abs().sum().item()


def run_cell(config: Config, method: str, seed: int) -> Tables:
    """The tables of one method on the trajectories of one seed."""
    record = Recorder("markowitz", method, seed, UNITS, examples=False)
    test = make_data(config, seed, TEST, config.market.test)
    with record.timed("train"):
        searched = (config.gammas, config.largest_exposure)
        gamma = search_gamma(config, seed, *searched) if method.endswith("search") else config.gamma
        policy = make_model(config, gamma)
        if method in LEARNED:
            record.learned(policy, lambda: train(config, seed, policy, test, record))
    with record.timed("evaluate"):
        first = evaluate(make_model(config, config.gamma), test)
        _record_final(policy, test, first, record, method)
    if method in LEARNED:
        reached = exposure(policy)
        with record.timed("train", f"{method}/gamma_alone"):
            gamma = search_gamma(config, seed, [*config.gammas, gamma_of(config, reached)], reached)
        _record_final(make_model(config, gamma), test, first, record, f"{method}/gamma_alone")
    _record_policy(config, policy, record)
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment; finished cells are kept in `directory` for a restart."""
    cells = [(method, seed) for method in config.methods for seed in config.seeds]
    return run_cells(run_cell, config, cells, directory)


def _record_final(policy: MarkowitzPolicy, test: Tensor, first: float, record: Recorder, method: str) -> None:
    final = evaluate(policy, test)
    record.metric("final_utility", "test", 0, final, "1/month", method)
    record.metric("final_gain", "test", 0, final - first, "1/month", method)
    record.metric("gamma", "train", 0, policy.gamma_root.item() ** 2, "1", method)
    record.metric("exposure", "train", 0, exposure(policy), "share of wealth", method)


def _record_policy(config: Config, policy: MarkowitzPolicy, record: Recorder) -> None:
    """Expected returns of a month and volatilities, as the policy has them."""
    volatility = policy.root.detach().square().sum(0).sqrt()
    for column, name in enumerate(config.data.names()):
        record.metric(f"expected return {name}", "train", 0, policy.mean[column].item() - 1, "1/month")
        record.metric(f"volatility {name}", "train", 0, volatility[column].item(), "1/month^0.5")
