"""What an error costs: every adjoint at every setting, error of the gradients against forward and backward time."""

from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, methods_in, rows_of

TABLES = {"metrics": "differentiation/metrics", "timings": "differentiation/timings"}
FLOOR = 1e-17
MARKERS = "osD^v<>phdPX8"


def draw(tables: dict[str, Frame]) -> Figure:
    """A dot for each setting, a large one for the default, and the front that nothing beats in both."""
    errors = rows_of(tables["metrics"], metric="pareto_error")[["method", "split", "value"]]
    times = tables["timings"].rename(columns={"phase": "split"})[["method", "split", "value"]]
    both = errors.merge(times, on=["method", "split"], suffixes=("_error", "_time"))
    both["value_error"] = both["value_error"].clip(lower=FLOOR)
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    axes = figure.subplots()
    for place, method in enumerate(methods_in(both)):
        own = rows_of(both, method=method).sort_values("value_time")
        marker, colour = MARKERS[place % len(MARKERS)], COLOURS[method]
        axes.plot(own["value_time"], own["value_error"], marker, color=colour, markersize=3, alpha=0.6)
        usual = rows_of(own, split="pareto default")
        large = {"markersize": 8, "markeredgecolor": "white", "color": colour, "label": NAMES[method]}
        axes.plot(usual["value_time"], usual["value_error"], marker, **large)  # pyright: ignore[reportArgumentType]
    front = both.sort_values("value_time")
    front = front[front["value_error"] < front["value_error"].cummin().shift(fill_value=float("inf"))]
    axes.step(front["value_time"], front["value_error"], where="post", color="0.5", linewidth=0.8, zorder=0)
    axes.set(xscale="log", yscale="log", xlabel="forward and backward (s)")
    axes.set_ylabel("relative error of all gradients")
    axes.set_title(
        "large: default settings; small: other settings, or accuracy of the iteration; line: the front"
    )
    figure.legend(loc="outside right center", fontsize=8)
    return figure


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
