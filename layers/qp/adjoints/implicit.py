"""Implicit differentiation of the KKT conditions (OptNet, Amos & Kolter 2017, eq. 6), in active-set form.

At a solution with active set 𝒜 the KKT conditions reduce to equations F(x; θ) = 0 in x = (z, λ_𝒜, ν), and the
implicit function theorem gives K dx = −F_θ dθ with

    K = [Q G_𝒜ᵀ Aᵀ; G_𝒜 0 0; A 0 0],   F_θ dθ = (dQ z + dq + dGᵀλ + dAᵀν,  dG_𝒜 z − dh_𝒜,  dA z − db).

Multiplying the middle row by D(λ) and adding the rows λᵢ = 0 off 𝒜 gives OptNet's matrix; here the iterate does not
enter K, so the derivative does not inherit the distance of the solution from optimality.

Where a constraint is weakly active (λᵢ = sᵢ = 0) its multiplier may move but its row is not enforced: K is then
rectangular. There, and where active rows are dependent or the solution is not unique, the answer is the least-squares
solution of minimum norm, x = K⁺ r, and Kᵀ⁺ in reverse. Its rank is told on equilibrated data, each part of the program
that nothing connects with the rest by itself; "least" and "minimum" are in the caller's units. Where a rank is in doubt
and the answer hangs on it, the derivative raises.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from layers.linalg.batched import put, take
from layers.linalg.saddle import Block
from layers.linalg.shortest import shortest
from layers.linalg.sparse_shortest import shortest_sparsely
from layers.native import qp as native
from layers.policy import require_accurate
from layers.problem import QP
from layers.qp.active_set import ActiveSystem
from layers.qp.activity import ACTIVE, WEAK, activity
from layers.qp.adjoints.degenerate import Projected
from layers.qp.gradients import Adjoint, Triple, of_direction

#: bound on the backward error of the derivative's linear solve
SOLVE_TOLERANCE = 1e-9
#: unknowns up to which an orthogonal decomposition of a dense K takes less than a sparse factor: 4 against 5 to 6 ms
DENSE = 150

Array = NDArray[np.float64]


def solve_linearised(problem: QP, kind: Tensor, r: Block, *, transpose: bool) -> tuple[Block, Tensor]:
    """x = K⁺ r, or x = K⁺ᵀ r with ``transpose``.

    Parameters
    ----------
    problem : QP
        Flat problem; only Q, G, A are read.
    kind : Tensor of int8, shape ``(B, m)``
        From :func:`layers.qp.activity.activity`.
    r : tuple of Tensor, shapes ``(B, n), (B, m), (B, p)``
        Entries that K does not have (inactive rows) are not read.

    Returns
    -------
    x : tuple of Tensor
        Zero at the entries that K does not have.
    error : Tensor, shape ``(B,)``
        Relative residual of the linear solve (of its normal equations where K is singular).

    Notes
    -----
    The regular elements share one batched factorisation. Those with weakly active constraints, and those with a
    singular K, are answered with the same factor (:mod:`layers.qp.adjoints.degenerate`); what is both, or does not
    come out, by itself through an orthogonal decomposition (:mod:`layers.linalg.shortest`), O((n + k + p)³) with a
    larger constant.
    """
    on = kind == ACTIVE
    weak = kind == WEAK
    # K has the columns of weak constraints but not their rows: in reverse they are part of the right-hand side
    read = on | weak if transpose else on
    r = (r[0], torch.where(read, r[1], torch.zeros_like(r[1])), r[2])
    system = ActiveSystem.factor(problem, on)
    has_weak, singular = weak.any(-1), system.singular
    x, error = (r[0], r[1], r[2]), torch.full_like(r[0][:, 0], torch.inf)
    if not bool((has_weak | singular).all()):
        x = system.solve(*r)
        error = torch.where(has_weak | singular, torch.inf, system.backward_error(x, r))
    for where in (has_weak & ~singular, singular & ~has_weak):
        index = where.nonzero().squeeze(-1)
        if index.numel():
            part = problem.take(index)
            own = system if index.numel() == len(where) else ActiveSystem.factor(part, on[index])
            projected = Projected.of(part, own, weak[index])
            found = projected.solve(take(r, index), transpose=transpose)
            x, error = put((x, error), index, found)
    for i in (~(error <= SOLVE_TOLERANCE)).nonzero().squeeze(-1).tolist():
        answer, own_error = _shortest(_element(problem, i), kind[i], tuple(t[i] for t in r), transpose)
        x = put(x, torch.tensor([i], device=on.device), tuple(t.unsqueeze(0) for t in answer))
        error[i] = own_error
    return x, error


class Implicit(Adjoint):
    """The implicit function theorem: equation 8 with d = −K⁺ᵀ x̄."""

    name = "implicit"
    exact = "where the solution map is differentiable; elsewhere the least-squares answer of minimum norm"
    order = None

    def gradients(self, problem: QP, x: Triple, bars: Triple) -> tuple[Tensor, ...]:
        """The contract of :class:`layers.qp.adjoints.Adjoint`: equation 8 with d = −K⁺ᵀ x̄."""
        solved = torch.ones(len(x.z), dtype=torch.bool, device=x.z.device)
        right = QP(problem.Q, -bars.z, problem.G, -bars.lam, problem.A, -bars.nu)
        d = solve_accurately(right, activity(problem, *x), solved, transpose=True)
        return of_direction(x, Triple(*d))


def solve_accurately(
    flat: QP, kind: Tensor, solved: Tensor, *, transpose: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """x = K⁺ r, or K⁺ᵀ r, for a whole batch: by the compiled core where it can, else by :func:`solve_linearised`.

    Parameters
    ----------
    flat : QP
        Flat, its Q not yet made symmetric; q, h and b hold r.
    solved : Tensor of bool, shape ``(B,)``
        Elements that were solved; for the others x = 0.

    Raises
    ------
    DifferentiationError
        If the linear solve of a solved element missed its accuracy.
    """
    if not native.suits(flat.q) or native.refusal(flat):
        return _solve_in_torch(flat, kind, solved, transpose)
    x, error, largest = native.solve_linearised(flat, kind, (~solved).to(torch.int64), transpose=transpose)
    if largest <= SOLVE_TOLERANCE:
        return x
    left = (~(error <= SOLVE_TOLERANCE)).nonzero().squeeze(-1)
    rest = _solve_in_torch(*take((flat, kind, solved), left), transpose)
    z, lam, nu = put(x, left, rest)
    return z, lam, nu


def _solve_in_torch(
    given: QP, kind: Tensor, solved: Tensor, transpose: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`solve_accurately` in torch, part by part, so that the work arrays stay in the cache."""
    flat = given.symmetric()
    on = solved.unsqueeze(-1)
    r = flat.q * on, flat.h * on, flat.b * on
    parts = [solve_linearised(*take((flat, kind, r), c), transpose=transpose) for c in flat.chunks()]
    require_accurate(torch.cat([error for _, error in parts]), solved, 10 * SOLVE_TOLERANCE, "Q")
    z, lam, nu = (torch.cat([x[i] for x, _ in parts]) for i in range(3))
    return z, lam, nu


