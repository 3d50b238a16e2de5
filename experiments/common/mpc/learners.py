"""What imitates the expert on the pendulum: its controller with parameters to learn, and a recurrent network."""

import torch
from torch import Tensor, nn

from experiments.common.mpc.pendulum import Cost, Pendulum
from experiments.common.mpc.sequential import Controller

WEIGHTS = (1.0, 1.0, 0.1, 0.001)
LINEAR = (-1.0, 0.0, 0.0, 0.0)
# Parameters of a pendulum stay at least this large: m l^2 stands in a denominator.
SMALLEST = 0.05


def true_cost() -> Cost:
    """The expert's cost: weights 1, 1, 0.1 on the distance of (cos θ, sin θ, ω) from (1, 0, 0), 0.001 on the torque."""
    return Cost(torch.tensor(WEIGHTS, dtype=torch.float64), torch.tensor(LINEAR, dtype=torch.float64))


class Imitator(nn.Module):
    """A controller that knows the cost or the pendulum, or neither.

    Parameters
    ----------
    controller : Controller
    start : Tensor, shape (3,)
        Parameters (g, m, l) of the pendulum to start from, or those of the expert.
    dynamics, cost : bool
        What is to be learned. The cost starts at weights 1/2 and linear terms 0; it is (w, √w p) with w the logistic
        function of `logits`.
    """

    def __init__(self, controller: Controller, start: Tensor, dynamics: bool, cost: bool):
        super().__init__()
        self.controller, self.learns_cost = controller, cost
        self.parameters_of_pendulum = nn.Parameter(start.clone(), requires_grad=dynamics)
        self.logits = nn.Parameter(torch.zeros(4, dtype=torch.float64), requires_grad=cost)
        self.p = nn.Parameter(torch.zeros(4, dtype=torch.float64), requires_grad=cost)

    def pendulum(self) -> Pendulum:
        """The pendulum as it is believed to be."""
        return Pendulum(self.parameters_of_pendulum)

    def cost(self) -> Cost:
        """The cost as it is believed to be."""
        if not self.learns_cost:
            return true_cost()
        weights = self.logits.sigmoid()
        return Cost(weights, weights.sqrt() * self.p)

    def plan(self, start: Tensor, warm: Tensor) -> tuple[Tensor, Tensor]:
        """Torques from warm ones, and which have converged; constants."""
        with torch.no_grad():
            return self.controller.solve(self.pendulum(), self.cost(), start, warm)

    def attach(self, start: Tensor, torques: Tensor, use: Tensor) -> Tensor:
        """The same torques, differentiable in what is learned."""
        return self.controller.attach(self.pendulum(), self.cost(), start, torques, use)

    def one_step_error(self, start: Tensor, expert: Tensor) -> float:
        """Relative error of the gradient of the imitation loss if the linearised program is differentiated instead."""
        torques, use = self.plan(start, torch.zeros_like(expert))
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        gradients: list[Tensor] = []
        for exact in (True, False):
            plan = self.controller.attach(self.pendulum(), self.cost(), start, torques, use, exact)
            loss = (plan - expert).square().mean()
            gradients.append(torch.cat(list(torch.autograd.grad(loss, learned))))
        return ((gradients[1] - gradients[0]).norm() / gradients[0].norm()).item()

    def prediction_loss(self, states: Tensor, torques: Tensor) -> Tensor:
        """Mean squared error of (cos θ, sin θ, ω) predicted one step ahead; states (batch, T, 2)."""
        angle, speed = self.pendulum().step(states[:, :-1, 0], states[:, :-1, 1], torques[:, :-1])
        after = states[:, 1:]
        errors = (
            angle.cos() - after[..., 0].cos(),
            angle.sin() - after[..., 0].sin(),
            speed - after[..., 1],
        )
        return torch.stack(errors).square().mean()

    def project(self) -> None:
        """Put the parameters of the pendulum back into their set."""
        with torch.no_grad():
            self.parameters_of_pendulum.clamp_(min=SMALLEST)


class Recurrent(nn.Module):
    """The published LSTM: state → embedding → (cell → torque → embedding) T times, all layers of `width` units.

    It computes in single precision.
    """

    def __init__(self, width: int, horizon: int, generator: torch.Generator):
        super().__init__()
        self.horizon = horizon
        self.of_state = _network(3, width, width, generator)
        self.of_torque = _network(1, width, width, generator)
        self.decode = _network(width, width, 1, generator)
        self.cell = nn.LSTMCell(width, width)
        _initialise(self.cell, width, generator)

    def forward(self, start: Tensor) -> Tensor:
        """Torques (batch, T) for angles and speeds (batch, 2), float64 both."""
        inputs = self.of_state(torch.stack((start[:, 0].cos(), start[:, 0].sin(), start[:, 1]), -1).float())
        memory, torques = None, []
        for _ in range(self.horizon):
            memory = self.cell(inputs, memory)
            torques.append(self.decode(memory[1]))
            inputs = self.of_torque(torques[-1])
        return torch.cat(torques, -1).double()


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
