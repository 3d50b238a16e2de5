"""Reverse derivatives of the solution map and of its linear systems, from what a call has saved.

With d = −K⁺ᵀ (z̄, λ̄, ν̄) the formulas are those of :mod:`layers.qp.function`. They are written in torch, so that
they can be differentiated again; where nothing will be, the compiled core makes the gradients in one call.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from layers.linalg.products import mv
from layers.native import qp as native
from layers.qp.adjoints import implicit
from layers.solution import Status

LinearSolve = Callable[..., tuple[Tensor, Tensor, Tensor]]
OuterPair = Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]


def pull_back_at_once(
    needed: tuple[bool, ...], saved: tuple[Tensor, ...], cotangents: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, ...] | None:
    """:func:`pull_back` in one call of the compiled core; None where it is not for the core.

    It is for plain tensors with at most one batch axis and cotangents of z, λ and ν alone.
    """
    Q, q, G, h, A, b, z, lam, nu, kind, status = saved
    z_bar, lam_bar, nu_bar, value_bar, s_bar = cotangents[:5]
    if value_bar is not None or s_bar is not None or kind.dim() > 2 or not status.numel():
        return None
    if not all(M.dim() == 2 or M.shape[0] == z.shape[0] for M in (Q, G, A)):
        return None
    # a sum over a batch of one is what the element has
    axes = z.dim() + 1 if status.numel() > 1 else 2
    own = (Q.dim() >= axes, G.dim() >= axes, A.dim() >= axes)
    asked = (needed[0], needed[2], needed[4])
    wanted = (asked[0] and own[0], asked[1] and own[1], asked[2] and own[2])
    given = (Q, G, A, kind, status, z, lam, nu)
    found = native.pull_back(given, (z_bar, lam_bar, nu_bar), wanted, implicit.SOLVE_TOLERANCE)
    if found is None:
        return None
    (Q_bar, G_bar, A_bar), (q_bar, h_bar, b_bar) = found
    if wanted != asked:  # what a batch shares receives a sum
        more = [ask and not have for ask, have in zip(asked, own, strict=True)]
        rest = (more[0], False, more[1], False, more[2], False)
        d = (q_bar, -h_bar, -b_bar)
        sums = _gradients(rest, (Q, q, G, h, A, b), (z, lam, nu), d, None, native.outer_pair)
        Q_bar, G_bar, A_bar = (
            M if total is None else total for M, total in zip((Q_bar, G_bar, A_bar), sums[::2], strict=True)
        )
    found = (Q_bar, q_bar, G_bar, h_bar, A_bar, b_bar)
    data = zip(found, (Q, q, G, h, A, b), needed, strict=True)
    return tuple([_sum_to(bar, like) if need and bar is not None else None for bar, like, need in data])


def pull_back(
    needed: tuple[bool, ...],
    saved: tuple[Tensor, ...],
    cotangents: tuple[Tensor | None, ...],
    solve: LinearSolve,
    pair: OuterPair | None,
) -> tuple[Tensor | None, ...]:
    """Reverse derivative of the solution map in its six tensors.

    Parameters
    ----------
    needed : tuple of bool
        Which of Q, q, G, h, A, b are asked for.
    saved : tuple of Tensor
        Q, q, G, h, A, b, z, λ, ν, kind, status.
    cotangents : tuple of Tensor or None
        Of z, λ, ν, objective, s; what follows is not read.
    solve : callable
        :class:`LinearisedSystem`.
    pair : callable, optional
        :func:`layers.native.qp.outer_pair`, or the same as an operator; differentiable torch without it.
    """
    *data, z, lam, nu, kind, status = saved
    z_bar, lam_bar, nu_bar, value_bar, s_bar = cotangents[:5]
    if s_bar is not None:  # s = h − Gz
        s_bar = s_bar * where_solved(status, z).unsqueeze(-1)
        moved = -mv(data[2].mT, s_bar)
        z_bar = moved if z_bar is None else z_bar + moved
    direction = None
    if z_bar is not None or lam_bar is not None or nu_bar is not None:
        r = tuple(
            torch.zeros_like(v) if c is None else -c
            for v, c in zip((z, lam, nu), (z_bar, lam_bar, nu_bar), strict=True)
        )
        direction = solve(True, data[0], data[2], data[4], kind, status, *r)
    weight = None if value_bar is None else (value_bar * where_solved(status, z)).unsqueeze(-1)
    gradients = _gradients(needed, tuple(data), (z, lam, nu), direction, weight, pair)
    return gradients if s_bar is None else _with_slack(needed, gradients, tuple(data), z, s_bar)


def pull_back_system(
    transpose: bool, saved: tuple[Tensor, ...], cotangents: tuple[Tensor, ...], solve: LinearSolve
) -> tuple[Tensor | None, ...]:
    """Reverse derivative of :class:`LinearisedSystem`, from its inputs and outputs."""
    Q, G, A, kind, status, r_z, r_lam, r_nu, x_z, x_lam, x_nu = saved
    y_z, y_lam, y_nu = solve(not transpose, Q, G, A, kind, status, *cotangents)
    Q_bar = -0.5 * (_outer(y_z, x_z, Q) + _outer(x_z, y_z, Q))
    G_bar = -(_outer(x_lam, y_z, G) + _outer(y_lam, x_z, G))
    A_bar = -(_outer(x_nu, y_z, A) + _outer(y_nu, x_z, A))
    r_bar = tuple(_sum_to(y, r) for y, r in zip((y_z, y_lam, y_nu), (r_z, r_lam, r_nu), strict=True))
    return (None, Q_bar, G_bar, A_bar, None, None, *r_bar)


def _gradients(
    needed: tuple[bool, ...],
    data: tuple[Tensor, ...],
    solution: tuple[Tensor, Tensor, Tensor],
    direction: tuple[Tensor, Tensor, Tensor] | None,
    weight: Tensor | None,
    pair: OuterPair | None,
) -> tuple[Tensor | None, ...]:
    """Gradients of the six arguments: from d of the solve, and from the objective's weight."""
    Q, q, G, h, A, b = data
    z, lam, nu = solution
    from_solve: tuple[Callable[[Tensor, Tensor, Tensor], Tensor], ...] = (
        lambda d_z, d_lam, d_nu: _two_outer(d_z, z, z, d_z, Q, pair, 0.5),
        lambda d_z, d_lam, d_nu: _sum_to(d_z, q),
        lambda d_z, d_lam, d_nu: _two_outer(lam, d_z, d_lam, z, G, pair),
        lambda d_z, d_lam, d_nu: _sum_to(-d_lam, h),
        lambda d_z, d_lam, d_nu: _two_outer(nu, d_z, d_nu, z, A, pair),
        lambda d_z, d_lam, d_nu: _sum_to(-d_nu, b),
    )
    from_objective: tuple[Callable[[Tensor], Tensor], ...] = (
        lambda w: 0.5 * _outer(w * z, z, Q),
        lambda w: _sum_to(w * z, q),
        lambda w: _outer(w * lam, z, G),
        lambda w: _sum_to(-w * lam, h),
        lambda w: _outer(w * nu, z, A),
        lambda w: _sum_to(-w * nu, b),
    )
    gradients: list[Tensor | None] = []
    for need, solve_term, objective_term in zip(needed, from_solve, from_objective, strict=True):
        total: Tensor | None = None
        if need and direction is not None:
            total = solve_term(*direction)
        if need and weight is not None:
            total = objective_term(weight) if total is None else total + objective_term(weight)
        gradients.append(total)
    return tuple(gradients)


