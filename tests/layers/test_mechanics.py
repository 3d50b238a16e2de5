"""The layer is a good citizen of PyTorch: every cell of the matrix is right, or refused with the way out."""

import ast
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from layers import LayerError
from tests.layers.mechanics import table
from tests.layers.mechanics.programs import EXAMPLES

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _engine() -> None:
    """In place of the matrix of both engines: plain calls take the one, transforms the other."""


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    """What is made once has not been made yet, whatever test came before."""
    for name, module in list(sys.modules.items()):
        if name.startswith("layers."):
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


def cells() -> list:
    """One parameter for each cell, with its marks."""
    found = []
    for mechanic in table.CELLS:
        for example in EXAMPLES:
            marks = [pytest.mark.slow] if mechanic in table.SLOW else []
            found.append(pytest.param(mechanic, example, marks=marks, id=f"{mechanic}-{example}"))
    return found


@pytest.mark.parametrize(("mechanic", "example"), cells())
def test_every_cell_is_right_or_refused_with_the_way_out(mechanic: str, example: str) -> None:
    cell, make, refusal = table.CELLS[mechanic], EXAMPLES[example], table.refusal(mechanic, example)
    if refusal is None:
        cell(make)
        return
    with pytest.raises(refusal.error, match=refusal.way_out):
        cell(make)


def test_refusals_are_errors_of_the_layer_and_name_cells_that_exist() -> None:
    for name in (*table.REFUSED, *table.SLOW):
        assert name in table.CELLS
    others = [r for r in table.REFUSED.values() if not issubclass(r.error, LayerError)]
    assert others == [table.FULL_GRAPH]


def test_the_page_says_what_the_matrix_says() -> None:
    assert (ROOT / "docs" / "pytorch.md").read_text("utf-8") == table.page(), "run python tools/mechanics.py"


#: functions of torch that make a tensor on the default device unless they are told another
MAKERS = (
    "arange", "as_tensor", "asarray", "empty", "eye", "full", "linspace", "logspace", "ones", "rand", "randint",
    "randn", "randperm", "tensor", "tril_indices", "triu_indices", "zeros",
)  # fmt: skip


def makers_without_device(source: str) -> list[str]:
    """Calls of these that leave the device to the default."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "torch"
        and node.func.attr in MAKERS
        and not any(keyword.arg == "device" for keyword in node.keywords)
    ]


def once(module: ModuleType, functions: tuple[Callable, ...]) -> set[str]:
    """The sources of functions that run under `lasting`, where the default device is the CPU."""
    return {call for f in functions for call in makers_without_device(inspect.getsource(f))}


def test_every_tensor_that_the_library_makes_names_its_device() -> None:
    assert makers_without_device("torch.zeros(3)")
    from layers.cone import projections
    from layers.cone.projections import frames

    allowed = once(projections, (projections.groups, projections._places)) | once(frames, (frames._triangle,))
    for path in sorted((ROOT / "layers").rglob("*.py")):
        left = set(makers_without_device(path.read_text("utf-8"))) - allowed
        assert not left, f"{path.relative_to(ROOT)}: {left}"


def test_what_is_made_once_is_a_plain_tensor_on_the_host() -> None:
    from layers.modes.kept import lasting

    def made() -> torch.Tensor:
        with lasting():
            return torch.arange(3.0)

    with torch.inference_mode(), torch.device("meta"):
        kept = made()
    assert not kept.is_inference()
    assert kept.device.type == "cpu"
    seen: list[torch.Tensor] = []

    def look(x: torch.Tensor) -> torch.Tensor:
        seen.append(made())
        return x

    torch.func.vmap(torch.func.grad(look))(torch.ones(2))
    with torch._subclasses.FakeTensorMode():
        seen.append(made())
    assert [type(t) for t in seen] == [torch.Tensor] * 2
    for tensor in seen:
        assert not torch._C._functorch.is_gradtrackingtensor(tensor)
        assert not torch._C._functorch.is_batchedtensor(tensor)
        assert tensor.sum() == 3
