"""Cells of the matrix: transforms of torch, derivatives of derivatives, and what autograd has around them."""

import contextlib
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd import functional as F
from torch.utils.checkpoint import checkpoint

from tests.layers.mechanics.programs import THETA, Example, close, gradient, right, weighted

Make = Callable[[], Example]
Function = Callable[[Tensor], Tensor]
DIRECTION = torch.tensor([0.3, -0.5, 0.8], dtype=THETA.dtype, device="cpu")


def same(make: Make, transform: Callable[[Function], Tensor], tolerance: float = 1e-7) -> None:
    """A transform of the layer is that of the closed form."""
    example = make()
    close(transform(example), transform(example.exact), tolerance)


def vmap(make: Make) -> None:
    """``torch.func.vmap``: over the batch, over both axes of a table, over gradients, and over one shared argument."""
    table = torch.stack([THETA, 1.1 * THETA.flip(0)])
    same(make, lambda f: torch.func.vmap(f)(THETA))
    same(make, lambda f: torch.func.vmap(torch.func.vmap(f, in_dims=0), in_dims=1, out_dims=2)(table))
    same(make, lambda f: torch.func.vmap(torch.func.grad(lambda t: weighted(f(t))))(THETA))
    example = make()
    data = example.data(THETA)
    mapped = [0 if t.dim() and len(t) == len(THETA) else None for t in data]
    close(torch.func.vmap(example.call, in_dims=tuple(mapped))(*data), example.exact(THETA))


def jvp(make: Make) -> None:
    """``torch.func.jvp``, dual numbers, and ``jvp`` under ``vmap``."""

    def by_dual_numbers(f: Function) -> Tensor:
        with forward_ad.dual_level():
            out = f(forward_ad.make_dual(THETA, DIRECTION.expand_as(THETA).contiguous()))
            return forward_ad.unpack_dual(out).tangent.clone()

    same(make, lambda f: torch.func.jvp(f, (THETA[0],), (DIRECTION,))[1])
    same(make, by_dual_numbers)
    same(make, lambda f: torch.func.vmap(lambda t: torch.func.jvp(f, (t,), (DIRECTION,))[1])(THETA))


def jacrev(make: Make) -> None:
    """``torch.func.jacrev``, alone and under ``vmap``."""
    same(make, lambda f: torch.func.jacrev(f)(THETA[0]))
    same(make, lambda f: torch.func.vmap(torch.func.jacrev(f))(THETA))


def jacfwd(make: Make) -> None:
    """``torch.func.jacfwd``, alone and under ``vmap``."""
    same(make, lambda f: torch.func.jacfwd(f)(THETA[0]))
    same(make, lambda f: torch.func.vmap(torch.func.jacfwd(f))(THETA))


def jacobian(make: Make) -> None:
    """``torch.autograd.functional.jacobian``."""
    same(make, lambda f: F.jacobian(f, THETA))


def vectorised_jacobian(make: Make) -> None:
    """``torch.autograd.functional.jacobian(…, vectorize=True)``."""
    same(make, lambda f: F.jacobian(f, THETA[0], vectorize=True))
    same(make, lambda f: F.jacobian(f, THETA, vectorize=True))


def vectorised_forward_jacobian(make: Make) -> None:
    """The same with ``strategy="forward-mode"``."""
    same(make, lambda f: F.jacobian(f, THETA[0], vectorize=True, strategy="forward-mode"))
    same(make, lambda f: F.jacobian(f, THETA, vectorize=True, strategy="forward-mode"))


def batched_gradients(make: Make) -> None:
    """``torch.autograd.grad(…, is_grads_batched=True)``, of several cotangents of one call."""
    bars = torch.stack([torch.ones_like(THETA), THETA, THETA.flip(0)])

    def rows(f: Function) -> Tensor:
        theta = THETA.clone().requires_grad_()
        return torch.autograd.grad(f(theta), theta, bars, is_grads_batched=True)[0]

    same(make, rows)


def gradcheck(make: Make) -> None:
    """``torch.autograd.gradcheck`` in both modes, and with batches of gradients."""
    theta = THETA.clone().requires_grad_()
    assert torch.autograd.gradcheck(make(), (theta,), check_forward_ad=True, eps=1e-6, atol=1e-5)


