"""Our engines inside cvxpylayers: a solver that its CvxpyLayer takes, for programs that shall keep that layer.

cvxpylayers 1.2.0 compiles a problem with CVXPY and hands a custom solver (its `SolverInterface`) the values of P, q and
[A b] in CVXPY's own order and sign, Ax + b ∈ K, and wants a primal and a dual solution, and later their cotangents
turned into those of the values. Here the values become a cone program (or a quadratic program, where all cones are
linear) of ours, and its derivative is that of our layers.

Everything that cvxpylayers does before and after stays as it is: shared parameters are expanded over the batch, and
there are no second derivatives. :class:`layers.ConvexLayer` has neither limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from cvxpylayers.interfaces.base import SolverInterface
from torch import Tensor

from layers.cone.function import solve_cone_program
from layers.cone_program import ConeProgram, Cones, ConeStructure, Indices
from layers.convex.canonical.squares import lost_square
from layers.convex.options import Options, solver_name, uses_qp, with_solver_args
from layers.errors import LayerError, ProblemError
from layers.linalg.semidefinite import check_curvature
from layers.qp_layer import solve_qp


@dataclass(frozen=True)
class _Form:
    """The compiled program: its structure, and where cvxpylayers keeps the values of it.

    Attributes
    ----------
    structure : ConeStructure
    P, A, b : array of int64
        Places of our values among theirs; those of b are in the values of A.
    b_rows : array of int64
        Rows of b that have a value.
    rows : array of int64, shape ``(m,)``
        Our row for each of theirs.
    curved_by : array of int64, optional
        Variables in P where its values depend on parameters, whose signs nobody has checked; None where P is not there,
        or constant, which CVXPY has found convex.
    """

    structure: ConeStructure
    P: Indices
    A: Indices
    b: Indices
    b_rows: Indices
    rows: Indices
    curved_by: Indices | None


class CvxpylayersSolver(SolverInterface):  # pyright: ignore[reportUntypedBaseClass]
    """Our engines as a ``solver=`` of ``cvxpylayers.torch.CvxpyLayer`` 1.2.0; one for each layer.

    Parameters
    ----------
    solver, adjoint, tol, max_iterations
        As in :class:`layers.ConvexLayer`. The layer's ``solver_args`` in the names of other solvers are understood.

    Raises
    ------
    LayerError
        If an option is not one of those that exist, or one instance is given to a second layer.
    ProblemError
        When the layer is made, if CVXPY compiled to something that the cone form does not hold.
    SolverError
        In a call, naming the elements of the batch that could not be solved.
    ProblemError
        In a call, if parameters make the quadratic part of the objective indefinite: CVXPY knows the sign that a
        parameter is declared to have, and cvxpylayers does not hold its value to it.

    Examples
    --------
    >>> from cvxpylayers.torch import CvxpyLayer
    >>> layer = CvxpyLayer(problem, [y], [x], solver=CvxpylayersSolver())  # doctest: +SKIP
    """

    # What CVXPY compiles for. Clarabel's rows would be ours as they are, but cvxpylayers reads the dual variable of a
    # semidefinite constraint in the order of SCS, whatever it was compiled for.
    canon_solver = "SCS"
    supports_quad_obj = True

    def __init__(
        self, solver: str = "auto", adjoint: str = "auto", tol: float = 1e-8, max_iterations: int = 100
    ) -> None:
        self.options = Options(solver_name(solver), adjoint, tol, max_iterations, "raise")
        self._form: _Form | None = None

    def setup(self, ctx: Any) -> None:
        """Take the structure of the layer's compiled program; cvxpylayers calls this once."""
        if self._form is not None:
            raise LayerError("this CvxpylayersSolver belongs to a layer already: make one for each layer")
        _refuse_lost_squares(ctx.problem.objective.expr)
        self._form = _form(ctx)
        uses_qp(self.options, self._form.structure.cones)

    def solve_torch_batch(
        self,
        P: Tensor | None,
        q: Tensor,
        A: Tensor,
        dims: Any,
        solver_args: Mapping[str, Any],
        needs_grad: bool,
    ) -> tuple[Tensor, Tensor, Any]:
        """Solve a batch; `P`, `q`, `A` are the values of the compiled program, (batch, entries) each."""
        form, options = self._form, with_solver_args(self.options, solver_args)
        assert form is not None, "cvxpylayers calls setup first"
        values = [q.new_zeros(len(q), 0) if t is None else t for t in (P, q, A)]
        leaves = [t.detach().double().requires_grad_(needs_grad) for t in values]
        # cvxpylayers calls from inside an autograd.Function, where nothing is recorded.
        with torch.set_grad_enabled(needs_grad):
            program = _program(form, *leaves)
            if form.curved_by is not None and not uses_qp(options, form.structure.cones):
                _require_convex(program, form.curved_by, torch.finfo(q.dtype).eps)
            x, y = _solve(program, options)
            y = y[:, torch.from_numpy(form.rows)]
        return x.detach().to(q.dtype), y.detach().to(q.dtype), (P is None, leaves, x, y)

    def derivative_torch_batch(
        self, dprimal: Tensor, ddual: Tensor, saved_state: Any
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """Cotangents of primal and dual solution to those of the values of P, q and A."""
        linear, leaves, x, y = saved_state
        gradients = torch.autograd.grad(
            (x, y), leaves, (dprimal.double(), ddual.double()), retain_graph=True, materialize_grads=True
        )
        dP, dq, dA = (gradient.to(dprimal.dtype) for gradient in gradients)
        return None if linear else dP, dq, dA


def _refuse_lost_squares(objective: Any) -> None:
    if lost := lost_square(objective):
        term, variable = lost
        raise ProblemError(
            f"CVXPY loses {term} when it compiles, because {variable} is declared symmetric, semidefinite, diagonal "
            f"or sparse; write 1 * {variable} there"
        )


def _form(ctx: Any) -> _Form:
    """Read the structure out of cvxpylayers' context, after making sure that nothing is left out."""
    dims = ctx.cone_dims
    cones = Cones(
        dims.zero, dims.nonneg, tuple(dims.soc), tuple(dims.psd), dims.exp, tuple(float(a) for a in dims.p3d)
    )
    rows, cols, (m, width) = _pattern(ctx.reduced_A.problem_data_index)
    n = width - 1
    if cones.rows != m or dims.pnd:
        raise ProblemError(
            f"CVXPY's cone program has {m} rows, of which the cone form understands {cones.rows}: this version of "
            "CVXPY is not supported inside cvxpylayers"
        )
    place = _rows(cones)
    rows = place[rows]
    linear = ctx.reduced_P.reduced_mat is None
    none = np.zeros(0, dtype=np.int64)
    P_rows, P_cols, _ = (none, none, None) if linear else _pattern(ctx.reduced_P.problem_data_index)
    P, A = _sorted(P_rows, P_cols, np.ones(P_rows.size, dtype=bool)), _sorted(rows, cols, cols < n)
    b = np.flatnonzero(cols == n)
    structure = ConeStructure(n, m, cones, P_rows[P], P_cols[P], rows[A], cols[A])
    return _Form(structure, P, A, b, rows[b], place, _curved_by(ctx.reduced_P, P_rows))


def _curved_by(reduced_P: Any, P_rows: Indices) -> Indices | None:
    """The variables of P if a parameter is in it; the last column of their map is the constant."""
    values = reduced_P.reduced_mat
    return None if values is None or values[:, :-1].nnz == 0 else np.unique(P_rows)


def _require_convex(program: ConeProgram, variables: Indices, precision: float) -> None:
    """Refuse a P that is not positive semidefinite.

    Cost: that of its entries where it is diagonal, k³/3 per element for the k variables that it holds elsewhere.
    Nothing is asked of a constant P.
    """
    s, values = program.structure, program.P.detach()
    if np.array_equal(s.P_rows, s.P_cols):
        # as a matrix for each entry: the smallest is an eigenvalue
        size = values.abs().amax(-1, keepdim=True)
        worst = values.amin(-1, keepdim=True)
        check_curvature(torch.diag_embed(torch.cat([size, worst], dim=-1)), precision, "P")
        return
    rows, cols = np.searchsorted(variables, s.P_rows), np.searchsorted(variables, s.P_cols)
    check_curvature(_dense(values, rows, cols, (variables.size, variables.size)), precision, "P")


def _rows(cones: Cones) -> Indices:
    """Our row for each row of SCS, which takes the lower triangle of a matrix by columns, and we the upper one."""
    place = np.arange(cones.rows, dtype=np.int64)
    start = cones.zero + cones.nonneg + sum(cones.soc)
    for order in cones.psd:
        column, row = np.triu_indices(order)
        # By symmetry entry (row, column) of the lower triangle is (column, row) of the upper.
        place[start : start + row.size] = start + row * (row + 1) // 2 + column
        start += row.size
    return place


def _pattern(index: Any) -> tuple[Indices, Indices, tuple[int, int]]:
    """Rows, columns and shape of a matrix that is given by its columns (CSC)."""
    indices, offsets, shape = index
    columns = np.repeat(np.arange(shape[1], dtype=np.int64), np.diff(offsets))
    return np.asarray(indices, dtype=np.int64), columns, shape


def _sorted(rows: Indices, cols: Indices, kept: Any) -> Indices:
    """The kept entries by column, then row."""
    order = np.lexsort((rows, cols))
    return order[kept[order]]


def _program(form: _Form, P: Tensor, q: Tensor, A: Tensor) -> ConeProgram:
    """Our cone program: CVXPY's Ax + b ∈ K is our s = b − Ax ∈ K; the last entry of q is a constant."""
    s = form.structure
    b = A.new_zeros(len(A), s.m).index_copy(1, torch.from_numpy(form.b_rows), A[:, form.b])
    return ConeProgram(s, P[:, form.P], q[:, : s.n], -A[:, form.A], b)


def _solve(program: ConeProgram, options: Options) -> tuple[Tensor, Tensor]:
    """Primal and dual solution: by the QP layer where all rows are linear, else by a conic engine."""
    limits: dict[str, Any] = {"tol": options.tol, "max_iterations": options.max_iterations}
    s = program.structure
    if not uses_qp(options, s.cones):
        adjoint = options.derivative_of_cones()
        found = solve_cone_program(program, solver=options.solver, adjoint=adjoint, **limits)
        return found.x, found.y
    p = s.cones.zero
    Q = _dense(program.P, s.P_rows, s.P_cols, (s.n, s.n))
    rows = _dense(program.A, s.A_rows, s.A_cols, (s.m, s.n))
    data = (Q, program.q, rows[:, p:], program.b[:, p:], rows[:, :p], program.b[:, :p])
    solution = solve_qp(*data, solver=options.solver, adjoint=options.adjoint, **limits)
    return solution.z, torch.cat([solution.nu, solution.lam], -1)


def _dense(values: Tensor, rows: Indices, cols: Indices, shape: tuple[int, int]) -> Tensor:
    """Matrices with the given entries, (batch, *shape)."""
    places = torch.from_numpy(rows * shape[1] + cols)
    return (
        values.new_zeros(len(values), shape[0] * shape[1]).index_copy(1, places, values).unflatten(1, shape)
    )
