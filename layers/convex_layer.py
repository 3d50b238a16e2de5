"""Any disciplined parametrized convex program as a layer: the interface of cvxpylayers on checked engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from math import prod
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor, nn

from layers.canonical import (
    Assembly,
    ParameterSpec,
    QuadraticForm,
    Retriever,
    check_call,
    check_problem,
    compile_problem,
    conic_form,
    inspect_values,
    quadratic_form,
    retrieve,
)
from layers.convex import (
    Answer,
    ConvexSolution,
    Options,
    solve_conic,
    solve_quadratic,
    solver_name,
    uses_qp,
    with_solver_args,
    without_graph,
)
from layers.errors import ProblemError, SolverError
from layers.opaque import opaque
from layers.solution import Residuals, Status


class ConvexLayer(nn.Module):
    """The solution of a parametrized convex program as a differentiable function of its parameters.

    x*(θ) = argmin f₀(x, θ) subject to fᵢ(x, θ) ≤ 0, gⱼ(x, θ) = 0, written in CVXPY under the rules of DPP. It takes the
    arguments of ``cvxpylayers.torch.CvxpyLayer`` 1.2.0, so that a program runs after its import line is changed.

    Parameters
    ----------
    problem : cvxpy.Problem
        Disciplined and parametrized (DPP); ``quad_form`` with a parameter declared PSD is allowed in the objective.
    parameters : list of cvxpy.Parameter
        All parameters of the problem, in the order of the tensors of a call.
    variables : list of cvxpy.Variable
        What a call returns: variables of the problem, and dual variables of its constraints.
    solver : str, optional
        ``"auto"``: programs with linear constraints go to :func:`layers.solve_qp`, others to a conic engine. Also the
        names of :func:`layers.engines`, and ``"clarabel"``, ``"moreau"``, ``"diffcp"``, in any case.
    gp : bool
        The problem is a geometric program (DGP); it is solved in logarithms.
    verbose : bool
        CVXPY tells how it compiles.
    canon_backend : str, optional
        CVXPY's backend for compiling.
    solver_args : dict, optional
        Arguments in other solvers' names, ``eps``, ``max_iters``, …: :func:`layers.convex.with_solver_args`.
    adjoint, tol, max_iterations, on_failure
        As in :func:`layers.solve_qp`.

    Raises
    ------
    ProblemError
        If the problem is not DPP, naming the expression and a form that works; if the lists do not fit the problem.
    LayerError
        If an option is not one of those that exist.

    Notes
    -----
    CVXPY compiles once, here, to the affine–solver–affine form of Agrawal et al. (2019, arXiv 1910.12430): a call costs
    one sparse product from parameters to data, one solve, and one gather from the solution to the variables, for the
    whole batch. Nothing of CVXPY is kept; the layer can be copied and pickled. Where the solution is not
    differentiable, see :func:`layers.solve_qp`.

    Examples
    --------
    >>> import cvxpy as cp
    >>> import torch
    >>> x, y = cp.Variable(3), cp.Parameter(3)
    >>> problem = cp.Problem(cp.Minimize(cp.sum_squares(x - y)), [x >= 0, cp.sum(x) == 1])
    >>> layer = ConvexLayer(problem, parameters=[y], variables=[x])
    >>> (projection,) = layer(torch.tensor([2.0, 1.0, -1.0]))
    >>> projection
    tensor([1., 0., 0.])
    """

    def __init__(
        self,
        problem: cp.Problem,
        parameters: Sequence[cp.Parameter],
        variables: Sequence[cp.Variable],
        solver: str | None = "auto",
        gp: bool = False,
        verbose: bool = False,
        canon_backend: str | None = None,
        solver_args: Mapping[str, Any] | None = None,
        *,
        adjoint: str = "auto",
        tol: float = 1e-8,
        max_iterations: int = 100,
        on_failure: str = "raise",
    ) -> None:
        super().__init__()
        check_problem(problem, parameters, variables, gp=gp)
        canonical, compiled = compile_problem(
            problem, list(parameters), gp=gp, canon_backend=canon_backend, verbose=verbose
        )
        self.options = with_solver_args(
            Options(solver_name(solver), adjoint, tol, max_iterations, on_failure), solver_args or {}
        )
        self._structure = canonical.structure
        self._sources, self._maximise, self._gp = canonical.sources, canonical.maximise, gp
        linear = uses_qp(self.options, canonical.structure.cones)
        self._form = quadratic_form(canonical) if linear else conic_form(canonical)
        self._specs = tuple(ParameterSpec.of(p) for p in parameters)
        self._declared = [i for i, spec in enumerate(self._specs) if spec.declared]
        widths = [self._specs[source.parameter].size for source in canonical.sources]
        self._assembly = Assembly(self._form.blocks, widths)
        self._retriever = Retriever(
            retrieve(problem, variables, compiled), self._form.pieces, canonical.structure.n
        )
        self._last: Any = None

    @opaque
    def forward(
        self,
        *tensors: Tensor,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | ConvexSolution = False,
    ) -> tuple[Tensor, ...]:
        """The variables; see :meth:`solve`."""
        answer, batch = self._answer(tensors, solver_args, warm_start)
        return self._variables(answer, batch, _common_dtype(tensors))

    @opaque
    def solve(
        self,
        *tensors: Tensor,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | ConvexSolution = False,
    ) -> ConvexSolution:
        """Solve for these values of the parameters.

        Parameters
        ----------
        *tensors : Tensor, shapes ``batch + parameter.shape``
            One per parameter; a tensor without batch axes is shared over the batch, and gets the sum of the gradients.
            The arithmetic inside is float64, the answer in the dtype of the tensors.
        solver_args : dict, optional
            For this call; as at construction.
        warm_start : bool or ConvexSolution
            Start from that solution, or, if True, from that of the last call with ``warm_start``. The answer meets the
            same checks.

        Raises
        ------
        ProblemError
            If number, shape, dtype or values of the tensors are not those of the parameters.
        SolverError
            With ``on_failure="raise"``, naming the batch elements that are infeasible, unbounded or not solved.
        """
        answer, batch = self._answer(tensors, solver_args, warm_start)
        return self._solution(answer, batch, _common_dtype(tensors))

    def _answer(
        self,
        tensors: Sequence[Tensor],
        solver_args: Mapping[str, Any] | None,
        warm_start: bool | ConvexSolution,
    ) -> tuple[Answer, torch.Size]:
        """Parameters to data, data to solution."""
        options = with_solver_args(self.options, solver_args) if solver_args else self.options
        batch = check_call(self._specs, tensors)
        blocks = self._assembly(self._theta(tensors, batch), batch)
        warm = None
        if warm_start:
            warm = warm_start.warm if isinstance(warm_start, ConvexSolution) else self._last
        try:
            if isinstance(self._form, QuadraticForm):
                answer = solve_quadratic(self._form, blocks, options, warm)
            else:
                answer = solve_conic(self._form, blocks, batch, options, warm)
        except ProblemError:
            # The engine names its own data: say which parameter they come from.
            inspect_values(self._specs, tensors)
            raise
        except SolverError as error:
            if _common_dtype(tensors) == torch.float64 or Status.INFEASIBLE.name not in str(error):
                raise
            raise SolverError(
                f"{error}\nThe tensors were not float64: constraints that follow from one another in exact numbers "
                "contradict each other by their rounding; compute their values in float64."
            ) from error
        if warm_start:
            self._last = without_graph(answer.found)
        return answer, batch

    def _theta(self, tensors: Sequence[Tensor], batch: torch.Size) -> list[Tensor]:
        """The pieces of θ: each parameter, or its logarithm, row-major; without batch axis where it is shared."""
        declared = self._declared
        if declared:
            inspect_values([self._specs[i] for i in declared], [tensors[i] for i in declared])
        theta: list[Tensor] = []
        for source in self._sources:
            spec, value = self._specs[source.parameter], tensors[source.parameter].double()
            if spec.symmetric:
                value = 0.5 * (value + value.mT)
            if source.logarithm:
                value = value.log()
            if value.numel() == spec.size:
                theta.append(value.reshape(spec.size))
            else:
                theta.append(value.expand(*batch, *spec.shape).reshape(batch.numel(), spec.size))
        return theta

    def _variables(self, answer: Answer, batch: torch.Size, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """What the layer was asked for, as the caller wrote it."""
        retriever = self._retriever
        entries = retriever(answer.pieces)
        if self._gp:
            entries = [v if dual else v.exp() for v, dual in zip(entries, retriever.dual, strict=True)]
        return tuple(_shaped(v, batch, s).to(dtype) for v, s in zip(entries, retriever.shapes, strict=True))

    def _solution(self, answer: Answer, batch: torch.Size, dtype: torch.dtype) -> ConvexSolution:
        """All that is known of the solution, in the caller's batch axes and dtype."""
        n, m, found = self._structure.n, self._structure.m, answer.found
        order = torch.as_tensor(np.argsort(np.concatenate(self._form.pieces)))
        whole = torch.cat([piece() for piece in answer.pieces], -1)
        x, y = whole.index_select(-1, order.to(whole.device)).split_with_sizes([n, m], -1)
        objective = answer.objective()
        objective = -objective if self._maximise else objective
        error = found.residuals
        return ConvexSolution(
            variables=self._variables(answer, batch, dtype),
            objective=_shaped(objective.exp() if self._gp else objective, batch, ()).to(dtype),
            x=_shaped(x, batch, (n,)).to(dtype),
            y=_shaped(y, batch, (m,)).to(dtype),
            s=_shaped(answer.s(), batch, (m,)).to(dtype),
            status=_shaped(found.status, batch, ()),
            residuals=Residuals(*(_shaped(r, batch, ()) for r in (error.primal, error.dual, error.gap))),
            iterations=_shaped(found.iterations, batch, ()),
            warm=without_graph(found),
        )

    def extra_repr(self) -> str:
        """The sizes of the compiled program and the options, for ``print(layer)``."""
        s, o = self._structure, self.options
        options = f"solver={o.solver!r}, adjoint={o.adjoint!r}, tol={o.tol:g}, on_failure={o.on_failure!r}"
        return f"n={s.n}, m={s.m}, {options}"


def _common_dtype(tensors: Sequence[Tensor]) -> torch.dtype:
    return reduce(torch.promote_types, (t.dtype for t in tensors))


def _shaped(value: Tensor, batch: torch.Size, core: tuple[int, ...]) -> Tensor:
    """The value in the batch axes of the call, over which it is repeated if nothing in it depends on them."""
    if value.numel() != batch.numel() * prod(core):
        value = value.expand((batch.numel(), *value.shape))
    return value.reshape(batch + core)
