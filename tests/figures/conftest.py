"""What the tests of figures share: runs with small tables."""

import pytest

from tests.experiments.recorded import record
from tests.figures import (
    constraints_tables,
    control_tables,
    denoising_tables,
    differentiation_tables,
    gallery_tables,
    mpc_tables,
    portfolio_tables,
    published_tables,
    sudoku_tables,
)


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """Return a folder with a small run of every experiment that has a figure."""
    root = tmp_path_factory.mktemp("results")
    denoising_tables.write(root)
    for study, name, table in (
        ("markowitz", "metrics", portfolio_tables.markowitz_metrics()),
        ("portfolio", "metrics", portfolio_tables.portfolio_metrics()),
        ("portfolio", "intervals", portfolio_tables.portfolio_intervals()),
    ):
        folder = root / study / "companion" / "auto"
        folder.mkdir(parents=True, exist_ok=True)
        table.to_csv(folder / f"{name}.csv", index=False)
    constraints_tables.write(root)
    control_tables.write(root)
    differentiation_tables.write(root)
    gallery_tables.write(root)
    mpc_tables.write(root)
    sudoku_tables.write(root)
    published_tables.comparison().to_csv(root / "comparison.csv", index=False)
    for folder in root.glob("*/*/*"):
        record(folder)
    return root
