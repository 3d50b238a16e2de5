"""A logistic regression as a layer of its training points, and attacks on the test loss through it.

Section 6.1 of cvxpylayers (arXiv 1910.12430): theta(X) = argmin 1/m sum_i [log(1 + exp(a'x_i + b)) - y_i (a'x_i + b)]
+ 0.1 ||a||_1 + 0.1 ||a||_2^2. The attacker may move every coordinate of every training point by `radius`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cvxpy as cp
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from experiments.programs.notebook import Build, leaf

CONES = "exponential cones"
DEFINITE = False

# The paper's weights of ||a||_1 and ||a||_2^2.
SPARSE, RIDGE = 0.1, 0.1
#: numbers of a gradient below this part of the largest have the sign of their rounding
ROUNDING = 1e-12

Fit = Callable[[Tensor], tuple[Tensor, ...]]


def make_fit(labels: Tensor, features: int, build: Build) -> Fit:
    """(a, b) as a layer of the training points, shape (points, features), whose labels are 0 or 1."""
    count = len(labels)
    a, b, points = cp.Variable(features), cp.Variable(), cp.Parameter((count, features))
    logits = points @ a + b
    likelihood = cp.sum(cp.multiply(labels.numpy(), logits) - cp.logistic(logits)) / count
    penalty = SPARSE * cp.norm(a, 1) + RIDGE * cp.sum_squares(a)
    return build(cp.Problem(cp.Maximize(likelihood - penalty)), [points], [a, b])


@dataclass
class Task:
    """Training points whose fit is attacked, and the test whose loss the attacker wants to raise.

    Attributes
    ----------
    train, test : Tensor, shape (points, features)
    test_labels : Tensor, shape (points,)
        0 or 1.
    fit : callable
        Training points, with or without batch axis, to (a, b).
    """

    train: Tensor
    test: Tensor
    test_labels: Tensor
    fit: Fit

    def logits(self, train: Tensor) -> Tensor:
        """a'x + b for the test points after a fit to `train`."""
        a, b = self.fit(train)
        return a @ self.test.mT + b.unsqueeze(-1)

    def loss(self, train: Tensor) -> Tensor:
        """Mean logistic loss on the test after a fit to `train`."""
        logits = self.logits(train)
        labels = self.test_labels.expand(logits.shape)
        return binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(-1)

    def accuracy(self, train: Tensor) -> float:
        """Share of the test on its right side after a fit to `train`."""
        with torch.no_grad():
            right = (self.logits(train) > 0) == (self.test_labels > 0.5)
        return right.double().mean().item()

    def gradient(self, train: Tensor) -> Tensor:
        """Gradient of the test loss with respect to the training points, at `train`."""
        points = leaf(train)
        (gradient,) = torch.autograd.grad(self.loss(points), points)
        return gradient


def clear_signs(gradient: Tensor) -> Tensor:
    """1, −1, and 0 where a number is the rounding of the others: a patient on whom the fit does not depend stays."""
    return torch.where(gradient.abs() > ROUNDING * gradient.abs().max(), gradient.sign(), 0.0)


def one_step(task: Task, radius: float, gradient: Tensor) -> tuple[Tensor, float]:
    """The paper's attack along the sign of `gradient`, and the increase that the gradient predicts for it."""
    return task.train + radius * clear_signs(gradient), radius * gradient.abs().sum().item()


def iterated(task: Task, start: Tensor, radius: float, steps: int) -> Tensor:
    """Steps of 2.5 radius / steps along the sign of the gradient, each put back into the box; the best point met.

    Projected gradient as Madry et al. (arXiv 1706.06083, section 2.1) use it against networks. From the point of the
    single step it can only do better.
    """
    points = start
    best, most = points, -torch.inf
    for step in range(steps + 1):
        moving = leaf(points)
        loss = task.loss(moving)
        if loss.item() > most:
            best, most = points, loss.item()
        if step < steps:
            (gradient,) = torch.autograd.grad(loss, moving)
            offset = points + 2.5 * radius / steps * clear_signs(gradient) - task.train
            points = task.train + offset.clamp(-radius, radius)
    return best


def random_signs(task: Task, radius: float, repeats: int, generator: torch.Generator) -> Tensor:
    """Training points with every coordinate moved by +-radius at random, `repeats` times: what no attacker does."""
    signs = torch.randint(2, (repeats, *task.train.shape), generator=generator) * 2 - 1
    return task.train + radius * signs