def _with_slack(
    needed: tuple[bool, ...],
    gradients: tuple[Tensor | None, ...],
    data: tuple[Tensor, ...],
    z: Tensor,
    s_bar: Tensor,
) -> tuple[Tensor | None, ...]:
    """What G and h contribute to s = h − Gz at a fixed z, added to the gradients of the six arguments."""
    Q_bar, q_bar, G_bar, h_bar, A_bar, b_bar = gradients
    if needed[2]:
        own = -_outer(s_bar, z, data[2])
        G_bar = own if G_bar is None else G_bar + own
    if needed[3]:
        own = _sum_to(s_bar, data[3])
        h_bar = own if h_bar is None else h_bar + own
    return Q_bar, q_bar, G_bar, h_bar, A_bar, b_bar


def where_solved(status: Tensor, like: Tensor) -> Tensor:
    """One for elements that were solved, zero for the others."""
    return (status == int(Status.OPTIMAL)).to(like.dtype)


def _outer(u: Tensor, v: Tensor, like: Tensor) -> Tensor:
    """u vᵀ summed over the batch axes that ``like`` lacks; one matrix product when it lacks them all."""
    if like.dim() == 2:
        return u.unsqueeze(0).flatten(0, -2).mT @ v.unsqueeze(0).flatten(0, -2)
    return _sum_to(u.unsqueeze(-1) * v.unsqueeze(-2), like)


def _two_outer(
    u: Tensor, v: Tensor, w: Tensor, x: Tensor, like: Tensor, pair: OuterPair | None, scale: float = 1.0
) -> Tensor:
    """scale (u vᵀ + w xᵀ), summed as :func:`_outer` does; in one pass by ``pair`` where nothing is summed.

    With ``pair`` nothing is differentiated further, so that sums may be made in place.
    """
    if pair is not None and like.dim() == 2 and u.dim() >= 2 and u.numel() * v.numel() > 0:
        u, v, w, x = (t.reshape(-1, t.shape[-1]) for t in (u, v, w, x))
        return torch.mm(u.mT, v).addmm_(w.mT, x).mul_(scale)
    if pair is not None and like.shape[:-2] == u.shape[:-1] and like.numel() > 0:
        if like.dim() <= 3:
            return pair(u, v, w, x, scale)
        u, v, w, x = (t.reshape(-1, t.shape[-1]) for t in (u, v, w, x))
        return pair(u, v, w, x, scale).reshape(like.shape)
    return scale * (_outer(u, v, like) + _outer(w, x, like))


def _sum_to(x: Tensor, like: Tensor) -> Tensor:
    return x.sum_to_size(like.shape) if x.shape != like.shape else x
