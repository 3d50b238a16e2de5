"""Small tables in the shape of the two portfolio studies."""

import pandas as pd

LEARNED = ("tuned", "tuned_from_search")
POLICIES = ("untuned", "gamma_search", *LEARNED)
PORTFOLIOS = ("equal_weight", "minimum_variance", "predict_then_optimise", "end_to_end")
MEASURES = ("annual_return", "volatility", "sharpe", "turnover", "drawdown")


def markowitz_metrics():
    labels = {"experiment": "markowitz", "unit": "1/month"}
    curve = {**labels, "metric": "utility", "split": "test"}
    rows = [
        {**curve, "method": method, "seed": seed, "step": step, "value": 0.004 + 1e-4 * (step + seed)}
        for method in LEARNED
        for seed in (0, 1)
        for step in (0, 10, 20)
    ]
    for method in POLICIES:
        for seed in (0, 1):
            own = {**labels, "method": method, "seed": seed, "step": 0}
            rows.append({**own, "metric": "final_utility", "split": "test", "value": 0.005})
            for asset in ("KO", "XOM"):
                rows.append({**own, "metric": f"expected return {asset}", "split": "train", "value": 0.01})
    return pd.DataFrame(rows)


def portfolio_metrics():
    labels = {"experiment": "portfolio", "metric": "net_return", "split": "test", "unit": "1/month"}
    return pd.DataFrame(
        [
            {
                **labels,
                "method": method,
                "seed": seed,
                "step": 360 + month,
                "value": 0.02 * (-1) ** month + 0.001 * place,
            }
            for place, method in enumerate(PORTFOLIOS)
            for seed in ((0, 1) if method == "end_to_end" else (0,))
            for month in range(24)
        ]
    )


def portfolio_intervals():
    labels = {"experiment": "portfolio", "split": "test", "unit": "1", "mean": 0.5, "lo": 0.3, "hi": 0.8}
    return pd.DataFrame(
        [
            {**labels, "method": method, "baseline": baseline, "metric": metric}
            for method in PORTFOLIOS
            for baseline in ("", *PORTFOLIOS[:3])
            for metric in MEASURES
            if method != baseline
        ]
    )
