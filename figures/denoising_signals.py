"""Three test signals of the denoising study, with what each method makes of them."""

from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, NothingToDraw, methods_in, rows_of

TABLES = {"signals": "denoising/signals"}


def draw(tables: dict[str, Frame]) -> Figure:
    """One column for each signal, one row for each method; clean in black, noisy as grey dots."""
    signals = tables["signals"]
    examples = sorted(signals["signal"].unique())
    methods = [method for method in methods_in(signals) if method not in ("clean", "noisy")]
    if not methods:
        raise NothingToDraw("no method was run")
    figure = Figure(figsize=(7.5, 1.45 * len(methods) + 0.4), layout="constrained")
    grid = figure.subplots(len(methods), len(examples), sharex=True, sharey="col", squeeze=False)
    for row, method in zip(grid, methods, strict=True):
        for axes, example in zip(row, examples, strict=True):
            one = rows_of(signals, signal=example)
            noisy, clean, own = (rows_of(one, method=name) for name in ("noisy", "clean", method))
            axes.plot(noisy["index"], noisy["value"], ".", markersize=3, color=COLOURS["noisy"])
            axes.step(clean["index"], clean["value"], where="mid", color=COLOURS["clean"], linewidth=0.9)
            axes.plot(own["index"], own["value"], color=COLOURS[method])
        row[0].set_title(NAMES[method], color=COLOURS[method])
    for axes in grid[-1]:
        axes.set_xlabel("sample")
    figure.supylabel("amplitude (signal unit)", fontsize=9)
    grid[0][-1].set_title("black: clean, dots: noisy", loc="right", fontsize=8)
    return figure


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
