"""Seven ways to the layer, each as a module whose answer is known in closed form.

Every example maps θ, shape ``batch + (3,)``, to ``batch + (3,)`` and is smooth around :data:`THETA`; all but the first
three have curved cones.
"""

import cvxpy as cp
import torch
from torch import Tensor, nn

from layers import ConvexLayer, QPLayer, solve_qp

DOUBLE = torch.float64
THETA = torch.tensor(
    [[1.2, -1.7, 0.9], [-0.8, 1.5, 0.6], [0.9, 1.1, -1.3], [2.0, -1.2, 0.5]], dtype=DOUBLE, device="cpu"
)
#: the element that `broken` leaves without a solution
BROKEN = 1


class Example(nn.Module):
    """A layer, the tensors it is given for θ, and what has to come out."""

    curved = False
    solver = "auto"

    def __init__(self, on_failure: str = "raise") -> None:
        super().__init__()
        self.on_failure = on_failure
        self.layer = self.make(on_failure)

    def make(self, on_failure: str) -> nn.Module | None:
        """The layer itself."""
        raise NotImplementedError

    def data(self, theta: Tensor) -> tuple[Tensor, ...]:
        """Its arguments."""
        raise NotImplementedError

    def broken(self, theta: Tensor) -> tuple[Tensor, ...]:
        """The same for ``(B, 3)``, but that the element :data:`BROKEN` has no solution."""
        raise NotImplementedError

    def exact(self, theta: Tensor) -> Tensor:
        """The closed form."""
        raise NotImplementedError

    def call(self, *data: Tensor, **options: object) -> Tensor:
        """The answer for these arguments."""
        return self.chosen(self.layer(*data, **options)[0])

    def answer_of_solve(self, theta: Tensor) -> Tensor:
        """The same from ``solve``."""
        return self.chosen(self.layer.solve(*self.data(theta)).variables[0])

    def chosen(self, value: Tensor) -> Tensor:
        """Three entries of what the layer returns."""
        return value

    def forward(self, theta: Tensor) -> Tensor:
        """The answer for θ."""
        return self.call(*self.data(theta))


class OfQPLayer(Example):
    """Minimise ½(1 + |θ|²)|z|² − θᵀz over 0 ≤ z ≤ 10: z = max(θ, 0) / (1 + |θ|²)."""

    def make(self, on_failure: str) -> nn.Module | None:
        return QPLayer(self.solver, on_failure=on_failure)

    def call(self, *data: Tensor, **options: object) -> Tensor:
        return self.layer(*data)

    def answer_of_solve(self, theta: Tensor) -> Tensor:
        return self.layer.solve(*self.data(theta)).z

    def data(self, theta: Tensor) -> tuple[Tensor, ...]:
        eye = torch.eye(3, dtype=theta.dtype, device=theta.device)
        Q = (1 + theta.square().sum(-1))[..., None, None] * eye
        h = theta.new_tensor([0.0, 0.0, 0.0, 10.0, 10.0, 10.0])
        return Q, -theta, torch.cat([-eye, eye]), h

    def broken(self, theta: Tensor) -> tuple[Tensor, ...]:
        *data, h = self.data(theta)
        h = h.repeat(len(theta), 1)
        h[BROKEN, 3:] = -1.0
        return (*data, h)

    def exact(self, theta: Tensor) -> Tensor:
        return theta.clamp(min=0) / (1 + theta.square().sum(-1, keepdim=True))


class OfSolveQP(OfQPLayer):
    """The same through the function."""

    def make(self, on_failure: str) -> nn.Module | None:
        return None

    def call(self, *data: Tensor, **options: object) -> Tensor:
        return solve_qp(*data, solver=self.solver, on_failure=self.on_failure).z


class Linear(Example):
    """The smallest x with θᵀx ≥ 1: θ / |θ|²."""

    def make(self, on_failure: str) -> nn.Module | None:
        x, a = cp.Variable(3), cp.Parameter(3)
        problem = cp.Problem(cp.Minimize(cp.sum_squares(x)), [a @ x >= 1])
        return ConvexLayer(problem, [a], [x], solver=self.solver, on_failure=on_failure)

    def data(self, theta: Tensor) -> tuple[Tensor, ...]:
        return (theta,)

    def broken(self, theta: Tensor) -> tuple[Tensor, ...]:
        kept = torch.ones_like(theta)
        kept[BROKEN] = 0.0
        return (theta * kept,)

    def exact(self, theta: Tensor) -> Tensor:
        return theta / theta.square().sum(-1, keepdim=True)


class Ball(Example):
    """The projection of θ on the ball of radius 1: θ / |θ| outside of it."""

    curved = True

    def make(self, on_failure: str) -> nn.Module | None:
        x, y, r = cp.Variable(3), cp.Parameter(3), cp.Parameter()
        problem = cp.Problem(cp.Minimize(cp.sum_squares(x - y)), [cp.norm(x) <= r])
        return ConvexLayer(problem, [y, r], [x], solver=self.solver, on_failure=on_failure)

    def data(self, theta: Tensor) -> tuple[Tensor, ...]:
        return theta, theta.new_tensor(1.0)

    def broken(self, theta: Tensor) -> tuple[Tensor, ...]:
        radius = theta.new_ones(len(theta))
        radius[BROKEN] = -1.0
        return theta, radius

    def exact(self, theta: Tensor) -> Tensor:
        return theta / torch.linalg.vector_norm(theta, dim=-1, keepdim=True)


