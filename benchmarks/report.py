"""From the table of timings to ratios: ours against the fastest accurate peer of each row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# A pandas.DataFrame, whose own annotations leave the type of almost every selection open.
Frame = Any

#: rows whose ratios enter the geometric mean; sweeps are drawn, not averaged
COUNTED = ("peers", "applications", "latency")
OURS = ("auto", "convex_layer")


def ratios(results: Frame) -> Frame:
    """One line a row: our time beside that of the fastest accurate layer of others, and of a bare solver in a loop.

    Parameters
    ----------
    results : DataFrame
        benchmarks/results.csv.

    Returns
    -------
    DataFrame
        `ratio` is the peer's time over ours, forward and backward together; `forward_ratio` the same of the forward
        alone, against the fastest peer there; `backward_share` our backward over our forward; `memory_ratio` our peak
        memory over the leanest accurate peer's; `of_attainable` the floor of a dense solve over our forward.
        `bare_ratio` is that of the fastest bare solver with a backward pass behind it; `alone_ratio` that of the
        fastest of all others where no gradient is asked for, `alone_bare_ratio` of the fastest bare solver there, and
        `alone_core_ratio` of the one that takes the fewest core-microseconds. `core_us` and `alone_core_us` are ours.
    """
    lines: list[dict[str, object]] = []
    for row, table in results[results["group"] != "accuracy"].groupby("row", sort=False):
        own = _by_phase(table[table["engine"].isin(OURS)])
        if "both" not in own or not bool(own["both"]["accurate"]):
            continue
        accurate = table[~table["ours"] & table["accurate"]]
        peers, bare = accurate[~accurate["bare"]], accurate[accurate["bare"]]
        lines.append(
            {
                "group": own["both"]["group"],
                "row": row,
                **_against_layers(own, peers),
                "memory_ratio": own["both"]["memory_mib"] / _least(peers["memory_mib"]),
                "of_attainable": own["forward"]["floor_ms"] / own["forward"]["median_ms"],
                **_against_bare(own, bare, accurate),
            }
        )
    return pd.DataFrame(lines)


def _against_layers(own: dict[str, Any], peers: Frame) -> dict[str, object]:
    fastest, name = _fastest(peers, "both")
    return {
        "ours_ms": own["both"]["median_ms"],
        "peer": name,
        "peer_ms": fastest,
        "ratio": fastest / own["both"]["median_ms"],
        "forward_ratio": _fastest(peers, "forward")[0] / own["forward"]["median_ms"],
        "backward_share": own["backward"]["median_ms"] / own["forward"]["median_ms"],
    }


def _against_bare(own: dict[str, Any], bare: Frame, everyone: Frame) -> dict[str, object]:
    alone = own.get("alone", {"median_ms": float("nan"), "core_us": float("nan")})
    fastest, name = _fastest(bare, "both")
    least, leanest = _fastest(everyone, "alone", "core_us")
    return {
        "core_us": own["both"]["core_us"],
        "bare": name,
        "bare_ms": fastest,
        "bare_ratio": fastest / own["both"]["median_ms"],
        "alone_ms": alone["median_ms"],
        "alone_peer": _fastest(everyone, "alone")[1],
        "alone_ratio": _fastest(everyone, "alone")[0] / alone["median_ms"],
        "alone_bare": _fastest(bare, "alone")[1],
        "alone_bare_ratio": _fastest(bare, "alone")[0] / alone["median_ms"],
        "alone_core_us": alone["core_us"],
        "alone_leanest": leanest,
        "alone_core_ratio": least / alone["core_us"],
    }


def targets(results: Frame, table: Frame) -> list[tuple[str, float, str]]:
    """(what, value, demand) of each target of the project that this run can judge."""
    found: list[tuple[str, float, str]] = []
    counted = table[table["group"].isin(COUNTED) & table["ratio"].notna()] if len(table) else table
    if len(counted):
        found += [
            (
                "geometric mean of forward + backward against the fastest peer",
                _mean(counted["ratio"]),
                ">= 5",
            ),
            ("its least over the rows", counted["ratio"].min(), ">= 2"),
            ("largest backward over forward", counted["backward_share"].max(), "<= 0.25"),
            ("largest memory over the leanest peer's", counted["memory_ratio"].max(), "<= 1.5"),
        ]
        latency = counted[counted["group"] == "latency"]
        if len(latency):
            found.append(("a single problem against the fastest peer", latency["ratio"].min(), "> 1"))
    dense = _against(results, "auto_dense", COUNTED)
    warm = _against(results, "auto_warm", COUNTED)
    found += [
        (f"shared data against our dense path, {row}", value, ">= 3")
        for row, value in dense.items()
        if "sudoku_4x4" in row or row == "denoising"
    ]
    # Warm over cold, so the ratio is read the other way round.
    found += [(f"warm start against cold, {row}", 1 / value, ">= 2") for row, value in warm.items()]
    quadratic = results[results["row"].str.startswith("qp_")]
    for peer, demand in (("cvxpylayers_moreau", ">= 3"), ("cvxpylayers_diffcp", ">= 20")):
        against = _against(quadratic, peer, ("convex",))
        if against:
            found.append((f"QP-representable programs, least against {peer}", min(against.values()), demand))
    return [target for target in found if np.isfinite(target[1])]


def text(results: Frame) -> str:
    """Ratios and targets as Markdown."""
    table = ratios(results)
    facts = results.iloc[0]
    device = f"{facts['accelerator']} beside " if (results["group"] == "gpu").any() else ""
    lines = [
        f"{device}{facts['machine']}, {facts['threads']} threads, {_commits(results)}; matrix product "
        f"{facts['product_gflops']:.0f} GFLOP/s ({facts['kernel']}), copy {facts['copy_gbytes']:.0f} GB/s. "
        "Medians, forward + backward, beside the fastest accurate layer of others.",
        "",
        "| row | ours (ms) | fastest accurate peer | its time (ms) | ratio | forward ratio | backward/forward "
        "| memory ratio | of attainable |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {x.row} | {x.ours_ms:.3g} | {x.peer} | {x.peer_ms:.3g} | {x.ratio:.2f} | {x.forward_ratio:.2f} "
        f"| {x.backward_share:.2f} | {x.memory_ratio:.2f} | {x.of_attainable:.3f} |"
        for x in table.itertuples()
    ]
    lines += _bare(table)
    lines += _everyone(results[(results["group"] == "gpu") & (results["phase"] == "both")])
    found = targets(results, table)
    lines += ["", "| target | found | demanded | |", "|---|---:|---|---|"] if found else []
    lines += [
        f"| {what} | {value:.2f} | {demand} | {'reached' if _holds(value, demand) else 'missed'} |"
        for what, value, demand in found
    ]
    return "\n".join(lines) + "\n"


def _commits(results: Frame) -> str:
    """Which commit was measured, or which groups at which."""
    groups = results.groupby("commit", sort=False)["group"].unique()
    if len(groups) == 1:
        return f"commit {groups.index[0][:12]}"
    return ", ".join(f"commit {commit[:12]} ({', '.join(names)})" for commit, names in groups.items())


def _bare(table: Frame) -> list[str]:
    """Our layer beside bare solvers in a loop, with a backward pass behind them, and where no gradient is asked for."""
    known = table[table["alone_ms"].notna()] if len(table) else table
    if len(known) == 0:
        return []
    head = (
        "| row | core-us a problem | bare solver with a backward pass | its time over ours | no gradient: ours (ms) "
        "| fastest other | its time over ours | fastest bare solver | its time over ours | core-us a problem "
        "| fewest of others | theirs over ours |"
    )
    return [
        "",
        "Beside bare solvers in a Python loop, which take one thread; core-us are threads times time over the batch.",
        "",
        head,
        "|---|---:|---|---:|---:|---|---:|---|---:|---:|---|---:|",
        *(
            f"| {x.row} | {x.core_us:.3g} | {x.bare} | {x.bare_ratio:.2f} | {x.alone_ms:.3g} | {x.alone_peer} "
            f"| {x.alone_ratio:.2f} | {x.alone_bare} | {x.alone_bare_ratio:.2f} | {x.alone_core_us:.3g} "
            f"| {x.alone_leanest} | {x.alone_core_ratio:.2f} |"
            for x in known.itertuples()
        ),
    ]


def _everyone(both: Frame) -> list[str]:
    """Every engine of the rows on a device: where the only peer misses the accuracy, its time is still of interest."""
    if len(both) == 0:
        return []
    head = "| row | engine | setting | ms | KKT residual | gradient error | accurate |"
    return [
        "",
        head,
        "|---|---|---|---:|---:|---:|---|",
        *(
            f"| {x.row} | {x.engine} | `{x.setting}` | {x.median_ms:.3g} | {x.residual:.0e} "
            f"| {x.gradient_error:.0e} | {'yes' if x.accurate else 'no'} |"
            for x in both.itertuples()
        ),
    ]


def write(folder: Path) -> str:
    """Write ratios.csv and report.md beside results.csv; return the report."""
    results = pd.read_csv(folder / "results.csv")
    ratios(results).to_csv(folder / "ratios.csv", index=False, float_format="%.5g")
    words = text(results)
    (folder / "report.md").write_text(words, "utf-8")
    return words


def _by_phase(table: Frame) -> dict[str, Any]:
    return {line["phase"]: line for _, line in table.iterrows()}


def _fastest(peers: Frame, phase: str, by: str = "median_ms") -> tuple[float, str]:
    chosen = peers[(peers["phase"] == phase) & peers[by].notna()]
    if len(chosen) == 0:
        return float("nan"), ""
    best = chosen.loc[chosen[by].idxmin()]
    return float(best[by]), str(best["engine"])


def _least(values: Frame) -> float:
    return float(values.min()) if values.notna().any() else float("nan")


def _mean(values: Frame) -> float:
    return float(np.exp(np.log(values).mean()))


def _against(results: Frame, engine: str, groups: tuple[str, ...]) -> dict[str, float]:
    """Time of `engine`, accurate or not, over ours, by row."""
    both = results[(results["phase"] == "both") & results["group"].isin(groups)]
    ours = both[both["engine"].isin(OURS)].set_index("row")["median_ms"]
    theirs = both[both["engine"] == engine].set_index("row")["median_ms"]
    found = (theirs / ours).dropna()
    return {str(row): float(value) for row, value in found.items()}


def _holds(value: float, demand: str) -> bool:
    sign, bound = demand.split()
    return {">=": value >= float(bound), "<=": value <= float(bound), ">": value > float(bound)}[sign]
