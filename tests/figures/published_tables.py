"""A small table of published numbers beside ours, as `python -m experiments.compare` writes it."""

import pandas as pd

ROWS = (
    ("denoising", "optnet_tuned_tv", "test", "mse", 0, "16.01", 16.01),
    ("denoising", "optnet_tuned_tv", "test", "mse", 3, "14.4", 14.4),
    ("denoising", "total_variation_on_test", "test", "final_mse", None, "16.5", 16.5),
    ("gallery", "signal_denoising", "validation", "mse", 0, "9.5", 9.5),
    ("gallery", "signal_denoising/identity", "validation", "final_mse", None, "2.9", 2.9),
    ("gallery", "optimal_transport", "0 to 0", "transported", None, "0.1007", 0.1007),
    ("sudoku_9x9", "identified", "givens_36", "solved", None, "0.983", 0.983),
    ("sudoku_rules", "exclusions", "givens_36", "solved", None, "0.983", 0.983),
    ("differentiation", "spo_plus", "path", "final_regret", None, "0.0759", 0.0759),
    ("hard_constraints", "optimiser", "50 inequalities, 50 equalities", "objective", None, "-15.05", -15.05),
    ("hard_constraints", "penalty", "convex", "objective", None, "-12.57", -12.57),
    ("hard_constraints", "penalty", "convex", "max_equality", None, "0.35", 0.35),
    ("mpc_pendulum", "lstm", "test_10", "final_imitation_loss", None, "0.388", 0.388),
    (
        "mpc_pendulum",
        "mpc_dynamics_misspecified",
        "train_50",
        "last_imitation_loss",
        None,
        "0.130 / 0.192",
        -0.32,
    ),
)


def comparison() -> pd.DataFrame:
    """Return two runs of every published number: a figure shows each once."""
    names = ("experiment", "method", "split", "metric", "step", "printed", "published")
    rows = [dict(zip(names, row, strict=True)) for row in ROWS]
    for row in rows:
        change = " / " in str(row["printed"])
        row.update(ours=row["published"], verdict="matches", claim="c (SATNet)")
        row["unit"] = "relative change" if change else "as in the paper"
    return pd.DataFrame([{**row, "size": size} for row in rows for size in ("companion", "paper")])
