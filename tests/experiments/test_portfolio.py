"""Walking forward: test years decide nothing, choices are the best on validation, settings are checked."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from experiments import portfolio
from experiments.common.errors import ConfigError
from experiments.portfolio import (
    FIRST_YEAR,
    Config,
    Data,
    Learned,
    candidates,
    evaluate,
    make_data,
    make_model,
    ridge_regression,
    run,
    train,
)

ASSETS = ["AAPL", "KO", "XOM", "WMT"]


@pytest.fixture(scope="module")
def market():
    return Data(assets=ASSETS).market()


def small():
    config = Config(seeds=[0], methods=["predict_then_optimise", "end_to_end"])
    config.data = Data(assets=ASSETS, first_test=1998, last_test=1999, validation_years=2)
    config.grid = portfolio.Grid(ridge=[1.0], gamma=[10.0, 50.0], cost=[1.0], shrinkage=[0.5])
    config.train = portfolio.Training(steps=4, lr=0.1, windows=3, horizon=3, evaluate_every=2)
    return config


@pytest.mark.parametrize(("first", "last", "years"), [(2000, 2022, 2), (2000, 2022, 1), (2001, 2003, 7)])
def test_blocks_cover_the_test_years_once_and_in_order(first, last, years):
    blocks = list(Data(first_test=first, last_test=last, block_years=years).blocks())
    covered = [year for start, end in blocks for year in range(start, end + 1)]
    assert covered == list(range(first, last + 1))


def test_training_validation_and_test_follow_each_other_without_a_month_in_common(market):
    config = Config()
    for first, last in config.data.blocks():
        rows = make_data(config, market, first)
        parts = [rows["train"], rows["validation"], market.rows(first, last)]
        assert str(market.months[parts[0][0]]) == f"{FIRST_YEAR}-01"
        assert str(market.months[parts[2][0]]) == f"{first}-01"
        for before, after in pairwise(parts):
            assert before[-1] + 1 == after[0]


@pytest.mark.parametrize("method", ["minimum_variance", "predict_then_optimise"])
def test_choices_and_learning_do_not_depend_on_the_test_years(market, method):
    config = small()
    rows = make_data(config, market, 1998)
    start = make_model(config, method, market, rows)
    learned, step = train(config, 0, start, market, rows)
    future = market.rows(1998, 2022)
    changed = replace(market, gross=market.gross.clone(), features=market.features.clone())
    changed.gross[future] = 3.0
    changed.features[future] = -7.0
    again = make_model(config, method, changed, rows)
    for name in ("theta", "gamma", "cost", "shrinkage"):
        torch.testing.assert_close(getattr(again, name), getattr(start, name), rtol=0, atol=0)
    once_more, same_step = train(config, 0, again, changed, rows)
    torch.testing.assert_close(once_more.theta, learned.theta, rtol=0, atol=0)
    assert same_step == step


def test_the_grid_is_chosen_from_by_its_sharpe_ratio_on_validation(market):
    config = small()
    rows = make_data(config, market, 1998)
    rules = candidates(config, "predict_then_optimise", market, rows["train"])
    scores = evaluate(config, rules, market, rows["validation"])
    assert len(scores) == 2
    assert abs(scores[0] - scores[1]) > 1e-3
    chosen = make_model(config, "predict_then_optimise", market, rows)
    assert chosen.gamma.item() == rules.gamma[scores.argmax()].item()


def test_minimum_variance_predicts_nothing(market):
    rules = candidates(small(), "minimum_variance", market, np.arange(24))
    assert (rules.theta == 0).all()


def test_learning_is_never_worse_than_its_start_on_validation_and_can_be_better(market):
    config = small()
    rows = make_data(config, market, 1998)
    start = make_model(config, "predict_then_optimise", market, rows)
    learned, step = train(config, 0, start, market, rows)
    before, after = (evaluate(config, rule, market, rows["validation"]).item() for rule in (start, learned))
    assert after >= before
    assert (step == 0) == (after == before)


def test_a_learned_rule_starts_where_it_was_told(market):
    rule = candidates(small(), "predict_then_optimise", market, np.arange(24))[0]
    again = Learned(rule).rule()
    for name in ("theta", "gamma", "cost", "shrinkage"):
        torch.testing.assert_close(getattr(again, name), getattr(rule, name))


def test_ridge_regression_finds_the_truth_and_shrinks_it_by_its_strength(market):
    rows, theta = np.arange(200), torch.tensor([0.5, -1.0, 2.0, 0.3], dtype=torch.float64)
    level = torch.linspace(0.9, 1.1, len(market.gross), dtype=torch.float64)[:, None]
    made = replace(market, gross=level + 0.01 * (market.features * theta).sum(-1))
    torch.testing.assert_close(ridge_regression(made, rows, 1e-12), theta)
    lone = replace(made, features=torch.zeros_like(made.features))
    lone.features[..., 2] = made.features[..., 2]
    lone = replace(lone, gross=level + 0.01 * (lone.features * theta).sum(-1))
    torch.testing.assert_close(ridge_regression(lone, rows, 1.0)[2], theta[2] / 2)


def test_a_run_reports_every_month_every_measure_and_differences_that_add_up(tmp_path):
    config = small()
    config.methods = ["equal_weight", "minimum_variance"]
    tables = run(config, tmp_path)
    months = [row["step"] for row in tables["metrics"] if row["metric"] == "net_return"]
    assert sorted(set(months)) == list(range(28 * 12, 30 * 12))
    own = {(row["method"], row["metric"]): row["mean"] for row in tables["intervals"] if not row["baseline"]}
    final = {
        (row["method"], row["metric"]): row["value"]
        for row in tables["metrics"]
        if row["metric"] in portfolio.FINAL
    }
    assert own.keys() == final.keys()
    for key, value in own.items():
        np.testing.assert_allclose(value, final[key], rtol=1e-12)
    for row in tables["intervals"]:
        if row["baseline"]:
            gap = own[row["method"], row["metric"]] - own[row["baseline"], row["metric"]]
            np.testing.assert_allclose(row["mean"], gap, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("section", "name", "value", "message"),
    [
        ("data", "assets", ["AAPL", "TSLA"], "data.assets: got 'TSLA', expected one of"),
        ("data", "assets", ["AAPL"], "at least two assets"),
        ("data", "first_test", 1996, "1997 to 2022"),
        ("data", "last_test", 2023, "first_test to 2022"),
        ("data", "last_test", 1999, "first_test to 2022"),
        ("data", "block_years", 0, "data.block_years"),
        ("data", "validation_years", 0, "data.validation_years"),
        ("data", "trading_cost", -1e-3, "data.trading_cost"),
        ("grid", "gamma", [], "grid.gamma"),
        ("grid", "cost", [0.0], "grid.cost"),
        ("grid", "shrinkage", [1.5], "grid.shrinkage"),
        ("train", "horizon", 0, "train.horizon: got 0, expected 1 to 12 months"),
        ("train", "windows", 0, "train.windows: got 0"),
        ("train", "steps", -1, "train.steps"),
        ("train", "lr", -1.0, "train.lr"),
        (None, "bootstrap_block", 0, "bootstrap_block"),
        (None, "methods", [], "methods"),
    ],
)
def test_settings_that_cannot_be_used_are_told(section, name, value, message):
    config = Config()
    setattr(getattr(config, section) if section else config, name, value)
    with pytest.raises(ConfigError, match=message):
        config.check()
