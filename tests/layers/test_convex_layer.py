"""ConvexLayer solves what CVXPY solves: variables, dual variables, objective, and their derivatives."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from layers import ConvexLayer, Status
from tests.layers.programs import PROGRAMS, Program

pytestmark = pytest.mark.filterwarnings("ignore:Reading from a sparse CVXPY expression:RuntimeWarning")

TIGHT = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}


def layer_of(program: Program, **options) -> ConvexLayer:
    return ConvexLayer(program.problem, program.parameters, program.variables, gp=program.gp, **options)


def cvxpy_values(program: Program, tensors: list[torch.Tensor]) -> tuple[list[np.ndarray], float]:
    """Variables, dual variables and objective by CVXPY with Clarabel."""
    program.set_values(tensors)
    program.problem.solve(solver=cp.CLARABEL, gp=program.gp, **TIGHT)
    values = [v.value.toarray() if sp.issparse(v.value) else v.value for v in program.variables]
    return values, program.problem.value


@pytest.mark.parametrize("name", PROGRAMS)
def test_variables_duals_and_objective_are_those_of_cvxpy(name: str):
    program = PROGRAMS[name]()
    tensors = program.tensors(seed=0, batch=(3,))
    solution = layer_of(program).solve(*tensors)
    assert (solution.status == Status.OPTIMAL).all()
    for i in range(3):
        values, objective = cvxpy_values(program, [t[i] for t in tensors])
        assert solution.objective[i].item() == pytest.approx(objective, rel=1e-7, abs=1e-7)
        for found, expected in zip(solution.variables, values, strict=True):
            np.testing.assert_allclose(found[i], np.reshape(expected, found[i].shape), rtol=1e-5, atol=1e-5)
