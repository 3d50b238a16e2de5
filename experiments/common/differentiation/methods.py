"""What is compared: every adjoint of the layer, with its settings, or the derivative of a third-party layer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.common.config import LayerConfig
from experiments.common.differentiation.instances import NAMES, Array, Instance
from layers import LayerError, adjoint, adjoints, third_party

#: values at which each setting of an adjoint is tried; `tol` where it differentiates an iteration, which stops there
VALUES: dict[str, tuple[float, ...]] = {
    "tol": (1e-1, 1e-2, 1e-4, 1e-6, 1e-8, 1e-10),
    "k": (1, 3, 10, 30, 100, 300, 1000),
    "kappa": (1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8),
    "tau": (1e1, 1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-6),
    "beta": (1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-6),
    "rho": (1e1, 1e0, 1e-1),
}
#: letters of a reason
LENGTH = 240
NAMED = tuple(name for name in adjoints() if name != "auto")


@dataclass(frozen=True)
class Method:
    """A derivative under its label in the tables: a layer, whose accuracy and settings may be changed."""

    label: str
    config: LayerConfig

    def solve(self, *data: Tensor) -> Tensor:
        """z* of the program (Q, q, G, h, A, b)."""
        return self.config.build()(*data)

    def iterations(self, *data: Tensor) -> int:
        """The largest number of iterations that an element of the batch takes."""
        Q, q, G, h, A, b = data
        return int(self.config.build().solve(Q, q, G, h, A, b).iterations.max())

    def at(self, tol: float) -> "Method":
        """The same with another accuracy of the solve."""
        return replace(self, config=replace(self.config, tol=tol))

    def with_options(self, options: dict[str, Any]) -> "Method":
        """The same with other settings of the adjoint."""
        return replace(self, config=replace(self.config, adjoint={"name": self.name, **options}))

    @property
    def name(self) -> str:
        """The name of its adjoint."""
        return self.config.adjoint["name"]

    @property
    def iterates(self) -> bool:
        """Whether an iteration is differentiated, so that what was not found forward is not known backward."""
        return adjoint(self.name).iteration is not None

    def variants(self) -> dict[tuple[str, float], "Method"]:
        """The same at other values of each setting of :data:`VALUES` that it has, by (setting, value).

        For an adjoint that iterates k is a limit, which only ends in a refusal: there the accuracy is what is changed.
        """
        has = set(adjoint(self.name).settings)
        has = (has - {"k"}) | {"tol"} if self.iterates else has
        found: dict[tuple[str, float], Method] = {}
        for setting, values in VALUES.items():
            for value in values if setting in has else ():
                changed = self.at(value) if setting == "tol" else self.with_options({setting: value})
                found[setting, value] = changed
        return found


def methods(names: list[str], layer: LayerConfig) -> list[Method]:
    """Those of `names` that are adjoints; a third-party solver has the one derivative that it brings."""
    if layer.solver in third_party():
        return [Method(layer.solver, layer)]
    return [
        Method(f"adjoint={name}", replace(layer, adjoint={"name": name})) for name in names if name in NAMED
    ]


def gradients(method: Method, instance: Instance) -> tuple[dict[str, Array], float]:
    """The derivative of w'z in each argument of `instance`, and the relative error of the z that was differentiated.

    Raises
    ------
    LayerError
        If the method refuses the instance, or returns what is not finite.
    """
    data = [torch.from_numpy(value).requires_grad_() for value in instance.data.values()]
    z = method.solve(*data)
    found = derivative(z @ torch.from_numpy(instance.w), data)
    error = np.linalg.norm(z.detach().numpy() - instance.z) / np.linalg.norm(instance.z)
    return {name: gradient.numpy() for name, gradient in zip(NAMES, found, strict=True)}, float(error)


def derivative(loss: Tensor, data: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The gradients of `loss`, all finite; raises a LayerError if one is not."""
    found = torch.autograd.grad(loss, data, materialize_grads=True)
    if not all(gradient.isfinite().all() for gradient in found):
        raise LayerError("the gradient is not finite")
    return found


def reason(error: LayerError) -> str:
    """A refusal in one line, as far as a table holds it."""
    return " ".join(str(error).split())[:LENGTH]