def batched_gradcheck(make: Make) -> None:
    """``torch.autograd.gradcheck(…, check_batched_grad=True, check_batched_forward_grad=True)``."""
    theta, options = THETA.clone().requires_grad_(), {"eps": 1e-6, "atol": 1e-5}
    both = {"check_forward_ad": True, "check_batched_grad": True, "check_batched_forward_grad": True}
    assert torch.autograd.gradcheck(make(), (theta,), **both, **options)


def hessian(make: Make) -> None:
    """``torch.func.hessian``: forward over reverse."""
    same(make, lambda f: torch.func.hessian(lambda t: weighted(f(t)))(THETA[0]))


def other_orders(make: Make) -> None:
    """``torch.func.jacrev`` of ``jacrev``, and of ``jacfwd``."""
    for inner in (torch.func.jacrev, torch.func.jacfwd):
        same(make, lambda f, i=inner: torch.func.jacrev(i(lambda t: weighted(f(t))))(THETA[0]))


def forward_over_forward(make: Make) -> None:
    """``torch.func.jacfwd`` of ``jacfwd``."""
    same(make, lambda f: torch.func.jacfwd(torch.func.jacfwd(lambda t: weighted(f(t))))(THETA[0]))


def autograd_hessian(make: Make) -> None:
    """``torch.autograd.functional.hessian``, and a gradient of a gradient by hand."""

    def twice(f: Function) -> Tensor:
        theta = THETA.clone().requires_grad_()
        (first,) = torch.autograd.grad(weighted(f(theta)), theta, create_graph=True)
        return torch.autograd.grad(weighted(first), theta)[0]

    same(make, lambda f: F.hessian(lambda t: weighted(f(t)), THETA))
    same(make, twice)


def vectorised_hessian(make: Make) -> None:
    """``torch.autograd.functional.hessian(…, vectorize=True)``, the outer derivative in either mode."""
    for outer in ("reverse-mode", "forward-mode"):
        options = {"vectorize": True, "outer_jacobian_strategy": outer}
        same(make, lambda f, o=options: F.hessian(lambda t: weighted(f(t)), THETA[0], **o))


def gradgradcheck(make: Make) -> None:
    """``torch.autograd.gradgradcheck``."""
    theta = THETA[:2].clone().requires_grad_()
    assert torch.autograd.gradgradcheck(make(), (theta,), eps=1e-6, atol=1e-5)


def _forward_over_reverse(f: Function, theta: Tensor) -> Tensor:
    leaf = theta.clone().requires_grad_()
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(leaf, DIRECTION.expand_as(theta).contiguous())
        (first,) = torch.autograd.grad(weighted(f(dual)), leaf)
        return forward_ad.unpack_dual(first).tangent.clone()


def forward_over_reverse(make: Make) -> None:
    """A gradient inside of ``torch.autograd.forward_ad.dual_level``, without ``create_graph``."""
    same(make, lambda f: _forward_over_reverse(f, THETA[0]))
    same(make, lambda f: _forward_over_reverse(f, THETA))


def functional_forward_over_reverse(make: Make) -> None:
    """``torch.func.jvp`` of ``torch.func.grad``, alone and under ``vmap``."""

    def product(f: Function, theta: Tensor) -> Tensor:
        return torch.func.jvp(torch.func.grad(lambda t: weighted(f(t))), (theta,), (DIRECTION,))[1]

    same(make, lambda f: product(f, THETA[0]))
    same(make, lambda f: torch.func.vmap(partial(product, f))(THETA))


def reverse_over_forward(make: Make) -> None:
    """``torch.func.grad`` of ``torch.func.jvp``, and a gradient of the tangent of dual numbers."""

    def tangent(f: Function, theta: Tensor) -> Tensor:
        return weighted(torch.func.jvp(f, (theta,), (DIRECTION,))[1])

    def dual(f: Function) -> Tensor:
        leaf = THETA.clone().requires_grad_()
        with forward_ad.dual_level():
            out = f(forward_ad.make_dual(leaf, DIRECTION.expand_as(THETA).contiguous()))
            return torch.autograd.grad(weighted(forward_ad.unpack_dual(out).tangent), leaf)[0]

    same(make, lambda f: torch.func.grad(partial(tangent, f))(THETA[0]))
    same(make, dual)


class Interrupted(Exception):
    """Not an error of the layer."""