def _element(problem: QP, i: int) -> QP:
    Q, G, A = (M if M.dim() == 2 else M[i] for M in (problem.Q, problem.G, problem.A))
    return QP(Q, problem.q[i], G, problem.h[i], A, problem.b[i])


def _shortest(element: QP, kind: Tensor, r: Block, transpose: bool) -> tuple[Block, float]:
    """K⁺ r or K⁺ᵀ r of one element, on the host: by all of K, or by a sparse factor of K₀, the cheaper one first."""
    strong, weak = ((kind == one).nonzero().squeeze(-1) for one in (ACTIVE, WEAK))
    n = element.n
    rows = torch.cat([element.G[strong], element.A])
    columns = element.G[weak].mT
    C = torch.cat([columns, columns.new_zeros(len(rows), columns.shape[-1])])
    given = (r[0], r[1][strong], r[2], *((r[1][weak],) if transpose else ()))
    H, below, C, rhs = (v.cpu().numpy() for v in (element.Q, rows, C, torch.cat(given)))
    first, second = (_densely, shortest_sparsely) if len(rhs) <= DENSE else (shortest_sparsely, _densely)
    found, error = first(H, below, C, rhs, transpose=transpose)
    if not error <= SOLVE_TOLERANCE:
        other, its_error = second(H, below, C, rhs, transpose=transpose)
        if its_error < error:
            found, error = other, its_error
    x = torch.from_numpy(found).to(kind.device)
    lam = torch.zeros_like(r[1])
    lam[strong] = x[n : n + len(strong)]
    if not transpose:
        lam[weak] = x[n + len(rows) :]
    return (x[:n], lam, x[n + len(strong) : n + len(rows)]), error


def _densely(H: Array, A: Array, C: Array, r: Array, *, transpose: bool) -> tuple[Array, float]:
    K = np.block([[H, A.T, C[: len(H)]], [A, np.zeros((len(A),) * 2), C[len(H) :]]])
    return shortest(K.T if transpose else K, r)
