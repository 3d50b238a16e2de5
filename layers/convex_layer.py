"""Any disciplined parametrized convex program as a layer: the interface of cvxpylayers on checked engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor, nn

from layers.cone.degeneracy import degeneracy
from layers.cone_program import ConeProgram, ConeSolution
from layers.convex import (
    Answer,
    ConvexSolution,
    Options,
    Route,
    keeps_sparsity,
    require_exportable,
    solve_conic,
    solve_directly,
    solve_quadratic,
    solver_name,
    starting_point,
    uses_qp,
    with_solver_args,
    without_graph,
)
from layers.convex.canonical import (
    Assembly,
    ParameterSpec,
    QuadraticForm,
    Retriever,
    check_call,
    check_problem,
    compile_problem,
    conic_form,
    flattened,
    inspect_values,
    parameters_in_quadratic,
    precision_of_constants,
    quadratic_form,
    retrieve,
    shaped,
)
from layers.errors import ProblemError, SolverError, refuse_inference
from layers.modes.opaque import opaque
from layers.modes.transforms import in_transform
from layers.policy import with_rounding
from layers.problem import common_dtype
from layers.qp.gradients import Adjoint
from layers.solution import Degeneracy, Residuals, Solution


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
        adjoint: str | Adjoint = "auto",
        tol: float = 1e-8,
        max_iterations: int = 100,
        on_failure: str = "raise",
    ) -> None:
        super().__init__()
        written = check_problem(problem, parameters, variables, gp=gp)
        canonical, compiled = compile_problem(
            written, list(parameters), gp=gp, canon_backend=canon_backend, verbose=verbose
        )
        precision = precision_of_constants(problem)
        options = Options(solver_name(solver), adjoint, tol, max_iterations, on_failure, precision=precision)
        self.options = with_solver_args(options, {} if solver_args is None else solver_args)
        self._structure = canonical.structure
        self._sources, self._maximise, self._gp = canonical.sources, canonical.maximise, gp
        linear = uses_qp(self.options, canonical.structure.cones)
        linear = linear and not keeps_sparsity(self.options, canonical)
        self._form = quadratic_form(canonical) if linear else conic_form(canonical)
        self._specs = tuple(ParameterSpec.of(p) for p in parameters)
        self._declared = [i for i, spec in enumerate(self._specs) if spec.declared]
        self._cores = [self._specs[source.parameter].shape for source in canonical.sources]
        widths = [prod(core) for core in self._cores]
        self._curved = parameters_in_quadratic(canonical, widths)
        self._assembly = Assembly(self._form.blocks, widths)
        self._canonicaliser = Assembly(canonical.blocks, widths)
        retrieved = retrieve(problem, variables, compiled)
        self._retriever = Retriever(retrieved, self._form.pieces, canonical.structure.n)
        self._shown = [one.index[one.weights != 0] for one in retrieved if not one.dual]
        self._route = None
        if isinstance(self._form, QuadraticForm):
            self._route = Route(self._form, self._cores, self._assembly, self._retriever)
        # by the batch axes: a batch of another size starts without a guess
        self._last: dict[torch.Size, Any] = {}

    @opaque
    def forward(
        self,
        *tensors: Tensor,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | ConvexSolution = False,
    ) -> tuple[Tensor, ...]:
        """The variables; see :meth:`solve`."""
        options, values, batch = self._prepared(tensors, solver_args)
        entries = None
        try:
            if self._route is not None and warm_start is False and not torch.compiler.is_exporting():
                entries = solve_directly(self._route, options, values, batch)
            if entries is None:
                answer = self._answer(options, values, batch, tensors, warm_start)
                entries = self._entries(answer, batch)
        except RuntimeError as error:
            refuse_inference(error, self._named(tensors))
            raise
        return self._variables(entries, common_dtype(tensors))

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
            Start from that solution, or, if True, from that of the last call with ``warm_start`` if its batch axes were
            the same. The answer meets the same checks.

        Raises
        ------
        ProblemError
            If number, shape, dtype or values of the tensors are not those of the parameters.
        SolverError
            With ``on_failure="raise"``, naming the batch elements that are infeasible, unbounded or not solved.
        """
        options, values, batch = self._prepared(tensors, solver_args)
        try:
            answer = self._answer(options, values, batch, tensors, warm_start)
            return self._solution(answer, values, batch, common_dtype(tensors))
        except RuntimeError as error:
            refuse_inference(error, self._named(tensors))
            raise

    def _named(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        return {spec.name: tensor for spec, tensor in zip(self._specs, tensors, strict=True)}

    def canonical_data(self, *tensors: Tensor) -> ConeProgram:
        """The data of the compiled program for these values of the parameters, without solving it.

        minimise ½xᵀPx + qᵀx subject to Ax + s = b, s ∈ K: the program whose solution (x, y, s) :meth:`solve` returns,
        without the constant of its objective. Its data are affine in the parameters, and differentiable to every order.

        Parameters
        ----------
        *tensors : Tensor, shapes ``batch + parameter.shape``
            As in :meth:`solve`.

        Returns
        -------
        ConeProgram
            ``structure`` holds sizes, cones and the patterns (``P_rows``, ``P_cols``, ``A_rows``, ``A_cols``) of the
            values ``P`` and ``A``, shapes ``(B, nnz)``, or ``(nnz,)`` where no batched parameter is in them; ``q`` and
            ``b`` have shapes ``(B, n)`` and ``(B, m)``. float64; B is the product of the batch axes. For a maximisation
            the objective is that with its sign changed.

        Raises
        ------
        ProblemError
            If number, shape, dtype or values of the tensors are not those of the parameters.
        """
        _, values, batch = self._prepared(tensors, None)
        return self._compiled(values, batch)

    def _compiled(self, values: Sequence[Tensor], batch: torch.Size) -> ConeProgram:
        data = self._canonicaliser(self._theta(values, batch), (batch.numel(),))
        q, b = (data[name].expand(batch.numel(), -1) for name in ("q", "b"))
        return ConeProgram(self._structure, data["P"], q, data["A"], b)

    def _prepared(
        self, tensors: Sequence[Tensor], solver_args: Mapping[str, Any] | None
    ) -> tuple[Options, list[Tensor], torch.Size]:
        """Options of a call, the values of the sources of θ, float64, and the batch axes."""
        if torch.compiler.is_exporting():
            looked_at = [self._specs[i].name for i in self._declared]
            require_exportable(self.options.solver, self._structure.cones, self._route is not None, looked_at)
        options = with_solver_args(self.options, solver_args) if solver_args else self.options
        batch = check_call(self._specs, tensors)
        if self._curved:
            options = options.for_curvature([tensors[i].dtype for i in self._curved])
        if self._declared:
            inspect_values([self._specs[i] for i in self._declared], [tensors[i] for i in self._declared])
        values: list[Tensor] = []
        for source in self._sources:
            value = tensors[source.parameter].double()
            if self._specs[source.parameter].symmetric:
                value = 0.5 * (value + value.mT)
            values.append(value.log() if source.logarithm else value)
        return options, values, batch

    def _answer(
        self,
        options: Options,
        values: Sequence[Tensor],
        batch: torch.Size,
        tensors: Sequence[Tensor],
        warm_start: bool | ConvexSolution,
    ) -> Answer:
        """Values to data, data to solution."""
        blocks = self._assembly(self._theta(values, batch), batch)
        kind = Solution if isinstance(self._form, QuadraticForm) else ConeSolution
        warm = None if warm_start is False else starting_point(warm_start, self._last.get(batch), kind)
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
            if common_dtype(tensors) == torch.float64:
                raise
            raise SolverError(with_rounding(str(error))) from error
        if warm_start is not False and not in_transform():
            self._last = {batch: without_graph(answer.found)}
        return answer

    def _theta(self, values: Sequence[Tensor], batch: torch.Size) -> list[Tensor]:
        """The pieces of θ, row-major; without batch axis where a value is shared."""
        return [flattened(v, core, batch) for v, core in zip(values, self._cores, strict=True)]

    def _entries(self, answer: Answer, batch: torch.Size) -> list[Tensor]:
        """What the layer was asked for, as the compiled program has it."""
        entries = zip(self._retriever(answer.pieces), self._retriever.shapes, strict=True)
        return [shaped(value, batch, shape) for value, shape in entries]

    def _variables(self, entries: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
        """What the layer was asked for, as the caller wrote it."""
        if self._gp:
            duals = zip(entries, self._retriever.dual, strict=True)
            entries = [value if dual else value.exp() for value, dual in duals]
        return tuple([value.to(dtype) for value in entries])

    def _solution(
        self, answer: Answer, values: Sequence[Tensor], batch: torch.Size, dtype: torch.dtype
    ) -> ConvexSolution:
        """All that is known of the solution, in the caller's batch axes and dtype."""
        n, m, found = self._structure.n, self._structure.m, answer.found
        order = torch.from_numpy(np.argsort(np.concatenate(self._form.pieces)))
        whole = torch.cat([piece() for piece in answer.pieces], -1)
        x, y = whole.index_select(-1, order.to(whole.device)).split_with_sizes([n, m], -1)
        objective = answer.objective()
        objective = -objective if self._maximise else objective
        return ConvexSolution(
            variables=self._variables(self._entries(answer, batch), dtype),
            objective=shaped(objective.exp() if self._gp else objective, batch, ()).to(dtype),
            x=shaped(x, batch, (n,)).to(dtype),
            y=shaped(y, batch, (m,)).to(dtype),
            s=shaped(answer.s(), batch, (m,)).to(dtype),
            status=shaped(found.status, batch, ()),
            residuals=Residuals(shaped(found.residuals.values, batch, (6,))),
            iterations=shaped(found.iterations, batch, ()),
            warm=without_graph(found),
            inspect=partial(self._degeneracy, [v.detach().clone() for v in values], batch, x, y, answer.s()),
        )

    def _degeneracy(self, values: Sequence[Tensor], batch: torch.Size, *point: Tensor) -> Degeneracy:
        """Degeneracy of a solution (x, y, s), in the caller's batch axes."""
        x, y, s = (v.detach().double().expand(batch.numel(), v.shape[-1]) for v in point)
        shown = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *self._shown]))
        return degeneracy(self._compiled(values, batch), x, y, s, shown).reshape(batch)

    def extra_repr(self) -> str:
        """The sizes of the compiled program and the options, for ``print(layer)``."""
        s, o = self._structure, self.options
        options = f"solver={o.solver!r}, adjoint={o.adjoint!r}, tol={o.tol:g}, on_failure={o.on_failure!r}"
        return f"n={s.n}, m={s.m}, {options}"
