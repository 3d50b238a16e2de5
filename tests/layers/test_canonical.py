"""The affine maps of a compiled program against CVXPY's own numbers: nothing is dropped, added or moved."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from layers.canonical import Assembly, compile_problem
from layers.canonical.cone_form import CONE_FORM
from tests.layers.programs import PROGRAMS, Program

pytestmark = pytest.mark.filterwarnings("ignore:Reading from a sparse CVXPY expression:RuntimeWarning")


def assembled(program: Program, tensors: list[torch.Tensor]):
    """The canonical program and its blocks at these values."""
    canonical, compiled = compile_problem(program.problem, program.parameters, gp=program.gp)
    values = [tensors[s.parameter].log() if s.logarithm else tensors[s.parameter] for s in canonical.sources]
    theta = [v.reshape(-1) for v in values]
    blocks = Assembly(canonical.blocks, [v.numel() for v in theta])(theta, ())
    return canonical, compiled, {name: block.numpy() for name, block in blocks.items()}


def matrices(canonical, blocks):
    s = canonical.structure
    P = sp.coo_array((blocks["P"], (s.P_rows, s.P_cols)), shape=(s.n, s.n)).toarray()
    A = sp.coo_array((blocks["A"], (s.A_rows, s.A_cols)), shape=(s.m, s.n)).toarray()
    return P, blocks["q"], A, blocks["b"], blocks["offset"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_data_are_those_that_cvxpy_computes_for_these_values(name: str):
    program = PROGRAMS[name]()
    tensors = program.tensors(seed=0, batch=(1,))
    tensors = [t[0] for t in tensors]
    canonical, _, blocks = assembled(program, tensors)
    program.set_values(tensors)
    data, chain, _ = program.problem.get_problem_data(solver=CONE_FORM, gp=program.gp)
    for reduction in chain.reductions:
        reduction.update_parameters(program.problem)
    quadratic = data["param_prob"].P is not None
    *P, q, d, A, b = data["param_prob"].apply_parameters(quad_obj=quadratic)
    expected_P = P[0].toarray() if P else np.zeros((q.size, q.size))
    ours = matrices(canonical, blocks)
    for mine, theirs in zip(ours, (0.5 * (expected_P + expected_P.T), q, -A.toarray(), b, [d]), strict=True):
        assert np.abs(mine - theirs).max(initial=0.0) <= 1e-14
