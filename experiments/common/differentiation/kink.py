"""The gradient field around a kink: the projection on a half-plane, in two variables.

minimise 1/2 ||z - x||^2 subject to z_1 + z_2 <= 0, loss w'z. The constraint passes through the optimum exactly where
x_1 + x_2 = 0: on one side the gradient in x is w, on the other its part along the line, and on the line the limits from
both sides are the ends of Clarke's derivative. The points are multiples of 1/8, so those on the line are on it exactly.
"""

import numpy as np
import torch

from experiments.common.differentiation.methods import Method, derivative, reason
from experiments.common.recorder import Recorder
from layers import LayerError

HALF = 4
SPACING = 0.25
W = (1.0, 0.25)


def points() -> np.ndarray:
    """A grid of x turned by 45 degrees, shape (rows, columns, 2); row i lies i - HALF spacings across the line."""
    across, along = np.array([1.0, 1.0]), np.array([1.0, -1.0])
    i = np.arange(-HALF, HALF + 1)
    grid = SPACING * (i[:, None, None] * across + i[None, :, None] * along)
    return grid


def record_points(record: Recorder) -> None:
    """Record where the arrows stand."""
    for axis in range(2):
        record.matrix(f"x_{axis + 1}", points()[..., axis])


def record_field(method: Method, record: Recorder) -> None:
    """Record the gradient in x at every point; an entry that is no number where the method refuses."""
    x = points().reshape(-1, 2)
    try:
        found = _gradient(method, x)
    except LayerError:
        found = np.concatenate([_alone(method, point, record) for point in x[:, None]])
    for axis in range(2):
        record.matrix(f"gradient_{axis + 1}", found.reshape(points().shape)[..., axis])


def _alone(method: Method, point: np.ndarray, record: Recorder) -> np.ndarray:
    try:
        return _gradient(method, point)
    except LayerError as error:
        if record.examples:
            record.refusal("kink", 0, reason(error))
        return np.full((1, 2), np.nan)


def _gradient(method: Method, rows: np.ndarray) -> np.ndarray:
    """The gradients at points, shape (points, 2)."""
    x = torch.from_numpy(rows).requires_grad_()
    eye, row = torch.eye(2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    none, zero = torch.zeros(0, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    z = method.solve(eye, -x, row, zero, none.reshape(0, 2), none)
    (gradient,) = derivative((z @ torch.tensor(W, dtype=torch.float64)).sum(), [x])
    return gradient.numpy()
