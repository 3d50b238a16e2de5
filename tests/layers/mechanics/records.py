"""Cells of the matrix: what records a program instead of running it, and tensors that hold no numbers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_map_only

from tests.layers.mechanics.programs import THETA, Example, close, right

Make = Callable[[], Example]


class Wrapped(torch.Tensor):
    """A tensor whose numbers are those of another one, as of a DTensor."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Wrapped":
        own = torch.Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype, device=held.device)
        own.held = held
        return own

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map_only(Wrapped, lambda t: t.held, (args, kwargs or {}))
        return tree_map_only(Tensor, Wrapped, func(*args, **kwargs))


class Tracer(torch.fx.Tracer):
    """Looks into no layer."""

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Example)


def recorded(make: Make) -> None:
    """``make_fx``."""
    example = make()
    graph = make_fx(example)(THETA)
    close(graph(1.1 * THETA), example.exact(1.1 * THETA))


def linearized(make: Make) -> None:
    """``torch.func.linearize``."""
    example = make()
    _, moved = torch.func.linearize(example, THETA)
    close(moved(THETA), torch.func.jvp(example.exact, (THETA,), (THETA,))[1])


def as_leaf(make: Make) -> None:
    """``torch.fx``, with the layer as a leaf of the graph."""
    model = torch.nn.Sequential(make())
    graph = torch.fx.GraphModule(model, Tracer().trace(model))
    right(graph, make().exact)
    right(graph, make().exact, 1.1 * THETA[:2])


def fake(make: Make) -> None:
    """Tensors inside of ``FakeTensorMode``, which have shapes and no numbers."""
    example = make()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        example(mode.from_tensor(THETA))


def of_another_kind(make: Make) -> None:
    """Subclasses of tensors that wrap others, as a ``DTensor``."""
    make()(Wrapped(THETA))


def cotangents(make: Make) -> None:
    """The same as a cotangent."""
    example, theta = make(), THETA.clone().requires_grad_()
    example(theta).backward(Wrapped(THETA))


def vmap_of_compiled(make: Make) -> None:
    """``torch.func.vmap`` of what ``torch.compile`` has made."""
    example = make()
    torch.compiler.reset()
    close(torch.func.vmap(torch.compile(example, backend="aot_eager"))(THETA), example.exact(THETA))


RECORDS: dict[str, Callable[[Make], None]] = {
    "make_fx": recorded,
    "func.linearize": linearized,
    "fx with a leaf": as_leaf,
    "fake tensors": fake,
    "wrapped tensors": of_another_kind,
    "wrapped cotangents": cotangents,
    "vmap of compile": vmap_of_compiled,
}