class Exponential(Example):
    """Minimise Σ exp(x) − pᵀx at p = 1 + θ²: x = log p."""

    curved = True

    def make(self, on_failure: str) -> nn.Module | None:
        x, p = cp.Variable(3), cp.Parameter(3)
        return ConvexLayer(
            cp.Problem(cp.Minimize(cp.sum(cp.exp(x)) - p @ x)),
            [p],
            [x],
            solver=self.solver,
            on_failure=on_failure,
        )

    def data(self, theta: Tensor) -> tuple[Tensor, ...]:
        return (1 + theta.square(),)

    def broken(self, theta: Tensor) -> tuple[Tensor, ...]:
        sign = torch.ones_like(theta)
        sign[BROKEN] = -1.0
        return (sign * (1 + theta.square()),)

    def exact(self, theta: Tensor) -> Tensor:
        return (1 + theta.square()).log()


class Semidefinite(Example):
    """The projection of [[a, b], [b, c]], indefinite, on the positive semidefinite matrices.

    With t = (a + c)/2, r = |((a − c)/2, b)| it is (t + r) · ½ (I + [[(a − c)/2, b], [b, (c − a)/2]] / r).
    """

    curved = True

    def make(self, on_failure: str) -> nn.Module | None:
        X, S, t = cp.Variable((2, 2), symmetric=True), cp.Parameter((2, 2), symmetric=True), cp.Parameter()
        problem = cp.Problem(cp.Minimize(cp.sum_squares(X - S)), [X >> 0, cp.trace(X) <= t])
        return ConvexLayer(problem, [S, t], [X], solver=self.solver, on_failure=on_failure)

    def chosen(self, value: Tensor) -> Tensor:
        return torch.stack([value[..., 0, 0], value[..., 0, 1], value[..., 1, 1]], -1)

    def data(self, theta: Tensor) -> tuple[Tensor, ...]:
        a, b, c = theta.unbind(-1)
        return torch.stack([a, b, b, c], -1).unflatten(-1, (2, 2)), theta.new_tensor(100.0)

    def broken(self, theta: Tensor) -> tuple[Tensor, ...]:
        S, most = self.data(theta)
        most = most.repeat(len(theta))
        most[BROKEN] = -1.0
        return S, most

    def exact(self, theta: Tensor) -> Tensor:
        a, b, c = theta.unbind(-1)
        t, d = 0.5 * (a + c), 0.5 * (a - c)
        r = (d.square() + b.square()).sqrt()
        return 0.5 * (t + r).unsqueeze(-1) * torch.stack([1 + d / r, b / r, 1 - d / r], -1)


class Geometric(Example):
    """Minimise Σ a/x + x over 0.01 ≤ x ≤ 10 at a = 1 + θ²: x = √a."""

    curved = True

    def make(self, on_failure: str) -> nn.Module | None:
        x, a, u = cp.Variable(3, pos=True), cp.Parameter(3, pos=True), cp.Parameter(pos=True)
        problem = cp.Problem(cp.Minimize(cp.sum(a / x + x)), [x <= u, 0.01 / x <= 1])
        return ConvexLayer(problem, [a, u], [x], gp=True, solver=self.solver, on_failure=on_failure)

    def data(self, theta: Tensor) -> tuple[Tensor, ...]:
        return 1 + theta.square(), theta.new_tensor(10.0)

    def broken(self, theta: Tensor) -> tuple[Tensor, ...]:
        a, most = self.data(theta)
        most = most.repeat(len(theta))
        most[BROKEN] = 0.001
        return a, most

    def exact(self, theta: Tensor) -> Tensor:
        return (1 + theta.square()).sqrt()


EXAMPLES: dict[str, type[Example]] = {
    "QPLayer": OfQPLayer,
    "solve_qp": OfSolveQP,
    "linear rows": Linear,
    "ball": Ball,
    "exponential": Exponential,
    "semidefinite": Semidefinite,
    "geometric": Geometric,
}
CURVED = tuple(name for name, example in EXAMPLES.items() if example.curved)


def weighted(values: Tensor) -> Tensor:
    """A scalar that no symmetry of the values can hide behind, and that is not linear in them."""
    weights = torch.linspace(0.5, 1.7, values.numel(), dtype=DOUBLE, device="cpu").reshape(values.shape)
    return (weights * (values + 0.1 * values.square())).sum()


def gradient(function: object, theta: Tensor) -> Tensor:
    """Of the weighted values of a function of θ."""
    theta = theta.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(weighted(function(theta)), theta)  # type: ignore[operator]
    return found


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-8) -> None:
    """Equal up to rounding, and not trivially so."""
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(
        found.detach().double(), expected.detach().double(), rtol=tolerance, atol=tolerance
    )


def right(function: object, exact: object, theta: Tensor = THETA, tolerance: float = 1e-8) -> None:
    """Value and gradient of a function of θ are those of the closed form."""
    close(function(theta), exact(theta), tolerance)  # type: ignore[operator]
    close(gradient(function, theta), gradient(exact, theta), tolerance)
