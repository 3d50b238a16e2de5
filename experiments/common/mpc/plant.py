"""What a controller has to know of a plant: where it goes, what that costs, and two derivatives of the cost."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

# Seconds in a step.
DT = 0.05
# The quantities of a state, (..., T) each.
Path = tuple[Tensor, ...]


class Cost(NamedTuple):
    """Weights w and linear terms c of a step: 1/2 Σ wᵢ zᵢ² + cᵢ zᵢ over the features z of a state and the control."""

    weights: Tensor
    linear: Tensor


class Plant(Protocol):
    """A pendulum or a cart-pole; controls (..., T), of which the last moves nothing."""

    def step(self, *state_and_control: Tensor) -> Path:
        """The state after dt: quantities of a state and a control, the quantities after it."""
        ...

    def rollout(self, start: Tensor, torques: Tensor) -> Path:
        """Where the plant goes from `start`, (..., states)."""
        ...

    def cost(self, cost: Cost, path: Path, torques: Tensor) -> Tensor:
        """Cost of the horizon, shape (...)."""
        ...

    def slopes(self, cost: Cost, path: Path, torques: Tensor) -> Any:
        """The gradient of the cost in the controls, as `gradient`, and what `curvatures` needs."""
        ...

    def curvatures(self, cost: Cost, path: Path, slopes: Any, torques: Tensor) -> tuple[Tensor, Tensor]:
        """The Hessian, exact and in Gauss and Newton's approximation, (..., T, T) each."""
        ...


@dataclass(frozen=True)
class Kind:
    """What is known of a kind of plant before its parameters are.

    Attributes
    ----------
    make : callable
        Parameters -> plant.
    features : callable
        States (..., S) -> what the cost sees of them, a tuple of (...).
    states : int
        S.
    true, start : tuple of float
        Parameters of the expert's plant, and where learners begin.
    weights, linear : tuple of float
        The expert's cost, over the features and the control.
    believed : callable
        Plant -> its identified quantities, name -> (value, unit).
    squared : str
        Unit of a squared feature.
    smallest : float
        Parameters stay at least this large: some stand in a denominator.
    """

    make: Callable[[Tensor], Plant]
    features: Callable[[Tensor], tuple[Tensor, ...]]
    states: int
    true: tuple[float, ...]
    start: tuple[float, ...]
    weights: tuple[float, ...]
    linear: tuple[float, ...]
    believed: Callable[[Any], dict[str, tuple[float, str]]]
    squared: str
    smallest: float = 0.05

    def cost(self) -> Cost:
        """The expert's cost."""
        return Cost(*(torch.tensor(terms, dtype=torch.float64) for terms in (self.weights, self.linear)))
