"""Canonical form of a disciplined parametrized program: affine maps from its parameters to the data of a cone program.

A DPP program with parameters θ has the affine–solver–affine form x(θ) = R s(C θ) of Agrawal et al. (2019,
arXiv 1910.12430, section 3.2), where C takes the parameters to the data (P, q, A, b) of

    minimise ½xᵀPx + qᵀx subject to Ax + s = b, s ∈ K,

s solves, and R takes the solution back to the variables. CVXPY finds C and R once; here they are cut out of what it
returns, as plain arrays. Nothing of CVXPY is needed, or kept, afterwards.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import cvxpy as cp
import numpy as np
from cvxpy.reductions.dgp2dcp.dgp2dcp import Dgp2Dcp

from layers.cone_program import Cones, ConeStructure, Indices
from layers.convex.canonical.advice import explain_failure
from layers.convex.canonical.affine import AffineMap, Entries, affine, entries_of, on_pattern
from layers.convex.canonical.assembly import Block
from layers.convex.canonical.cone_form import CONE_FORM, ORDER
from layers.convex.canonical.squares import keep_squares
from layers.errors import ProblemError
from layers.policy import require_choice

#: CVXPY's own ways to compile
CANON_BACKENDS = ("CPP", "SCIPY", "COO", "RUST")

VERSION = version("cvxpy")


@dataclass(frozen=True)
class Source:
    """A piece of θ: a parameter (by its place in the list that the caller gave), or its logarithm."""

    parameter: int
    logarithm: bool


@dataclass(frozen=True)
class CanonicalProgram:
    """What a parametrized problem is compiled to.

    Attributes
    ----------
    structure : ConeStructure
        Sizes, cones and patterns.
    P, q, A, b : AffineMap
        θ ↦ values of P and A on their patterns, q and b.
    offset : AffineMap
        θ ↦ the constant term of the objective, shape ``(1,)``.
    sources : tuple of Source
        What θ consists of, in order; each piece is a parameter's entries in row-major order.
    maximise, gp : bool
        The caller's objective is −(½xᵀPx + qᵀx + offset) if ``maximise``, and the exponential of that if ``gp``.
    """

    structure: ConeStructure
    P: AffineMap
    q: AffineMap
    A: AffineMap
    b: AffineMap
    offset: AffineMap
    sources: tuple[Source, ...]
    maximise: bool
    gp: bool

    @property
    def blocks(self) -> dict[str, Block]:
        """The affine maps by name, values on the patterns as vectors."""
        vectors = {"P": self.P, "q": self.q, "A": self.A, "b": self.b}
        blocks = {name: Block(values, (values.size,)) for name, values in vectors.items()}
        return blocks | {"offset": Block(self.offset, ())}


@dataclass(frozen=True)
class Compiled:
    """CVXPY's own objects, for the retrieval maps: its program, and the way from the caller's names to its own."""

    program: Any
    variable_ids: dict[int, list[int]]
    constraint_ids: dict[int, int]


def compile_problem(
    problem: cp.Problem,
    parameters: list[cp.Parameter],
    *,
    gp: bool = False,
    canon_backend: str | None = None,
    verbose: bool = False,
) -> tuple[CanonicalProgram, Compiled]:
    """Compile a DPP problem once, whatever values its parameters will take.

    Parameters
    ----------
    problem : cvxpy.Problem
        Disciplined; :func:`layers.convex.canonical.disciplined.check_problem` says so, or why not.
    parameters : list of cvxpy.Parameter
        In the order in which their values will be given.
    gp : bool
        Compile as a geometric program, in logarithms.
    canon_backend, verbose
        Passed to CVXPY.

    Raises
    ------
    ProblemError
        If CVXPY's program has a part that the cone form cannot hold: nothing is dropped.
    """
    if canon_backend is not None:
        require_choice("canon_backend", canon_backend, CANON_BACKENDS)
    data, chain = _by_cvxpy(problem, gp=gp, canon_backend=canon_backend, verbose=verbose)
    program = data["param_prob"]
    cones = _cones(program)
    logs = chain.get(Dgp2Dcp).param_id_map if gp else {}
    sources, columns = _columns(parameters, program, chain.compose_param_id_map(), logs)
    n, m = program.x.size, cones.rows
    A_rows, A_cols, A, b = _constraint_maps(program, columns, n, m)
    P_rows, P_cols, P = _quadratic_map(program, columns, n)
    linear = entries_of(program.q, columns)
    canonical = CanonicalProgram(
        structure=ConeStructure(n, m, cones, P_rows, P_cols, A_rows, A_cols),
        P=P,
        q=affine(linear.take(linear.rows < n), n),
        A=A,
        b=b,
        offset=affine(linear.take(linear.rows == n).moved(-n), 1),
        sources=sources,
        maximise=isinstance(problem.objective, cp.Maximize),
        gp=gp,
    )
    return canonical, Compiled(program, chain.compose_var_id_map(), chain.compose_constr_id_map())


def _by_cvxpy(problem: cp.Problem, **options: Any) -> tuple[dict[str, Any], Any]:
    """CVXPY's data and chain of reductions for the cone form.

    CVXPY keeps with a problem what it compiled, and next time updates it by the values of the parameters: in a
    geometric program by their logarithms, of which there are none without values. So a problem of the same objective
    and constraints is compiled, which nobody sees afterwards, and the caller's stays as it is.
    """
    kept = keep_squares(problem)
    # CVXPY declares a name where we pass a solver, and takes solvers of other people too.
    compiling: Any = cp.Problem(kept.objective, kept.constraints).get_problem_data
    with without_values(kept.variables()), warnings.catch_warnings():
        # It looks at sparse parameters by the way that it discourages itself.
        warnings.filterwarnings("ignore", "Reading from a sparse CVXPY expression", RuntimeWarning)
        try:
            data, chain, _ = compiling(solver=CONE_FORM, **options)
        except Exception as error:  # whatever CVXPY fails with: an assertion, a missing entry of a table
            raise ProblemError(explain_failure(problem, error)) from error
    return data, chain


@contextmanager
def without_values(variables: Sequence[Any]) -> Generator[None]:
    """Variables without the values that an earlier solve has left, until the end.

    CVXPY 1.9.2 sets out from them where it compiles for nonlinear solvers, and does so for all others: sum_largest of
    a matrix, or of all entries, then fails with an index that is out of range.
    """
    values = [v.value if v.sparse_idx is None else v.value_sparse for v in variables]
    for variable in variables:
        variable.save_value(None)
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.save_value(value, variable.sparse_idx is not None and value is not None)


def _cones(program: Any) -> Cones:
    """The cones, after making sure that they are all of the constraints, in the order of the rows."""
    bounds = (program.lower_bounds, program.upper_bounds, program.lb_tensor, program.ub_tensor)
    if any(bound is not None for bound in bounds):
        raise ProblemError(
            "CVXPY returned bounds of variables beside the constraints, which the cone form does not hold; "
            "write them as constraints"
        )
    dims = program.cone_dims
    places = [ORDER.index(type(c)) if type(c) in ORDER else -1 for c in program.constraints]
    cones = Cones(
        dims.zero, dims.nonneg, tuple(dims.soc), tuple(dims.psd), dims.exp, tuple(float(a) for a in dims.p3d)
    )
    rows = program.A.shape[0] // (program.x.size + 1)
    if -1 in places or places != sorted(places) or cones.rows != rows or dims.pnd:
        kinds = sorted({type(c).__name__ for c in program.constraints})
        raise ProblemError(
            f"CVXPY's cone program has {rows} rows of kinds {', '.join(kinds)}; the cone form understands "
            f"{cones.rows} of them: this version of CVXPY ({VERSION}) is not supported"
        )
    return cones


def _columns(
    parameters: list[cp.Parameter],
    program: Any,
    parameter_ids: dict[int, list[int]],
    logs: dict[int, list[int]],
) -> tuple[tuple[Source, ...], Indices]:
    """Which pieces θ has, and for every column of CVXPY's maps its place in θ; −1 for the constant."""
    translation = np.full(program.total_param_size + 1, -2, dtype=np.int64)
    translation[-1] = -1
    sources: list[Source] = []
    offset = 0
    for place, parameter in enumerate(parameters):
        candidates = {**dict.fromkeys(parameter_ids.get(parameter.id, ()), False), parameter.id: False}
        candidates |= dict.fromkeys(logs.get(parameter.id, ()), True)
        used = {i: log for i, log in candidates.items() if i in program.param_id_to_col}
        for identifier, logarithm in used.items():
            start = program.param_id_to_col[identifier]
            lowered = lowered_index(parameter)
            translation[start : start + lowered.size] = offset + lowered
            sources.append(Source(place, logarithm))
            offset += parameter.size
        if not used:
            # A parameter that cancelled: it stays in θ, so that its gradient is zero and not absent.
            sources.append(Source(place, logarithm=False))
            offset += parameter.size
    if (translation == -2).any():
        raise ProblemError(
            "CVXPY's cone program has parameters that do not come from the list `parameters`: "
            f"this version of CVXPY ({VERSION}) is not supported"
        )
    return tuple(sources), translation


