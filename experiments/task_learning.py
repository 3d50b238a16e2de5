"""Learning to decide: Donti, Amos & Kolter 2017 (arXiv 1703.04529), the newsvendor and the scheduling of a load.

Question: a decision is made under a forecast. Is it better to fit the forecast to the data and then decide (`mle`),
or to train the forecast through the decision, by what it costs (`task`)? Beside both a network that gives the
decision itself (`policy`), and for the load forecasts fitted by squared errors (`rmse`), or by errors weighted with
what they cost (`weighted_rmse`). `true_model` decides with the true probabilities, which only the newsvendor has. A
forecast of the load has one deviation for each hour, as published, but for `mle` and `task_varying`, whose deviations
depend on the day. `rmse_last` is what the published gain is measured against: the last epoch, and the deviations of the
days that it was fitted to.

- newsvendor: true parameters and test data are the published ones, from their seeds; both true models (the logits are
  linear, or squares of linear functions) meet a linear model and a network. `regret` is the cost above that of the true
  probabilities, relative to it.
- load: a day ahead, 24 hours; the published plant, but other data (docs/data.md): demand of New South Wales instead of
  PJM's, without temperatures, 748 days to train on instead of seven years. `cost` is that of a day, `rmse` the error of
  the forecast, `ramps_binding` the share of ramps that hold a schedule back.

All others are judged by the same rule: the epoch whose decisions cost least on a held-out fifth of the training
data. The published newsvendor networks descend on -p(y|x) where the paper has the log-likelihood; here it is the
logarithm.

    python -m experiments.run experiment=task_learning size=smoke        # seconds
    python -m experiments.run experiment=task_learning size=companion    # a minute
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from experiments.common.cells import run_cells
from experiments.common.config import LayerConfig, RunConfig, check_methods
from experiments.common.decisions import grid, shop
from experiments.common.decisions.grid import Grid, run_grid
from experiments.common.decisions.shop import Shop, run_shop
from experiments.common.recorder import Recorder
from experiments.common.results import Tables

METHODS = ("true_model", *grid.TRAINED)
PROBLEMS = ("newsvendor", "load")
FINAL = ("cost", "regret", "rmse", "ramps_binding")


@dataclass
class Config(RunConfig):
    """Settings; the defaults are the published ones."""

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    problems: list[str] = field(default_factory=lambda: list(PROBLEMS))  #: newsvendor, load
    layer: LayerConfig = field(default_factory=lambda: LayerConfig(tol=1e-8))
    newsvendor: Shop = field(default_factory=Shop)
    load: Grid = field(default_factory=Grid)

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        check_methods(self.methods, METHODS)
        check_methods(self.problems, PROBLEMS, "problems")
        self.newsvendor.check("newsvendor")
        self.load.check("load")


def run_cell(config: Config, method: str, seed: int) -> Tables:
    """The tables of one method on every problem with one seed."""
    record = Recorder("task_learning", method, seed, ("1", "1"), examples=False)
    layer = config.layer.build()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if "newsvendor" in config.problems and method in ("true_model", *shop.TRAINED):
            run_shop(config.newsvendor, layer, record)
        if "load" in config.problems and method in grid.TRAINED:
            run_grid(config.load, layer, record)
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment; finished cells are kept in `directory` for a restart.

    The true model needs no luck: it decides once.
    """
    cells = [
        (method, seed)
        for method in config.methods
        for seed in (config.seeds if method != "true_model" else config.seeds[:1])
    ]
    return run_cells(run_cell, config, cells, directory)
