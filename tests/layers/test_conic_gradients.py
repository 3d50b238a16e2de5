"""Derivatives of cone programs: differences, closed forms, another implementation, and torch's transforms."""

from __future__ import annotations

import diffcp
import numpy as np
import pytest
import torch
from scipy import sparse as sp
from torch import Tensor

from layers import DifferentiationError
from layers.cone import adjoint
from layers.cone.function import solve_cone_program
from layers.cone.linearised.sparse import SparseSystem, pays
from layers.cone.linearised.system import ConicSystem
from layers.cone_program import ConeProgram, Cones
from layers.native import cone as native_cones
from tests.layers.conic_instances import CONES, entropy, from_dense, random_program, sparse


@pytest.fixture(autouse=True)
def _engine() -> None:
    """No engine for quadratic programs takes part: each test runs once."""


def answers(program: ConeProgram, *data: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, y, s and objective for data on the structure of a program."""
    solution = solve_cone_program(ConeProgram(program.structure, *data))
    return solution.x, solution.y, solution.s, solution.objective


@pytest.mark.parametrize("name", CONES)
def test_derivatives_in_both_modes_are_those_of_differences(name: str):
    """Gradcheck of x, y, s and the objective in P, q, A and b; random projections of the Jacobian."""
    cones, n = CONES[name]
    program, *_ = random_program(cones, n, batch=2)
    data = [t.clone().requires_grad_() for t in program.data]
    assert torch.autograd.gradcheck(
        lambda *d: answers(program, *d), data, eps=1e-6, atol=1e-6, rtol=1e-5,
        fast_mode=True, check_forward_ad=True,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["second-order", "exponential"])
def test_every_entry_of_the_jacobian(name: str):
    """The whole Jacobian, entry by entry, of small programs."""
    cones, n = CONES[name]
    program, *_ = random_program(cones, n, batch=1)
    data = [program.q.clone().requires_grad_(), program.b.clone().requires_grad_()]
    assert torch.autograd.gradcheck(
        lambda q, b: answers(program, program.P, q, program.A, b), data, eps=1e-6, atol=1e-7, rtol=1e-6
    )


def test_softmax_has_the_jacobian_of_softmax():
    c = torch.randn(1, 6, dtype=torch.float64)
    program = entropy(c)

    def probabilities(logits: Tensor) -> Tensor:
        q = torch.cat([-logits, torch.ones_like(logits)])
        return answers(program, program.P, q.unsqueeze(0), program.A, program.b)[0][0, :6]

    J = torch.autograd.functional.jacobian(probabilities, c[0])
    p = torch.softmax(c[0], -1)
    assert (J - torch.diag(p) + torch.outer(p, p)).abs().max() < 1e-13


@pytest.mark.parametrize("spread", [20.0, 60.0])
def test_gradient_through_exponential_cones_at_extreme_arguments(spread: float):
    """Softmax with probabilities down to e^{−60}: diag(p) − ppᵀ, small entries to a relative accuracy of 1e-6."""
    c = torch.linspace(-spread, 0, 5, dtype=torch.float64)
    program = entropy(c.unsqueeze(0))

    def probabilities(logits: Tensor) -> Tensor:
        q = torch.cat([-logits, torch.ones_like(logits)])
        return answers(program, program.P, q.unsqueeze(0), program.A, program.b)[0][0, :5]

    J = torch.autograd.functional.jacobian(probabilities, c)
    p = torch.softmax(c, -1)
    assert (J - torch.diag(p) + torch.outer(p, p)).abs().max() < 1e-12


@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1e4, 1e8])
def test_gradient_of_the_logarithm_over_sixteen_orders(scale: float):
    """minimise x c − log x has x = 1/c and dx/dc = −1/c²."""
    c = torch.tensor([[scale]], dtype=torch.float64, requires_grad=True)
    A = torch.tensor([[[0.0, -1.0], [0.0, 0.0], [-1.0, 0.0]]], dtype=torch.float64)
    b = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    q = torch.cat([c, -torch.ones_like(c)], -1)
    program = from_dense(torch.zeros(1, 2, 2, dtype=torch.float64), q, A, b, Cones(exp=1))
    x = solve_cone_program(program).x[0, 0]
    assert x.item() == pytest.approx(1 / scale, rel=1e-9)
    (gradient,) = torch.autograd.grad(x, c)
    assert gradient.item() == pytest.approx(-1 / scale**2, rel=1e-8)


@pytest.mark.parametrize("name", ["linear", "second-order", "exponential"])
def test_agreement_with_diffcp_where_its_solution_is_tight(name: str):
    """diffcp knows no quadratic term here: P enters by a second-order cone, so programs without P are compared."""
    cones, n = CONES[name]
    program, *_ = random_program(cones, n, batch=1)
    # bounded without P: the variables are held in a box
    c, A, b = program.q[0], program.A.reshape(n, cones.rows).mT, program.b[0]
    box = torch.cat([torch.eye(n), -torch.eye(n)]).double()
    start = cones.zero + cones.nonneg
    A = torch.cat([A[:start], box, A[start:]])
    b = torch.cat([b[:start], torch.full((2 * n,), 3.0, dtype=torch.float64), b[start:]])
    boxed = Cones(cones.zero, cones.nonneg + 2 * n, cones.soc, cones.psd, cones.exp, cones.power)
    cone_dict = {
        "z": boxed.zero,
        "l": boxed.nonneg,
        "q": list(boxed.soc),
        "s": list(boxed.psd),
        "ep": boxed.exp,
    }
    x, y, _, _, transposed = diffcp.solve_and_derivative(
        sp.csc_matrix(A.numpy()), b.numpy(), c.numpy(), cone_dict, mode="dense", solve_method="Clarabel",
        tol_gap_abs=1e-13, tol_gap_rel=1e-13, tol_feas=1e-13,
    )  # fmt: skip
    data = [t.clone().unsqueeze(0).requires_grad_() for t in (torch.zeros(n, n).double(), c, A, b)]
    ours = solve_cone_program(from_dense(*data, boxed))
    assert np.abs(ours.x[0].detach().numpy() - x).max() < 1e-5
    weight = torch.linspace(-1, 1, n, dtype=torch.float64)
    dA, db, dc = transposed(weight.numpy(), np.zeros_like(y), np.zeros_like(y))
    (ours.x[0] @ weight).backward()
    for mine, theirs in zip(data[1:], (dc, dA.toarray(), db), strict=True):
        size = np.abs(theirs).max() + 1
        # diffcp's dA has the pattern of A only
        known = A.numpy() != 0 if theirs.ndim == 2 else slice(None)
        assert np.abs((mine.grad[0].numpy() - theirs)[known]).max() < 1e-6 * size


def test_what_is_shared_gets_the_sum_of_its_gradients():
    cones, n = CONES["mixture"]
    program, *_ = random_program(cones, n, batch=1)
    q, b = program.q.repeat(3, 1) + 0.01 * torch.randn(3, n), program.b.repeat(3, 1)
    weight = torch.randn(3, n, dtype=torch.float64)
    gradients = []
    for shared in (True, False):
        P, A = (v[0] if shared else v.repeat(3, 1) for v in (program.P, program.A))
        P, A = P.clone().requires_grad_(), A.clone().requires_grad_()
        solution = solve_cone_program(ConeProgram(program.structure, P, q, A, b))
        (solution.x * weight).sum().backward()
        gradients.append([g if shared else g.sum(0) for g in (P.grad, A.grad)])
    for one, other in zip(*gradients, strict=True):
        assert (one - other).abs().max() < 1e-10


def test_objective_needs_no_linear_solve(monkeypatch: pytest.MonkeyPatch):
    """Its gradient is that of the Lagrangian: the linear system is never touched."""
    cones, n = CONES["mixture"]
    program, x, *_ = random_program(cones, n)
    q = program.q.clone().requires_grad_()
    b = program.b.clone().requires_grad_()
    solution = solve_cone_program(ConeProgram(program.structure, program.P, q, program.A, b))
    monkeypatch.setattr(adjoint, "solve_linearised", None)
    solution.objective.sum().backward()
    assert (q.grad - x).abs().max() < 1e-11
    assert (b.grad + solution.y.detach()).abs().max() < 1e-11


def test_a_derivative_without_the_curvature_of_the_cone_fails(monkeypatch: pytest.MonkeyPatch):
    """δ rounded to 0 or 1 leaves polyhedral cones right and curved ones wrong: differences see it."""
    cones, n = CONES["second-order"]
    program, *_ = random_program(cones, n, batch=1)
    right = adjoint.decompose

    def flat(*args: object) -> object:
        at = right(*args)
        inside = (at.inside > 0.5).to(torch.float64)
        return type(at)(at.cones, at.s, at.y, inside, 1 - inside, at.frames)

    monkeypatch.setattr(native_cones, "MOST_WORK", -1)
    monkeypatch.setattr(adjoint, "decompose", flat)
    q = program.q.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(
            lambda q: answers(program, program.P, q, program.A, program.b)[0], [q], eps=1e-6, atol=1e-6
        )


def test_vmap_and_the_two_jacobians_agree():
    cones, n = CONES["mixture"]
    program, *_ = random_program(cones, n, batch=1)

    def x_of(q: Tensor) -> Tensor:
        return answers(program, program.P, q.unsqueeze(0), program.A, program.b)[0][0]

    q = program.q[0]
    forward, reverse = torch.func.jacfwd(x_of)(q), torch.func.jacrev(x_of)(q)
    assert (forward - reverse).abs().max() < 1e-11
    many = torch.stack([q, q + 0.1, q - 0.1])
    assert (torch.func.vmap(x_of)(many) - torch.stack([x_of(v) for v in many])).abs().max() < 1e-11
    per_sample = torch.func.vmap(torch.func.grad(lambda v: x_of(v).square().sum()))(many)
    looped = torch.stack([torch.func.grad(lambda v: x_of(v).square().sum())(v) for v in many])
    assert (per_sample - looped).abs().max() < 1e-10


def test_vmap_over_matrices_of_a_batch():
    """An axis of A in front of the batch, q and b without it."""
    cones, n = Cones(soc=(3,), exp=1), 6
    program, *_ = random_program(cones, n, batch=2)
    A = torch.stack([program.A, program.A + 0.05])
    together = torch.func.vmap(lambda M: answers(program, program.P, program.q, M, program.b)[0])(A)
    looped = torch.stack([answers(program, program.P, program.q, M, program.b)[0] for M in A])
    assert (together - looped).abs().max() < 1e-11


def test_second_derivatives_of_the_solution_are_refused():
    cones, n = CONES["second-order"]
    program, *_ = random_program(cones, n, batch=1)
    q = program.q.clone().requires_grad_()
    x = answers(program, program.P, q, program.A, program.b)[0]
    (first,) = torch.autograd.grad(x.square().sum(), q, create_graph=True)
    with pytest.raises(DifferentiationError, match="second derivatives"):
        torch.autograd.grad(first.sum(), q)


def test_second_derivative_of_the_objective_is_the_first_of_the_solution():
    """∂²p*/∂q² = ∂x/∂q."""
    cones, n = CONES["second-order"]
    program, *_ = random_program(cones, n, batch=1)

    def value(q: Tensor) -> Tensor:
        return answers(program, program.P, q.unsqueeze(0), program.A, program.b)[3][0]

    def x_of(q: Tensor) -> Tensor:
        return answers(program, program.P, q.unsqueeze(0), program.A, program.b)[0][0]

    q = program.q[0]
    assert (torch.func.hessian(value)(q) - torch.func.jacrev(x_of)(q)).abs().max() < 1e-10


def test_singular_systems_get_the_shortest_derivative():
    """A free variable that nothing but zero curvature sees: it does not move, the others do as without it."""
    P = torch.diag(torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)).unsqueeze(0)
    A = torch.zeros(1, 3, 3, dtype=torch.float64)
    A[0, 1, 0] = A[0, 2, 1] = -1
    q = torch.tensor([[-3.0, -1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    J = torch.autograd.functional.jacobian(
        lambda q: solve_cone_program(from_dense(P, q, A, b, Cones(soc=(3,)))).x, q
    )[0, :, 0]
    smaller = torch.autograd.functional.jacobian(
        lambda q: solve_cone_program(from_dense(P[:, :2, :2], q, A[:, :, :2], b, Cones(soc=(3,)))).x,
        q[:, :2],
    )[0, :, 0]
    assert (J[:2, :2] - smaller).abs().max() < 1e-10
    assert J[2].abs().max() < 1e-12
    assert J[:, 2].abs().max() < 1e-12


def test_a_system_that_cannot_be_solved_is_told(monkeypatch: pytest.MonkeyPatch):
    cones, n = CONES["second-order"]
    program, *_ = random_program(cones, n)
    q = program.q.clone().requires_grad_()
    x = answers(program, program.P, q, program.A, program.b)[0]
    monkeypatch.setattr(native_cones, "MOST_WORK", -1)
    monkeypatch.setattr(adjoint, "_backward_error", lambda *a: torch.full((3,), 1e-3, dtype=torch.float64))
    monkeypatch.setattr(
        ConicSystem,
        "solve_shortest",
        lambda self, index, r1, r2: (r1[index], r2[index], torch.full((index.numel(),), 1e-3).double()),
    )
    with pytest.raises(DifferentiationError, match="batch element"):
        x.sum().backward()


def test_sparse_and_dense_systems_give_one_derivative():
    """Two factorisations of the same conditions."""
    cones, n = CONES["mixture"]
    program, _, y, s = random_program(cones, n)
    at = adjoint.decompose(cones, s - y)
    r1, r2 = torch.randn(3, n, dtype=torch.float64), torch.randn(3, cones.rows, dtype=torch.float64)
    dense, thin = (system.factor(program, at) for system in (ConicSystem, SparseSystem))
    for ours, other in zip(dense.solve(r1, r2, 2), thin.solve(r1, r2, 2), strict=True):
        assert (ours - other).abs().max() < 1e-11


def test_large_sparse_programs_are_solved_and_differentiated():
    """300 copies of one projection side by side: what each gives alone."""
    count = 300
    v = torch.randn(3 * count, dtype=torch.float64)
    eye = torch.eye(3 * count, dtype=torch.float64)
    program = sparse(eye, -v.unsqueeze(0), -eye, torch.zeros(1, 3 * count).double(), Cones(soc=(3,) * count))
    assert pays(program.structure)
    q = program.q.clone().requires_grad_()
    x = answers(program, program.P, q, program.A, program.b)[0]
    weight = torch.randn(1, 3 * count, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((x * weight).sum(), q)
    at = adjoint.decompose(Cones(soc=(3,) * count), v.unsqueeze(0))
    assert (x - at.s).abs().max() < 1e-12
    assert (
        gradient + at.out(at.inside.unsqueeze(-1) * at.into(weight.unsqueeze(-1))).squeeze(-1)
    ).abs().max() < 1e-11
