"""What torch is not to look into stays closed to the compiler, and the compiler is not loaded for it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from layers import ProblemError
from layers.modes.opaque import OPAQUE, opaque
from tests.layers.mechanics.programs import EXAMPLES, THETA


def _inner(x: Tensor) -> Tensor:
    return x.sin()


def _solver(x: Tensor) -> Tensor:
    return _inner(x).cos()


def test_the_compiler_breaks_its_graph_at_an_opaque_function_and_looks_into_no_frame_below() -> None:
    closed, met = opaque(_solver), []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]):
        met.extend(str(node.target) for node in graph.graph.nodes if node.op != "placeholder")
        return graph.forward

    def outer(x: Tensor) -> Tensor:
        return closed(2 * x) + 1

    x = torch.linspace(0, 1, 3)
    torch._dynamo.reset()
    compiled = torch.compile(outer, backend=backend)
    assert torch.equal(compiled(x), (2 * x).sin().cos() + 1)
    assert any("mul" in name for name in met)
    assert any("add" in name for name in met)
    assert not any("sin" in name or "cos" in name for name in met)
    # Called beside what was compiled, and compiled itself, it is the function that it was.
    assert torch.equal(closed(x), x.sin().cos())


def test_nor_where_a_transform_is_around_what_was_compiled() -> None:
    """There the compiler leaves the door alone, and comes by itself to the frames behind it, which it cannot trace."""
    ball = EXAMPLES["ball"]()
    torch._dynamo.reset()
    one = torch.ones(()).double()
    compiled = torch.compile(lambda y: ball.layer(y, one)[0].sum(), backend="aot_eager")
    slope = torch.func.grad(compiled)
    assert torch.allclose(slope(THETA), torch.func.grad(lambda y: ball.exact(y).sum())(THETA), atol=1e-9)


@pytest.mark.parametrize("layer", ["QPLayer", "ball"])
def test_a_symbolic_trace_is_told_of_leaves(layer: str) -> None:
    example = EXAMPLES[layer]()

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = example.layer

        def forward(self, theta: Tensor) -> Tensor:
            return self.layer(*[theta] * len(example.data(THETA)))[0]

    with pytest.raises(ProblemError, match="make the layer a leaf in the is_leaf_module"):
        torch.fx.symbolic_trace(Model())


def test_a_whole_graph_is_refused_with_the_reason() -> None:
    closed = opaque(_solver)
    compiled = torch.compile(lambda x: closed(x), fullgraph=True, backend="eager")
    with pytest.raises(Exception, match=OPAQUE):
        compiled(torch.zeros(2))


def test_importing_the_library_loads_no_compiler() -> None:
    code = "import sys, layers; sys.exit('torch._dynamo' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
