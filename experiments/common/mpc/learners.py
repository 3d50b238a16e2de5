"""What imitates the expert on a plant: its controller with parameters to learn, and a recurrent network."""

import torch
from torch import Tensor, nn

from experiments.common.mpc.plant import Cost, Kind, Plant
from experiments.common.mpc.sequential import Controller


class Imitator(nn.Module):
    """A controller that knows the cost or the plant, or neither.

    Parameters
    ----------
    controller : Controller
    kind : Kind
    start : Tensor
        Parameters of the plant to start from, or those of the expert.
    dynamics, cost : bool
        What is to be learned. The cost starts at weights 1/2 and linear terms 0; it is (w, √w p) with w the logistic
        function of `logits`.
    """

    def __init__(self, controller: Controller, kind: Kind, start: Tensor, dynamics: bool, cost: bool):
        super().__init__()
        self.controller, self.kind, self.learns_cost = controller, kind, cost
        zero = torch.zeros(len(kind.weights), dtype=torch.float64)
        self.parameters_of_plant = nn.Parameter(start.clone(), requires_grad=dynamics)
        self.logits = nn.Parameter(zero.clone(), requires_grad=cost)
        self.p = nn.Parameter(zero.clone(), requires_grad=cost)

    def plant(self) -> Plant:
        """The plant as it is believed to be."""
        return self.kind.make(self.parameters_of_plant)

    def cost(self) -> Cost:
        """The cost as it is believed to be."""
        if not self.learns_cost:
            return self.kind.cost()
        weights = self.logits.sigmoid()
        return Cost(weights, weights.sqrt() * self.p)

    def plan(self, start: Tensor, warm: Tensor) -> tuple[Tensor, Tensor]:
        """Controls from warm ones, and which have converged; constants."""
        with torch.no_grad():
            return self.controller.solve(self.plant(), self.cost(), start, warm)

    def attach(self, start: Tensor, controls: Tensor, use: Tensor) -> Tensor:
        """The same controls, differentiable in what is learned."""
        return self.controller.attach(self.plant(), self.cost(), start, controls, use)

    def one_step_error(self, start: Tensor, expert: Tensor) -> float:
        """Relative error of the gradient of the imitation loss if the linearised program is differentiated instead."""
        controls, use = self.plan(start, torch.zeros_like(expert))
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        gradients: list[Tensor] = []
        for exact in (True, False):
            plan = self.controller.attach(self.plant(), self.cost(), start, controls, use, exact)
            loss = (plan - expert).square().mean()
            gradients.append(torch.cat(list(torch.autograd.grad(loss, learned))))
        return ((gradients[1] - gradients[0]).norm() / gradients[0].norm()).item()

    def prediction_loss(self, states: Tensor, controls: Tensor) -> Tensor:
        """Mean squared error of the features predicted one step ahead; states (batch, T, S)."""
        after = torch.stack(self.plant().step(*states[:, :-1].unbind(-1), controls[:, :-1]), -1)
        pairs = zip(self.kind.features(after), self.kind.features(states[:, 1:]), strict=True)
        return torch.stack([found - wanted for found, wanted in pairs]).square().mean()

    def project(self) -> None:
        """Put the parameters of the plant back into their set."""
        with torch.no_grad():
            self.parameters_of_plant.clamp_(min=self.kind.smallest)


class Recurrent(nn.Module):
    """The published LSTM: state → embedding → (cell → control → embedding) T times, all layers of `width` units.

    It computes in single precision.
    """

    def __init__(self, kind: Kind, width: int, horizon: int, generator: torch.Generator):
        super().__init__()
        self.kind, self.horizon = kind, horizon
        self.of_state = _network(len(kind.weights) - 1, width, width, generator)
        self.of_control = _network(1, width, width, generator)
        self.decode = _network(width, width, 1, generator)
        self.cell = nn.LSTMCell(width, width)
        _initialise(self.cell, width, generator)

    def forward(self, start: Tensor) -> Tensor:
        """Controls (batch, T) for states (batch, S), float64 both."""
        inputs = self.of_state(torch.stack(self.kind.features(start), -1).float())
        memory, controls = None, []
        for _ in range(self.horizon):
            memory = self.cell(inputs, memory)
            controls.append(self.decode(memory[1]))
            inputs = self.of_control(controls[-1])
        return torch.cat(controls, -1).double()


def _network(inputs: int, width: int, outputs: int, generator: torch.Generator) -> nn.Sequential:
    sizes = [(inputs, width), (width, width), (width, outputs)]
    layers = [nn.Linear(a, b) for a, b in sizes]
    for (a, _), layer in zip(sizes, layers, strict=True):
        _initialise(layer, a, generator)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


def _initialise(layer: nn.Module, inputs: int, generator: torch.Generator) -> None:
    """Torch's own initial values, uniform on ±1/√inputs, from our generator."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-(inputs**-0.5), inputs**-0.5, generator=generator)
