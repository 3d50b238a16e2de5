"""The example programs of the cvxpylayers documentation, each with its notebook's data and training.

Question: does a program written for cvxpylayers give the same numbers when only the layer is exchanged? Seed 0
is the notebook itself: its random numbers are rebuilt, so that its data, and with them all that is printed before
training, agree to the last digit shown, and the training follows the same path as far as engines agree. The other
seeds draw other data and initial values, for intervals. Test sets, which the notebooks do not have, come from a
stream of their own.

    python -m experiments.run experiment=gallery size=smoke                # seconds
    python -m experiments.run experiment=gallery size=companion            # minutes
    python -m experiments.run experiment=gallery layer=cvxpylayers 'methods=[resource_allocation]'
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments import programs
from experiments.common.cells import run_cells
from experiments.common.config import RunConfig, check_methods
from experiments.common.recorder import Recorder
from experiments.common.results import Tables
from experiments.programs.engines import beyond, builder, require_solvable

PROGRAMS: dict[str, ModuleType] = {
    "constrained_mpc": programs.constrained_mpc,
    "elastic_net": programs.elastic_net,
    "monotone_regression": programs.monotone_regression,
    "optimal_transport": programs.optimal_transport,
    "relu_network": programs.relu_network,
    "resource_allocation": programs.resource_allocation,
    "signal_denoising": programs.signal_denoising,
    "stiffness": programs.stiffness,
}
FINAL = tuple(sorted({metric for program in PROGRAMS.values() for metric in program.FINAL}))
# Every program works with numbers that have no unit of their own.
UNITS = ("1", "1")


@dataclass
class Config(RunConfig):
    """Settings; the defaults are the notebooks'. `methods` names programs; null means all that the layer can solve."""

    methods: list[str] | None = None
    constrained_mpc: programs.constrained_mpc.Settings = field(
        default_factory=programs.constrained_mpc.Settings
    )
    elastic_net: programs.elastic_net.Settings = field(default_factory=programs.elastic_net.Settings)
    monotone_regression: programs.monotone_regression.Settings = field(
        default_factory=programs.monotone_regression.Settings
    )
    optimal_transport: programs.optimal_transport.Settings = field(
        default_factory=programs.optimal_transport.Settings
    )
    relu_network: programs.relu_network.Settings = field(default_factory=programs.relu_network.Settings)
    resource_allocation: programs.resource_allocation.Settings = field(
        default_factory=programs.resource_allocation.Settings
    )
    signal_denoising: programs.signal_denoising.Settings = field(
        default_factory=programs.signal_denoising.Settings
    )
    stiffness: programs.stiffness.Settings = field(default_factory=programs.stiffness.Settings)

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        if self.methods is not None:
            check_methods(self.methods, tuple(PROGRAMS))
        for method in chosen(self):
            require_solvable(self.layer.solver, method, PROGRAMS[method])
            getattr(self, method).check(method)


def chosen(config: Config) -> list[str]:
    """The programs to run."""
    if config.methods is not None:
        return config.methods
    return [name for name, program in PROGRAMS.items() if beyond(config.layer.solver, program) is None]


def run_cell(config: Config, method: str, seed: int) -> Tables:
    """The tables of one program and seed."""
    record = Recorder("gallery", method, seed, UNITS, examples=seed == config.seeds[0])
    run_program: Callable[..., None] = PROGRAMS[method].run
    settings: Any = getattr(config, method)
    run_program(settings, builder(config.layer), seed, record)
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment; finished cells are kept in `directory` for a restart."""
    cells = [(method, seed) for method in chosen(config) for seed in config.seeds]
    return run_cells(run_cell, config, cells, directory)
