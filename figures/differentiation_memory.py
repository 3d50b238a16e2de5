"""Peak memory of forward and backward against what is iterated, and against the size of the program."""

from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, methods_in, rows_of

TABLES = {"metrics": "differentiation/metrics", "timings": "differentiation/timings"}
MIB = 2.0**20


def draw(tables: dict[str, Frame]) -> Figure:
    """Left: the adjoints that have a number of iterations, or of terms; middle: memory by size; right: time by size."""
    timings = tables["timings"]
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    counts = rows_of(tables["metrics"], metric="iterations")[["method", "split", "value"]]
    peaks = rows_of(timings, unit="B")
    peaks = peaks.assign(split=peaks["phase"].str.removeprefix("memory "))[["method", "split", "value"]]
    both = counts.merge(peaks, on=["method", "split"], suffixes=("_count", "_peak"))
    for method in methods_in(both):
        own = rows_of(both, method=method).sort_values("value_count")
        left.plot(own["value_count"], own["value_peak"] / MIB, ".-", color=COLOURS[method])
    left.set(xlabel="iterations, or terms of the series", ylabel="peak memory (MiB)", ylim=(0, None))
    words = timings["phase"].str.extract(r"^(memory|forward|backward) n=(\d+)$")
    sized = timings.assign(kind=words[0], n=words[1].astype(float)).dropna(subset=["n"])
    for method in methods_in(sized):
        own = rows_of(sized, method=method)
        memory = rows_of(own, kind="memory").sort_values("n")
        time = own[own["kind"] != "memory"].groupby("n")["value"].sum()
        middle.plot(memory["n"], memory["value"] / MIB, ".-", color=COLOURS[method], label=NAMES[method])
        right.plot(time.index, time, ".-", color=COLOURS[method])
    for axes, label in ((middle, "peak memory (MiB)"), (right, "forward and backward (s)")):
        axes.set(xscale="log", yscale="log", xlabel="variables n", ylabel=label)
    figure.legend(loc="outside lower center", ncols=7, fontsize=8)
    return figure


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
