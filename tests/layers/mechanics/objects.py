"""Cells of the matrix: copies, files, graphs, warm starts, failures, threads."""

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from layers import ProblemError, SolverError, solve_qp
from tests.layers.mechanics.programs import (
    BROKEN,
    THETA,
    Example,
    OfQPLayer,
    close,
    gradient,
    right,
    weighted,
)

Make = Callable[[], Example]


def used(make: Make) -> Example:
    """An example that has been trained, and warm-started with a gradient."""
    example = make()
    right(example, example.exact)
    if not isinstance(example, OfQPLayer):
        example.call(*example.data(THETA.clone().requires_grad_()), warm_start=True)
    return example


def deepcopy(make: Make) -> None:
    """``copy.deepcopy`` of a layer that was used, and warm-started with a gradient."""
    example = used(make)
    right(copy.deepcopy(example), example.exact)


def pickled(make: Make) -> None:
    """``pickle``, and ``torch.save`` of the module."""
    example, file = used(make), io.BytesIO()
    right(pickle.loads(pickle.dumps(example)), example.exact)
    torch.save(example, file)
    file.seek(0)
    right(torch.load(file, weights_only=False), example.exact)


def state_dict(make: Make) -> None:
    """A layer has no state: that of a model is the state of the rest, and goes from one to another."""
    example, model, other = make(), nn.Linear(3, 3).double(), nn.Linear(3, 3).double()
    one, two = nn.Sequential(model, used(make)), nn.Sequential(other, make())
    assert not example.state_dict()
    assert not list(example.parameters())
    missing = two.load_state_dict(one.state_dict(), strict=True)
    assert not missing.missing_keys
    assert not missing.unexpected_keys
    close(two(THETA), one(THETA))


def moved(make: Make) -> None:
    """``.to(…)``, ``.half()``, ``.eval()``, ``.requires_grad_()`` and ``.apply(…)`` of a model change nothing in it."""
    example = used(make)
    right(example.to(torch.float32).half().to("cpu").eval().requires_grad_().share_memory(), example.exact)


def traced(make: Make) -> None:
    """``torch.jit.trace``."""
    example = make()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = torch.jit.trace(example, (THETA,), check_trace=False)
    close(graph(1.1 * THETA), example.exact(1.1 * THETA))


class Model(nn.Module):
    """A layer between weights."""

    def __init__(self, example: Example) -> None:
        super().__init__()
        self.example = example

    def forward(self, theta: Tensor) -> Tensor:
        return 2.0 * self.example(1.5 * theta)


def exported(make: Make) -> None:
    """``torch.export`` with a batch of any size, then the program, the same from its file, and the layer itself."""
    example, file = make(), io.BytesIO()
    program = torch.export.export(
        Model(example), (THETA,), dynamic_shapes={"theta": {0: torch.export.Dim.DYNAMIC}}
    )
    torch.export.save(program, file)
    file.seek(0)
    for exported_program in (program, torch.export.load(file)):
        for theta in (1.1 * THETA, THETA[:2], THETA.repeat(3, 1)):
            close(exported_program.module()(theta), 2 * example.exact(1.5 * theta))
    right(example, example.exact)


def compiled(make: Make) -> None:
    """``torch.compile``."""
    example = make()
    torch.compiler.reset()
    model = torch.compile(Model(example), backend="aot_eager")
    right(model, lambda theta: 2 * example.exact(1.5 * theta))
    right(model, lambda theta: 2 * example.exact(1.5 * theta), THETA[:3])
    right(example, example.exact)


def compiled_whole(make: Make) -> None:
    """``torch.compile(…, fullgraph=True)``."""
    example = make()
    torch.compiler.reset()
    model = torch.compile(Model(example), backend="aot_eager", fullgraph=True)
    right(model, lambda theta: 2 * example.exact(1.5 * theta))


def warm_start(make: Make) -> None:
    """``warm_start`` with batches of every size, empty and without an axis, and inside of transforms."""
    example = make()
    if isinstance(example, OfQPLayer):
        solution = solve_qp(*example.data(THETA))
        right(lambda t: solve_qp(*example.data(t), warm_start=solution).z, example.exact)
        with pytest.raises(ProblemError, match="same sizes"):
            solve_qp(*example.data(THETA[:2]), warm_start=solution)
        with torch.inference_mode():
            solution = solve_qp(*example.data(THETA))
        right(lambda t: solve_qp(*example.data(t), warm_start=solution).z, example.exact)
        return

    def warm(theta: Tensor) -> Tensor:
        return example.call(*example.data(theta), warm_start=True)

    for theta in (THETA, 1.01 * THETA, THETA[:1], THETA[:0], THETA[:3], THETA[0], THETA[None], THETA):
        found = warm(theta)
        torch.testing.assert_close(found, example.exact(theta), rtol=1e-8, atol=1e-8)
    close(torch.func.vmap(warm)(THETA), example.exact(THETA))
    close(torch.func.jacrev(warm)(THETA[0]), torch.func.jacrev(example.exact)(THETA[0]))
    with torch.inference_mode():
        warm(THETA)
    right(warm, example.exact)


def one_failure(make: Make) -> None:
    """One element without a solution: named in the error, NaN by policy, and nothing to the gradients of the others."""
    example = make()
    with pytest.raises(SolverError, match=rf"element \({BROKEN},\)"):
        example.call(*example.broken(THETA))
    lenient = type(example)("nan")
    rest = [i for i in range(len(THETA)) if i != BROKEN]
    theta = THETA.clone().requires_grad_()
    found = lenient.call(*lenient.broken(theta))
    assert torch.isnan(found[BROKEN]).all()
    close(found[rest], example.exact(THETA)[rest])
    (own,) = torch.autograd.grad(weighted(found[rest]), theta)
    close(own[rest], gradient(lambda t: example.exact(t)[rest], THETA)[rest])
    assert not own[BROKEN].any()


def threads(make: Make) -> None:
    """Eight threads that share a layer, each with gradients of its own."""
    example = make()

    def work(k: int) -> None:
        for _ in range(3):
            right(example, example.exact, (1 + 0.01 * k) * THETA[: 1 + k % 4])

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, k) for k in range(16)]:
            done.result()


OBJECTS: dict[str, Callable[[Make], None]] = {
    "deepcopy": deepcopy,
    "pickle, torch.save": pickled,
    "state_dict": state_dict,
    ".to, .half, .eval, .share_memory": moved,
    "jit.trace": traced,
    "export": exported,
    "compile": compiled,
    "compile(fullgraph=True)": compiled_whole,
    "warm start, every batch size": warm_start,
    "one failing element": one_failure,
    "eight threads": threads,
}