def lowered_index(leaf: cp.Variable | cp.Parameter) -> Indices:
    """Row-major places of the entries of a parameter that CVXPY keeps, in its order (column-major, one triangle)."""
    place = np.arange(leaf.size, dtype=np.int64).reshape(leaf.shape)
    attributes = leaf.attributes
    if any(attributes[kind] for kind in ("symmetric", "PSD", "NSD")):
        rows, cols = np.triu_indices(leaf.shape[-1])
        return place[..., rows, cols].ravel(order="F")
    if attributes["diag"]:
        return np.diagonal(place).copy()
    if attributes["sparsity"]:
        return place[leaf.sparse_idx].ravel()
    return place.ravel(order="F")


def _constraint_maps(
    program: Any, columns: Indices, n: int, m: int
) -> tuple[Indices, Indices, AffineMap, AffineMap]:
    # CVXPY keeps [A b] of s = Ax + b, column by column; the cone form is Ax + s = b, so A changes its sign.
    entries = entries_of(program.A, columns)
    in_A = entries.rows < m * n
    A = entries.take(in_A)
    rows, cols, values = on_pattern(Entries(A.rows, A.columns, -A.weights), m)
    return rows, cols, values, affine(entries.take(~in_A).moved(-m * n), m)


def _quadratic_map(program: Any, columns: Indices, n: int) -> tuple[Indices, Indices, AffineMap]:
    if program.P is None:
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty, AffineMap(np.zeros(0), empty, empty, np.zeros(0))
    entries = entries_of(program.P, columns)
    # xᵀPx sees the symmetric part only, and the cone form keeps both triangles.
    mirrored = (entries.rows % n) * n + entries.rows // n
    both = Entries(
        np.concatenate([entries.rows, mirrored]),
        np.concatenate([entries.columns, entries.columns]),
        0.5 * np.concatenate([entries.weights, entries.weights]),
    )
    return on_pattern(both, n)
