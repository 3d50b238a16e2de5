"""Cells of the matrix: modes of torch around a call or around the making of a layer, dtypes and devices."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from tests.layers.mechanics.programs import DOUBLE, THETA, Example, close, gradient, right

Make = Callable[[], Example]


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Another dtype for what names none."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def exact(example: Example) -> Tensor:
    """The closed form at THETA."""
    return example.exact(THETA)


def without_gradients(make: Make) -> None:
    """``torch.no_grad()``, then training."""
    example = make()
    with torch.no_grad():
        found = example(THETA.clone().requires_grad_())
    assert not found.requires_grad
    close(found, exact(example))
    right(example, example.exact)


def inference_first(make: Make) -> None:
    """``torch.inference_mode()`` in the first calls, by every name and for one element and several, then training."""
    example = make()
    with torch.inference_mode():
        close(example(THETA), exact(example))
        close(example(THETA[0]), exact(example)[0])
        if hasattr(example.layer, "solve"):
            example.layer.solve(*example.data(THETA))
    right(example, example.exact)
    right(example, example.exact, THETA[0])
    if hasattr(example.layer, "solve"):
        right(lambda theta: example.answer_of_solve(theta), example.exact)


def made_in_inference(make: Make) -> None:
    """Made under ``torch.inference_mode()``, then training."""
    with torch.inference_mode():
        example = make()
    right(example, example.exact)


def of_an_inference_tensor(make: Make) -> None:
    """A gradient for one argument beside tensors that were made in inference mode."""
    example = make()
    with torch.inference_mode():
        fixed = THETA.clone()
    close(example(fixed), exact(example))
    right(
        lambda theta: example(theta + fixed.clone()), lambda theta: example.exact(theta + THETA), 0.1 * THETA
    )


def another_default_dtype(make: Make) -> None:
    """``torch.set_default_dtype`` while it is made and while it is used."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        with default_dtype(dtype):
            example = make()
            right(example, example.exact)
        right(example, example.exact)


def another_default_device(make: Make) -> None:
    """``torch.set_default_device``, or ``with torch.device(…)``, while it is used for the first time, then nothing."""
    example = make()
    with torch.device("meta"):
        right(example, example.exact)
        if hasattr(example.layer, "solve"):
            right(example.answer_of_solve, example.exact)
    right(example, example.exact)


def made_on_meta(make: Make) -> None:
    """Made under ``torch.device("meta")``, as large models are."""
    with torch.device("meta"):
        example = make()
    right(example, example.exact)


def arguments_on_meta(make: Make) -> None:
    """Arguments on the meta device."""
    example = make()
    example.call(*(tensor.to("meta") for tensor in example.data(THETA)))


def single_precision(make: Make) -> None:
    """float32: the answer is that of the float32 data, rounded once."""
    example, theta = make(), THETA.float()
    assert example(theta).dtype == torch.float32
    close(example(theta), exact(example), 1e-6)
    found = gradient(example, theta)
    assert found.dtype == torch.float32
    close(found, gradient(example.exact, THETA), 1e-4)


def half_precision(make: Make) -> None:
    """float16 and bfloat16."""
    example = make()
    for dtype in (torch.float16, torch.bfloat16):
        data = example.data(THETA.to(dtype))
        found = example.call(*data)
        assert found.dtype == dtype
        close(found, example.call(*(t.double() for t in data)), torch.finfo(dtype).eps)


def mixed_precision(make: Make) -> None:
    """Arguments of several dtypes: the answer has the one that torch promotes them to, gradients their own."""
    example = make()
    for low, high in ((torch.float32, DOUBLE), (torch.bfloat16, torch.float32)):
        data = [t.to(high if i % 2 else low) for i, t in enumerate(example.data(THETA))]
        leaves = [t.detach().clone().requires_grad_() for t in data]
        found = example.call(*leaves)
        assert found.dtype == (high if len(data) > 1 else low)
        close(found, example.call(*(t.double() for t in data)), torch.finfo(found.dtype).eps)
        for leaf, own in zip(leaves, torch.autograd.grad(found.sum(), leaves), strict=True):
            assert own.dtype == leaf.dtype


def under_autocast(make: Make) -> None:
    """``torch.autocast``: what a matrix product makes of the input is bfloat16, other arguments are not."""
    example = make()
    eye = torch.eye(3, dtype=torch.float32, device="cpu")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = THETA.float() @ eye
        assert low.dtype == torch.bfloat16
        first, *rest = example.data(low)
        leaf = first.detach().clone().requires_grad_()
        data = [leaf, *(t.float() for t in rest)]
        found = example.call(*data)
        (own,) = torch.autograd.grad(found.sum(), leaf)
    close(found, example.call(*(t.double() for t in data)), torch.finfo(found.dtype).eps)
    assert own.dtype == torch.bfloat16
    assert own.any()


def negated(tensor: Tensor) -> Tensor:
    """The same values as a view of their negatives, with a bit that turns the sign."""
    view = torch.complex(torch.zeros_like(tensor), -tensor).conj().imag
    assert view.is_neg()
    return view


def views(make: Make) -> None:
    """Arguments and cotangents that are views: transposed, expanded, strided, a parameter, with a negative bit."""
    example, column, single = make(), THETA.t().contiguous().t(), THETA[:1].expand(4, 3)
    wide = torch.stack([THETA, 2 * THETA], -1)
    for theta in (column, wide[..., 0], torch.nn.Parameter(THETA)):
        close(example(theta), exact(example))
    close(example(single), exact(example)[:1].expand(4, 3))
    close(example.call(*map(negated, example.data(THETA))), exact(example))
    for bar in (THETA.new_ones(()).expand(4, 3), THETA.flip(0).t().contiguous().t(), negated(THETA.flip(0))):
        found, expected = (
            torch.autograd.grad(f(leaf), leaf, bar)[0]
            for f in (example, example.exact)
            for leaf in [THETA.clone().requires_grad_()]
        )
        close(found, expected)


def deterministic(make: Make) -> None:
    """``torch.use_deterministic_algorithms``."""
    example = make()
    torch.use_deterministic_algorithms(mode=True)
    try:
        right(example, example.exact)
    finally:
        torch.use_deterministic_algorithms(mode=False)


def sparse_arguments(make: Make) -> None:
    """Sparse tensors in the place of matrices."""
    example = make()

    def call(theta: Tensor) -> Tensor:
        first, *rest = example.data(theta)
        return example.call(first.to_sparse(), *rest)

    right(call, example.exact)


MODES: dict[str, Callable[[Make], None]] = {
    "no_grad": without_gradients,
    "inference_mode, then training": inference_first,
    "made in inference_mode": made_in_inference,
    "inference tensors": of_an_inference_tensor,
    "default dtype": another_default_dtype,
    "default device": another_default_device,
    'made under device("meta")': made_on_meta,
    "meta tensors": arguments_on_meta,
    "float32": single_precision,
    "float16, bfloat16": half_precision,
    "mixed dtypes": mixed_precision,
    "autocast": under_autocast,
    "views": views,
    "deterministic algorithms": deterministic,
    "sparse tensors": sparse_arguments,
}
