"""What the tests of figures share: runs with small tables."""

import pytest

from experiments.job import composed, run
from figures.program import modules
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
    wanted = {table for module in modules().values() for table in module.TABLES.values() if "/" in table}
    for name in {table.split("/")[0] for table in wanted}:
        # An experiment without small tables here brings its own: those of its smallest size.
        if not (root / name).exists():
            run(composed(name, "smoke", "auto"), root / name / "companion" / "auto")
    for folder in root.glob("*/*/*"):
        record(folder)
    return root
