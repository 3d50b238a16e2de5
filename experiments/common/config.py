"""The settings every experiment has, and their checks."""

from dataclasses import dataclass, field

from experiments.common.errors import ConfigError, require, require_one_of
from layers import QPLayer, adjoints, engines


@dataclass
class LayerConfig:
    """Which layer solves and differentiates the programs."""

    solver: str = "auto"
    adjoint: str = "auto"
    tol: float = 1e-6
    max_iterations: int = 100

    def build(self) -> QPLayer:
        """The layer itself."""
        return QPLayer(
            solver=self.solver, adjoint=self.adjoint, tol=self.tol, max_iterations=self.max_iterations
        )

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
        require_one_of("layer.adjoint", self.adjoint, list(adjoints()))
        require(0 < self.tol < 1, "layer.tol", self.tol, "a number between 0 and 1")
        require(self.max_iterations > 0, "layer.max_iterations", self.max_iterations, "a positive integer")


@dataclass
class RunConfig:
    """What is run, with which layer, on which seeds, and where the tables go."""

    experiment: str = "?"
    size: str = "?"
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    layer: LayerConfig = field(default_factory=LayerConfig)
    output: str = "build/results"
    workers: int = 1

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        check_seeds("seeds", self.seeds)
        require(self.workers > 0, "workers", self.workers, "a positive number of processes")
        self.layer.check()


def check_seeds(name: str, seeds: list[int]) -> None:
    """Raise a `ConfigError` unless the setting `name` is a list of seeds."""
    require(len(seeds) > 0, name, seeds, "at least one seed")
    require(len(set(seeds)) == len(seeds), name, seeds, "seeds that differ")
    require(min(seeds) >= 0, name, seeds, "non-negative integers")


def check_methods(given: list[str], valid: tuple[str, ...]) -> None:
    """Raise a `ConfigError` unless `given` names some of the `valid` methods."""
    require(len(given) > 0, "methods", given, f"some of {list(valid)}")
    for method in given:
        require_one_of("methods", method, valid)
