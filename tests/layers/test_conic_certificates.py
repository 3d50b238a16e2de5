"""Certificates of programs with curved cones: what polishing leaves of a proof, and programs of one variable."""

from __future__ import annotations

from math import e, log

import cvxpy as cp
import pytest
import torch

from layers import ConvexLayer, SolverError
from layers.cone.certificates import TOLERANCE, infeasibility, unboundedness
from layers.cone.polish import polish_certificates
from layers.cone_program import ConeProgram, Cones
from tests.layers.conic_instances import sparse

double = torch.float64


@pytest.fixture(autouse=True)
def _engine() -> None:
    """No engine for quadratic programs takes part: each test runs once."""


def bounded_exponential(bound: float) -> ConeProgram:
    """x ≥ 1 and exp(x) ≤ bound, in an exponential cone (x, 1, bound): two of its rows hold no variable."""
    A = torch.tensor([[-1.0], [-1.0], [0.0], [0.0]], dtype=double)
    b = torch.tensor([[-1.0, 0.0, 1.0, bound]], dtype=double)
    return sparse(torch.zeros(1, 1).double(), torch.zeros(1, 1).double(), A, b, Cones(nonneg=1, exp=1))


@pytest.mark.parametrize("bound", [0.1, 2.0])
def test_polishing_keeps_what_a_proof_has_on_rows_without_a_variable(bound: float):
    """exp(x) ≥ e x, so bound − e < 0 proves it: inside the dual cone with 1.001 for 1, and Aᵀy off by 1e-6."""
    program = bounded_exponential(bound)
    exact = torch.tensor([[e, -e, 0.0, 1.001]], dtype=double)
    assert infeasibility(program, exact)[1] <= 1e-15
    near = exact * torch.tensor([[1 + 1e-6, 1.0, 1.0, 1.0]], dtype=double)
    assert infeasibility(program, near)[1] > TOLERANCE
    wanted = torch.ones(1, dtype=torch.bool)
    _, polished = polish_certificates(program, torch.zeros(1, 1).double(), near, wanted)
    assert (polished - exact).abs().max() < 1e-5
    assert infeasibility(program, polished)[1] <= 1e-14


@pytest.mark.parametrize("beyond", [1e-1, 1e-3, 1e-5])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_a_bound_below_the_least_value_is_infeasible_and_one_above_is_not(beyond: float, size: float):
    """x log x − 2x ≥ −e with equality at e; of a sum of two such terms the least value is the sum."""
    x, bound = cp.Variable(2), cp.Parameter()
    terms = size * cp.sum(-cp.entr(x) - 2 * x)
    layer = ConvexLayer(cp.Problem(cp.Minimize(cp.sum(x)), [terms <= bound]), [bound], [x])
    least = -2 * e * size
    with pytest.raises(SolverError, match="INFEASIBLE"):
        layer(torch.tensor(least - beyond * size, dtype=double))
    (found,) = layer(torch.tensor(least + beyond * size, dtype=double))
    assert found.isfinite().all()


def test_programs_of_one_variable_have_certificates():
    """1/x ≤ −1 has no solution, −log x no lower bound; no row of numbers is along the ray."""
    x, p = cp.Variable(), cp.Parameter()
    one = torch.tensor(-1.0, dtype=double)
    empty = ConvexLayer(cp.Problem(cp.Minimize(cp.square(x)), [cp.inv_pos(x) <= p]), [p], [x])
    with pytest.raises(SolverError, match="INFEASIBLE"):
        empty(one)
    falls = ConvexLayer(cp.Problem(cp.Minimize(-cp.log(x) + p * x)), [p], [x])
    with pytest.raises(SolverError, match="UNBOUNDED"):
        falls(one)
    (found,) = falls(-one * log(2))
    assert found.item() == pytest.approx(1 / log(2), rel=1e-9)


def test_a_ray_of_one_variable_is_polished():
    """minimise −t over 1 ≤ t, as an exponential cone (0, 1, t): what the ray has to leave has one row or none."""
    program = sparse(
        torch.zeros(1, 1).double(),
        -torch.ones(1, 1).double(),
        torch.tensor([[0.0], [0.0], [-1.0]], dtype=double),
        torch.tensor([[0.0, 1.0, 0.0]], dtype=double),
        Cones(exp=1),
    )
    ray, none = torch.ones(1, 1).double(), torch.zeros(1, 3).double()
    polished, _ = polish_certificates(program, ray, none, torch.ones(1, dtype=torch.bool))
    assert unboundedness(program, polished)[1] <= 1e-15
