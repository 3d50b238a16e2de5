"""A policy, the system that it controls, and the trajectories on which it is tuned and judged."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.common.control.descent import MOST, Descent, descend
from experiments.common.control.rollout import Policy, System, mean_cost, rollout
from experiments.common.errors import require
from experiments.common.recorder import Recorder
from experiments.common.watch import scalar

# States to start from, and noise; see `rollout`.
Sample = tuple[Tensor, Tensor]
UNIT = "cost of a period"
# The published notebooks seed torch with small numbers before every rollout. Seed 0 of ours does the same; those of
# the next seed begin this much later. Numbers from FRESH on are no step's.
APART, FRESH = 10_000, MOST


@dataclass
class Trajectories:
    """Periods of a trajectory (the papers' T); trajectories in a step (K), in the published test, in one of ours."""

    horizon: int = 100  #: length of a trajectory, T [periods]
    train: int = 6  #: in a step, K [trajectories]
    test: int = 6  #: in the published test [trajectories]
    fresh: int = 100  #: in our test, which no training has seen [trajectories]

    def check(self, name: str) -> None:
        """Raise a `ConfigError` about the section `name` unless there is something to follow."""
        require(self.horizon > 0, f"{name}.horizon", self.horizon, "a positive number of periods, T")
        for field in ("train", "test", "fresh"):
            count = getattr(self, field)
            known = f"a positive number of trajectories{', K' if field == 'train' else ''}"
            require(count > 0, f"{name}.{field}", count, known)
        require(self.fresh <= APART - FRESH, f"{name}.fresh", self.fresh, f"at most {APART - FRESH}")


@dataclass
class TrajectoriesOfSystem(Trajectories):
    """With the NumPy seed of a random `system`: the published one, whatever the seed of the run."""

    system: int = 0  #: NumPy seed of the random system: the published one, whatever the seed of the run [1]

    def check(self, name: str) -> None:
        """Raise a `ConfigError` about the section `name` unless there is something to follow."""
        super().check(name)
        require(self.system >= 0, f"{name}.system", self.system, "a seed, 0 or more")


@dataclass(frozen=True)
class Study:
    """The policy reads its `parameters` when it is called: tuning changes them in place.

    Parameters
    ----------
    system : System
    policy : callable
        States to controls.
    parameters : list of Tensor
        Leaves that require a gradient.
    """

    system: System
    policy: Policy
    parameters: list[Tensor]

    def named(self) -> dict[str, Tensor]:
        """The parameters by their place."""
        return {str(place): parameter for place, parameter in enumerate(self.parameters)}

    def evaluate(self, sample: Sample) -> float:
        """Mean cost of a period along the trajectories of `sample`."""
        return mean_cost(self.system, self.policy, *sample)

    def train(
        self,
        descent: Descent,
        draw: Callable[[int], Sample],
        measure: Callable[[int], None],
        record: Recorder,
    ) -> None:
        """Tune the policy along trajectories `draw(step)`; see `descend` for the other arguments.

        The cost met before each step is recorded as split `train`.
        """

        def loss(step: int) -> Tensor:
            cost = rollout(self.system, self.policy, *draw(step)).mean()
            record.metric("cost", "train", step, cost.item(), UNIT)
            scalar("cost/train", step, cost.item())
            return cost

        descend(descent, self.parameters, loss, measure, record.tables["metrics"])


def stream(seed: int, number: int) -> torch.Generator:
    """For seed 0 what a notebook gets after `torch.manual_seed(number)`, and others for every further seed."""
    return torch.Generator().manual_seed(APART * seed + number)
