"""Portfolios of real stocks: wealth after costs through the test years, and its drawdown."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, ScalarFormatter

from figures.style import COLOURS, NAMES, Frame, methods_in, rows_of

TABLES = {"metrics": "portfolio/metrics"}
TICKS = (0.5, 1, 2, 5, 10, 20, 50)


def draw(tables: dict[str, Frame]) -> Figure:
    """Wealth of a unit above, share lost since the last peak below; a line for each seed."""
    returns = rows_of(tables["metrics"], metric="net_return", split="test")
    figure = Figure(figsize=(7.5, 5.0), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    for method in methods_in(returns):
        own = rows_of(returns, method=method)
        for _, one in own.groupby("seed"):
            one = one.sort_values("step")
            # A month counts from January 1970, and its return is earned by its end.
            years = 1970 + (np.append(one["step"].iloc[0] - 1, one["step"]) + 1) / 12
            wealth = np.append(1.0, np.cumprod(1 + one["value"]))
            loss = 1 - wealth / np.maximum.accumulate(wealth)
            above.plot(years, wealth, color=COLOURS[method], linewidth=1)
            below.plot(years, -100 * loss, color=COLOURS[method], linewidth=1)
        above.plot([], [], color=COLOURS[method], label=NAMES[method])
    above.set_yscale("log")
    above.yaxis.set_major_locator(FixedLocator(TICKS))
    above.yaxis.set_major_formatter(ScalarFormatter())
    above.yaxis.set_minor_formatter(NullFormatter())
    above.set(
        ylabel="wealth after costs (units invested)", title="walk-forward test years, a line for each seed"
    )
    above.legend(fontsize=7)
    below.set(ylabel="drawdown (%)", xlabel="year")
    return figure


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
