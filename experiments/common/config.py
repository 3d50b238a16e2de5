"""The settings every experiment has, and their checks."""

from dataclasses import dataclass, field
from typing import Any

from experiments.common.errors import ConfigError, require, require_one_of
from experiments.common.watch import check_log
from layers import Adjoint, ProblemError, QPLayer, adjoint, adjoints, engines


def _chosen_automatically() -> dict[str, Any]:
    """The name of an adjoint, and every setting that some adjoint has, each left at its default."""
    return {"name": "auto"} | dict.fromkeys(
        sorted({key for name in adjoints() for key in adjoint(name).settings})
    )


@dataclass
class LayerConfig:
    """Which layer solves and differentiates the programs.

    `adjoint` has the name of an adjoint and the settings of all; those that the named one has may be set.
    """

    solver: str = "auto"  #: engine that solves; --help lists them
    #: way to differentiate, by name, and its settings
    adjoint: dict[str, Any] = field(default_factory=_chosen_automatically)
    tol: float = 1e-6  #: accuracy of a solution, on the equilibrated program [1]
    max_iterations: int = 100  #: most iterations of the engine [iterations]

    def build(self) -> QPLayer:
        """The layer itself."""
        return QPLayer(
            solver=self.solver, adjoint=self.derivative(), tol=self.tol, max_iterations=self.max_iterations
        )

    def derivative(self) -> str | Adjoint:
        """The adjoint by its name, or with its settings where some are given.

        Raises
        ------
        ConfigError
            If there is no such adjoint, or it has no such setting or value; with those that it has.
        """
        name = self.adjoint["name"]
        require_one_of("layer.adjoint", name, list(adjoints()))
        given = {key: value for key, value in self.adjoint.items() if key != "name" and value is not None}
        try:
            return adjoint(name, **given) if given else name
        except ProblemError as error:
            raise ConfigError(f"layer.adjoint: {error}") from error

    def check(self) -> None:
        """Raise a `ConfigError` unless solver and adjoint exist here and the numbers make sense."""
        reasons = engines()
        available = ["auto", *(name for name, reason in reasons.items() if reason is None and name != "auto")]
        reason = reasons.get(self.solver)
        if self.solver not in available and reason is not None:
            raise ConfigError(
                f"layer.solver: {self.solver} is unavailable ({reason}); available: {available}"
            )
        require_one_of("layer.solver", self.solver, available)
        self.derivative()
        require(0 < self.tol < 1, "layer.tol", self.tol, "a number between 0 and 1")
        require(self.max_iterations > 0, "layer.max_iterations", self.max_iterations, "a positive integer")


@dataclass
class RunConfig:
    """What is run, with which layer, on which seeds, and where the tables go.

    `workers` processes share the cells; `log=tensorboard` writes scalars of trainings below the folder of the tables.
    """

    experiment: str = "?"  #: program to run; --help lists them
    size: str = "?"  #: set of settings: smoke, companion or paper
    #: of the random numbers, one run of every method each; different, 0 or more [1]
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    layer: LayerConfig = field(default_factory=LayerConfig)
    output: str = "build/results"  #: folder of all tables
    workers: int = 1  #: that share the work [processes]
    log: str = "none"  #: none, or tensorboard: scalars of trainings, below the folder of the tables

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        check_seeds("seeds", self.seeds)
        require(self.workers > 0, "workers", self.workers, "a positive number of processes")
        check_log(self.log)
        self.layer.check()


def check_seeds(name: str, seeds: list[int]) -> None:
    """Raise a `ConfigError` unless the setting `name` is a list of seeds."""
    require(len(seeds) > 0, name, seeds, "at least one seed")
    require(len(set(seeds)) == len(seeds), name, seeds, "seeds that differ")
    require(min(seeds) >= 0, name, seeds, "non-negative integers")


def check_methods(given: list[str], valid: tuple[str, ...], key: str = "methods") -> None:
    """Raise a `ConfigError` unless `given`, the setting `key`, names some of `valid`."""
    require(len(given) > 0, key, given, f"some of {list(valid)}")
    for name in given:
        require_one_of(key, name, valid)