def interrupted(make: Make) -> None:
    """An exception inside of nested transforms around the first call, then training."""
    example = make()

    def stopped(theta: Tensor) -> Tensor:
        example(theta)
        raise Interrupted

    for _ in range(2):
        with contextlib.suppress(Interrupted):
            torch.func.jacfwd(torch.func.jacrev(stopped))(THETA[0])
    right(example, example.exact, THETA[0])
    same(lambda: example, lambda f: torch.func.jacrev(f)(THETA[0]))


def reentrant_checkpoint(make: Make) -> None:
    """``torch.utils.checkpoint`` with ``use_reentrant=True``."""
    example, theta = make(), THETA.clone().requires_grad_()
    out = checkpoint(example, theta, use_reentrant=True)
    close(out, example.exact(THETA))
    weighted(out).backward()
    close(theta.grad, gradient(example.exact, THETA))


def other_checkpoint(make: Make) -> None:
    """``torch.utils.checkpoint`` with ``use_reentrant=False``."""
    example = make()
    close(
        gradient(lambda theta: checkpoint(example, theta, use_reentrant=False), THETA),
        gradient(example.exact, THETA),
    )


def hooks(make: Make) -> None:
    """Hooks of tensors, which see and change gradients, and of modules."""
    example, seen = make(), []
    example.register_forward_pre_hook(lambda module, given: (given[0].clone(),))
    example.register_forward_hook(lambda module, given, out: 2 * out)
    example.register_full_backward_hook(lambda module, into, out: seen.append((into[0], out[0])))

    def hooked(theta: Tensor) -> Tensor:
        theta = theta.clone()
        if theta.requires_grad:
            theta.register_hook(lambda bar: 3 * bar)
        return example(theta)

    close(hooked(THETA), 2 * example.exact(THETA))
    close(gradient(hooked, THETA), 3 * gradient(lambda t: 2 * example.exact(t), THETA))
    close(seen[0][0], gradient(lambda t: 2 * example.exact(t), THETA))


def anomaly_mode(make: Make) -> None:
    """``torch.autograd.detect_anomaly``."""
    example = make()
    with torch.autograd.set_detect_anomaly(mode=True):
        right(example, example.exact)


def saved_tensor_hooks(make: Make) -> None:
    """Saved tensors that are packed elsewhere: by value, by ``save_on_cpu``, and not at all."""
    example = make()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach().numpy().copy(), torch.from_numpy):
        right(example, lambda theta: example.exact(theta).clone())
    with torch.autograd.graph.save_on_cpu():
        right(example, example.exact)


def retained_graph(make: Make) -> None:
    """Several backward passes through one call, and one through two calls that share a tensor."""
    example = make()

    def twice(f: Function) -> Tensor:
        theta = THETA.clone().requires_grad_()
        out = f(theta)
        first = torch.autograd.grad(weighted(out), theta, retain_graph=True)[0]
        return first + torch.autograd.grad(weighted(out), theta)[0]

    close(twice(example), twice(example.exact))
    right(lambda t: example(t) + example(2 * t), lambda t: example.exact(t) + example.exact(2 * t))


TRANSFORMS: dict[str, Callable[[Make], None]] = {
    "vmap": vmap,
    "jvp, dual numbers": jvp,
    "jacrev": jacrev,
    "jacfwd": jacfwd,
    "jacobian": jacobian,
    "jacobian(vectorize=True)": vectorised_jacobian,
    'jacobian(vectorize=True, strategy="forward-mode")': vectorised_forward_jacobian,
    "grad(is_grads_batched=True)": batched_gradients,
    "gradcheck, both modes": gradcheck,
    "gradcheck, batched": batched_gradcheck,
    "func.hessian": hessian,
    "jacrev of jacrev, of jacfwd": other_orders,
    "jacfwd of jacfwd": forward_over_forward,
    "autograd hessian": autograd_hessian,
    "hessian(vectorize=True)": vectorised_hessian,
    "gradgradcheck": gradgradcheck,
    "a gradient inside dual numbers": forward_over_reverse,
    "jvp of grad": functional_forward_over_reverse,
    "grad of jvp": reverse_over_forward,
    "a transform that raised, then training": interrupted,
    "checkpoint, reentrant": reentrant_checkpoint,
    "checkpoint, not reentrant": other_checkpoint,
    "hooks": hooks,
    "anomaly mode": anomaly_mode,
    "saved-tensor hooks": saved_tensor_hooks,
    "a retained graph": retained_graph,
}
