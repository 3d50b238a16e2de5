"""What every third-party layer needs before it can stand behind our signature.

A package is called through *attempts*: functions from a flat problem, every tensor expanded over the batch, to
(z, λ, ν). Expanding out here makes torch sum the gradient of a shared argument, whatever the package would do.
Four rules hold for all packages and are kept here, in the open:

1.  A point is judged by the KKT conditions of the data, not by the package's word: elements that miss the tolerance
    go to the next attempt, and a row that no attempt solved comes back as NaN. The other rows are left as they are.
2.  The backward pass runs on cotangents scaled to size one per element, and undoes the scale afterwards. An element
    with a zero cotangent gets a zero gradient, even where the package computes 0 · NaN; and a small cotangent (a mean
    over a large batch) is not mistaken for zero, which diffcp does below 1e-8.
3.  None of the packages has a right second derivative; asking for one raises.
4.  The packages see the equilibrated problem first (Ruiz scaling). Each of them has an absolute threshold somewhere
    that takes data in unlucky units for something else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import prod

import torch
from torch import Tensor

from layers.errors import DifferentiationError, UnavailableError
from layers.linalg.batched import put, take
from layers.linalg.products import max_abs, one_where_zero
from layers.problem import QP
from layers.qp import kkt
from layers.qp.scaling import scale_problem

Triple = tuple[Tensor, Tensor, Tensor]
Attempt = Callable[[QP], Triple]

#: from this relative KKT residual on, a point is no answer and comes back as NaN
NO_ANSWER = 1e-3


@dataclass(frozen=True)
class Backend:
    """A whole third-party layer: its own solver and its own adjoint.

    Attributes
    ----------
    name : str
        The name that ``solve_qp(solver=...)`` takes.
    packages : tuple of str
        Distributions, as a package index names them, whose versions change the numbers: the layer and its solvers.
    unavailable : callable
        ``() -> str | None``: why the package cannot be used, with what to install; ``None`` if it can.
    attempts : callable
        ``(tol, max_iterations) -> attempts`` in the order of trying.
    on_cpu : bool
        The package computes on the CPU only: data travel there and back.
    """

    name: str
    packages: tuple[str, ...]
    unavailable: Callable[[], str | None]
    attempts: Callable[[float, int], Sequence[Attempt]]
    on_cpu: bool = True

    def solve(self, problem: QP, tol: float, max_iterations: int) -> Triple:
        """Solve a batch of quadratic programs with the package.

        Parameters
        ----------
        problem : QP
            float64, values checked; leading batch axes broadcast.
        tol : float
            Largest relative KKT residual that is accepted without a further attempt.
        max_iterations : int
            Limit on the iterations of the package's interior-point method.

        Returns
        -------
        z, lam, nu : Tensor, shapes ``batch + (n,)``, ``batch + (m,)``, ``batch + (p,)``
            Signs of L = ½zᵀQz + qᵀz + λᵀ(Gz − h) + νᵀ(Az − b). ``z`` is differentiable once with respect to all
            six arguments; ``lam`` and ``nu`` where the package offers it, else they are detached. Rows are NaN for
            elements that the package did not solve.

        Raises
        ------
        UnavailableError
            The package cannot be used; the message says why.
        DifferentiationError
            In the backward pass, when a second derivative is asked for.
        """
        reason = self.unavailable()
        if reason is not None:
            raise UnavailableError(f'solver="{self.name}" cannot be used: {reason}')
        batch, home = problem.batch_shape, problem.q.device
        sizes = (problem.n, problem.m, problem.p)
        flat = expand(problem)
        if prod(batch) == 0:  # no package takes it; a function of all data, whose gradients are zero
            none = torch.cat([t.flatten(1) for t in flat.tensors], -1).sum(-1, keepdim=True)
            z, lam, nu = (none.expand(0, size).reshape(*batch, size) for size in sizes)
            return z, lam, nu
        if self.on_cpu:
            flat = QP(*(t.cpu() for t in flat.tensors))
        attempts = [once_differentiable(self.name, a) for a in self.attempts(tol, max_iterations)]
        # Packages make tensors without a device, and qpth a graph to read its multipliers from. To leave inference mode
        # is to record gradients.
        recorded = torch.is_grad_enabled()
        with torch.device(flat.q.device), torch.inference_mode(mode=False), torch.set_grad_enabled(recorded):
            flat = QP(*(t.clone() if t.is_inference() else t for t in flat.tensors))
            point = first_that_holds(flat, tol, attempts)
        z, lam, nu = (x.to(home).reshape(*batch, k) for x, k in zip(point, sizes, strict=True))
        return z, lam, nu


def import_problem(module: str, install: str) -> str | None:
    """Why ``module`` cannot be imported, with the command that installs it; ``None`` if it can be."""
    try:
        import_module(module)
    except ImportError as error:
        return f"{error}; install it with `{install}`"
    return None


def expand(problem: QP) -> QP:
    """The flat problem with a batch axis on every tensor."""
    flat = problem.flatten()
    Q, G, A = (M.expand(flat.q.shape[0], *M.shape[-2:]) for M in (flat.Q, flat.G, flat.A))
    return QP(Q, flat.q, G, flat.h, A, flat.b)


def lost(problem: QP) -> Triple:
    """NaN in every row: what an attempt returns for elements that it failed on."""
    z, lam, nu = (torch.full_like(x, torch.nan).detach() for x in (problem.q, problem.h, problem.b))
    return z, lam, nu


def one_by_one(attempt: Attempt) -> Attempt:
    """The same attempt on each element alone, so that none can spoil or stop the others."""

    def each(problem: QP) -> Triple:
        index = torch.arange(problem.q.shape[0], device=problem.q.device)
        rows = [attempt(problem.take(i)) for i in index.split(1)]
        z, lam, nu = (torch.cat(column) for column in zip(*rows, strict=True))
        return z, lam, nu

    return each


def equilibrated(attempt: Attempt) -> Attempt:
    """The same attempt on the problem in units in which rows, columns and objective are of size one.

    The scales are constants, so what torch differentiates is the caller's problem.
    """

    def scaled(problem: QP) -> Triple:
        s = scale_problem(QP(*(t.detach() for t in problem.tensors)))
        columns = s.D.unsqueeze(-2)
        weight = s.c.unsqueeze(-1) * s.D.unsqueeze(-1)
        tilde = QP(
            Q=weight * problem.Q * columns,
            q=s.c / s.r * s.D * problem.q,
            G=s.E_G.unsqueeze(-1) * problem.G * columns,
            h=s.E_G / s.r * problem.h,
            A=s.E_A.unsqueeze(-1) * problem.A * columns,
            b=s.E_A / s.r * problem.b,
        )
        return s.unscale(*attempt(tilde))

    return scaled


def first_that_holds(problem: QP, tol: float, attempts: Sequence[Attempt]) -> Triple:
    """Try the attempts in order; each is given the elements whose KKT residual is still above ``tol``."""
    point = attempts[0](problem)
    error = _error(problem, point)
    for attempt in attempts[1:]:
        open_ = (error > tol).nonzero().squeeze(-1)
        if open_.numel() == 0:
            break
        part = problem.take(open_)
        retry = attempt(part)
        better = _error(part, retry) < error[open_]
        rows, index = better.nonzero().squeeze(-1), open_[better]
        z, lam, nu = put(point, index, take(retry, rows))
        point = (z, lam, nu)
        error = _error(problem, point)
    answered = (error < NO_ANSWER).unsqueeze(-1)
    z, lam, nu = (torch.where(answered, x, torch.nan) for x in point)
    return z, lam, nu


def _error(problem: QP, point: Triple) -> Tensor:
    with torch.no_grad():
        return kkt.relative_residual(problem, *point)


def once_differentiable(package: str, attempt: Attempt) -> Attempt:
    """The attempt with rules 2 and 3 of this module on its backward pass.

    The backward pass is linear in the cotangent of each element, so scaling that to size one at the outputs and
    multiplying the gradients by the size at the inputs changes nothing but what rounding and thresholds see.
    """

    def guarded(problem: QP) -> Triple:
        if not torch.is_grad_enabled() or not any(t.requires_grad for t in problem.tensors):
            return attempt(problem)
        inputs = QP(*(t.view_as(t) for t in problem.tensors))
        outputs = attempt(inputs)
        attached = [x for x in outputs if x.requires_grad]
        if not attached:
            return outputs
        size: list[Tensor] = []

        def to_size_one(cotangent: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                raise DifferentiationError(
                    f'{package} has no second derivative, found create_graph=True; use solver="interior_point"'
                )
            size[:] = [max_abs(cotangent)]
            return cotangent / one_where_zero(size[0]).unsqueeze(-1)

        def to_true_size(gradient: Tensor) -> Tensor:
            scale = size[0].reshape(-1, *[1] * (gradient.dim() - 1))
            return torch.where(scale == 0, 0.0, gradient * scale)

        for tensor in inputs.tensors:
            if tensor.requires_grad:
                tensor.register_hook(to_true_size)
        joint = torch.cat(attached, -1)
        joint.register_hook(to_size_one)
        pieces = iter(joint.split([x.shape[-1] for x in attached], -1))
        z, lam, nu = (next(pieces) if x.requires_grad else x for x in outputs)
        return z, lam, nu

    return guarded
