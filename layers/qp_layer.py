"""The quadratic program as a function and as a module: the public door of the QP layer."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from layers.backends import BACKENDS
from layers.backends.checked import solve_with_backend
from layers.errors import LayerError, ProblemError
from layers.modes.opaque import opaque, refuse_export
from layers.native import qp as native
from layers.policy import check_options, require_choice
from layers.problem import QP, make_qp
from layers.qp import dispatch, hosted
from layers.qp.adjoints import ADJOINTS, bound, check_adjoint, named
from layers.qp.degeneracy import degeneracy
from layers.qp.engines import ENGINES, Guess, Request
from layers.qp.function import Outputs
from layers.qp.gradients import Adjoint
from layers.solution import Degeneracy, Residuals, Solution
from layers.sparse import SparseQP, pays
from layers.sparse import solve as solve_sparsely


def engines() -> dict[str, str | None]:
    """Every name that ``solver=`` accepts, with the reason why it cannot be used here, or None if it can."""
    own: dict[str, str | None] = dict.fromkeys(ENGINES) | {"native": native.unavailable()}
    return own | {name: backend.unavailable() for name, backend in BACKENDS.items()}


def adjoints() -> dict[str, str]:
    """Every name that ``adjoint=`` accepts, with the domain in which its derivative is the true one.

    Of an approximation, the domain in which it tends to that, and how far it is from it.
    """
    own = {each.name: each.exact + (each.error and f"; error {each.error}") for each in ADJOINTS.values()}
    return {"auto": own[bound(named("auto")).name]} | own


def core() -> dict[str, object] | None:
    """The C++ core behind ``solver="native"``: ``lanes``, doubles that an instruction takes, and ``core``, a digest.

    None where it is not built or cannot be used, as :func:`engines` tells. Both can change last digits of an answer.
    """
    return native.description()


def third_party() -> dict[str, tuple[str, ...]]:
    """The names of :func:`engines` that are whole packages of others, with the distributions behind each.

    All other names are ours. The distributions are those whose versions change the numbers of the engine.
    """
    return {name: backend.packages for name, backend in BACKENDS.items()}


def solve_qp(
    Q: Tensor,
    q: Tensor,
    G: Tensor | None = None,
    h: Tensor | None = None,
    A: Tensor | None = None,
    b: Tensor | None = None,
    *,
    solver: str = "auto",
    adjoint: str | Adjoint = "auto",
    tol: float = 1e-8,
    max_iterations: int = 100,
    warm_start: Solution | None = None,
    on_failure: str = "raise",
    verbose: bool = False,
) -> Solution:
    """Solve a batch of quadratic programs: z*(θ) = argmin ½zᵀQz + qᵀz subject to Gz ≤ h, Az = b.

    Every field of the result that is a function of the data is differentiable in them, to every order, in
    reverse and forward mode and under ``torch.func`` transforms.

    Parameters
    ----------
    Q : Tensor, shape ``(..., n, n)``
        Symmetric positive semidefinite; may be singular or zero.
    q : Tensor, shape ``(..., n)``
    G, h : Tensor, shapes ``(..., m, n)`` and ``(..., m)``, optional
    A, b : Tensor, shapes ``(..., p, n)`` and ``(..., p)``, optional
        Any tensor may lack leading batch axes, or have size one there: it is then shared over the batch, and
        its gradient is the sum over the batch. All share one device; dtypes are promoted to a common one.
        Q, G and A may be sparse, COO or CSR: their gradients are too, on the pattern (docs/using.md).
    solver : str
        ``"auto"``, ``"native"`` (C++, on the CPU) and ``"interior_point"`` (torch, any device) are ours;
        ``"auto"`` takes the first where it can, and copies problems from a device to the host and the answers back
        where that takes less time than solving them there (docs/choosing.md); ``"interior_point"`` stays there.
        ``"admm"`` (torch, any device) is ours too: first-order steps and a polish, without certificates.
        ``"qpth"``, ``"cvxpylayers"`` and ``"moreau"`` are whole third-party layers, with their own derivative.
        :func:`engines` lists them.
    adjoint : str or Adjoint
        How our solution is differentiated: a name of :func:`adjoints`, or, with settings of its own, a value such as
        ``Smoothed(kappa=1e-3)`` (docs/adjoints.md); ``"auto"`` is ``"implicit"``, and all that third parties take.
    tol : float
        ``OPTIMAL`` means that the relative KKT residuals (:func:`layers.qp.kkt.residuals`) are at most this in norm,
        and, up to a tolerance of 1e-7, that no row misses more than 1e-6 of its own terms (:class:`layers.Status`).
    max_iterations : int
        Limit per element; of steps that are products with a matrix, and many, for ``"admm"``.
    warm_start : Solution, optional
        An earlier solution of problems of the same sizes. Its active set is tried first; an element for which it
        does not give an optimal point is solved from cold. The answer meets the same checks.
    on_failure : {"raise", "nan", "ignore"}
        What to do when an element is not ``OPTIMAL``: raise; fill it with NaN; or return the last iterate (for
        an infeasible or unbounded element, the certificate). Its gradient contribution is zero in the last two.
    verbose : bool
        Large sparse programs tell on standard error how far they are. Ctrl-C ends them either way.

    Returns
    -------
    Solution
        In the dtype and on the device of the arguments; the arithmetic inside is float64.

    Raises
    ------
    ProblemError
        If the data are not a convex quadratic program, naming argument, expected and found.
    SolverError
        With ``on_failure="raise"``, naming the elements that failed.
    DifferentiationError
        In the backward or forward derivative, if its linear solve missed its accuracy.
    UnavailableError
        If the third-party engine asked for is not installed.

    Notes
    -----
    The derivative is that of Amos & Kolter (2017), OptNet, eq. 6-8. It exists where the active rows of [G; A] are
    independent (LICQ), no constraint is weakly active, and Q is positive definite on their null space; elsewhere
    the least-squares answer of minimum norm is returned, and ``Solution.degeneracy`` tells.
    Second derivatives of λ and ν need LICQ.

    Examples
    --------
    >>> import torch
    >>> from layers import solve_qp
    >>> q = torch.tensor([-2.0, 1.0], dtype=torch.float64, requires_grad=True)
    >>> I = torch.eye(2, dtype=torch.float64)
    >>> solution = solve_qp(I, q, -I, torch.zeros(2, dtype=torch.float64))  # projection on the orthant
    >>> solution.z
    tensor([2., 0.], dtype=torch.float64, grad_fn=<PlainBackward>)
    """
    tol, max_iterations = _check_options(solver, adjoint, tol, max_iterations, on_failure)
    given = make_qp(Q, q, G, h, A, b)
    options = (tol, max_iterations, on_failure, torch.finfo(Q.dtype).eps)
    request = Request(solver, named(adjoint), *options, verbose=verbose)
    return solve_checked(given, request, warm_start)


def solve_checked(given: QP, request: Request, warm_start: Solution | None) -> Solution:
    """:func:`solve_qp` of a problem whose tensors fit together, with options that exist."""
    if given.sparse:
        return _solve_sparse(given, request, warm_start)
    problem = dispatch.prepared(given, request.solver)
    if request.solver in BACKENDS:
        outputs = solve_with_backend(problem, request)
    else:
        if warm_start is not None:
            request = request._replace(guess=_guess(warm_start, problem))
        outputs = dispatch.solution(problem, request)
    solution = _cast(_assemble(problem, outputs), given.q.dtype)
    home = given.q.device
    return solution if problem.q.device == home else hosted.returned(solution, home)


class QPLayer(nn.Module):
    """:func:`solve_qp` as a module that returns the minimiser z; it has no parameters of its own.

    Parameters
    ----------
    solver, adjoint, tol, max_iterations, on_failure, verbose
        As in :func:`solve_qp`; checked here, so that a wrong name fails at construction.

    Examples
    --------
    >>> layer = QPLayer(tol=1e-9)
    >>> z = layer(Q, q, G, h, A, b)  # doctest: +SKIP
    """

    def __init__(
        self,
        solver: str = "auto",
        adjoint: str | Adjoint = "auto",
        tol: float = 1e-8,
        max_iterations: int = 100,
        on_failure: str = "raise",
        verbose: bool = False,
    ) -> None:
        super().__init__()
        self.tol, self.max_iterations = _check_options(solver, adjoint, tol, max_iterations, on_failure)
        self.solver, self.adjoint, self.on_failure, self.verbose = solver, adjoint, on_failure, verbose

    def forward(
        self,
        Q: Tensor,
        q: Tensor,
        G: Tensor | None = None,
        h: Tensor | None = None,
        A: Tensor | None = None,
        b: Tensor | None = None,
    ) -> Tensor:
        """The minimiser z, shape ``batch + (n,)``; see :func:`solve_qp`."""
        if self.solver in BACKENDS:
            return self.solve(Q, q, G, h, A, b).z
        given = make_qp(Q, q, G, h, A, b)
        if given.sparse:
            return self.solve(Q, q, G, h, A, b).z
        dtype, home = given.q.dtype, given.q.device
        problem = dispatch.prepared(given, self.solver)
        options = (self.tol, self.max_iterations, self.on_failure, torch.finfo(Q.dtype).eps)
        z = dispatch.minimiser(problem, Request(self.solver, named(self.adjoint), *options))
        return z if z.dtype == dtype and z.device == home else z.to(home, dtype)

    def solve(
        self,
        Q: Tensor,
        q: Tensor,
        G: Tensor | None = None,
        h: Tensor | None = None,
        A: Tensor | None = None,
        b: Tensor | None = None,
        warm_start: Solution | None = None,
    ) -> Solution:
        """The whole :class:`Solution`, with multipliers, statuses and residuals."""
        return solve_qp(
            Q, q, G, h, A, b,
            solver=self.solver, adjoint=self.adjoint, tol=self.tol, max_iterations=self.max_iterations,
            warm_start=warm_start, on_failure=self.on_failure, verbose=self.verbose,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The options, for ``print(layer)``."""
        return f"solver={self.solver!r}, adjoint={self.adjoint!r}, tol={self.tol:g}, on_failure={self.on_failure!r}"


def _check_options(
    solver: str, adjoint: str | Adjoint, tol: float, max_iterations: int, on_failure: str
) -> tuple[float, int]:
    require_choice("solver", solver, (*ENGINES, *BACKENDS))
    check_adjoint(adjoint)
    numbers = check_options(tol, max_iterations, on_failure)
    if solver in BACKENDS and adjoint != "auto":
        raise LayerError(
            f'solver={solver!r} brings its own derivative: adjoint must be "auto", found {adjoint!r}'
        )
    if bound(named(adjoint)).iteration is not None and solver != "auto":
        raise LayerError(
            f'adjoint={adjoint!r} differentiates an iteration of its own: solver must be "auto", found {solver!r}'
        )
    return numbers


def _guess(warm: Solution, problem: QP) -> Guess:
    """The earlier (z, λ, ν, s), flat over the batch of the new problem."""
    if not isinstance(warm, Solution):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ProblemError(
            "warm_start must be the Solution that an earlier solve_qp(...) or QPLayer.solve(...) returned, or None; "
            f"found {type(warm).__name__}"
        )
    batch = problem.batch_shape
    flat: list[Tensor] = []
    for name, size in (("z", problem.n), ("lam", problem.m), ("nu", problem.p), ("s", problem.m)):
        value: Tensor = getattr(warm, name).detach().to(problem.q)
        try:
            value = value.expand(*batch, size)
        except RuntimeError as error:
            raise ProblemError(
                f"warm_start.{name} must have shape {(*batch, size)} or broadcast to it; "
                f"found {tuple(value.shape)}: pass a solution of problems of the same sizes, or None"
            ) from error
        flat.append(value.reshape(batch.numel(), size).nan_to_num(nan=0.0))
    return flat[0], flat[1], flat[2], flat[3]


def _assemble(problem: QP, outputs: Outputs) -> Solution:
    z, lam, nu, value, s, _, status, error, iterations = outputs
    inspect = partial(_degeneracy, *problem.tensors, z, lam, nu)
    return Solution(z, lam, nu, s, value, status, Residuals(error), iterations, inspect)


@opaque
def _solve_sparse(given: QP, request: Request, warm_start: Solution | None) -> Solution:
    """Sparse where that is counted cheaper, else as dense matrices; gradients of sparse ones are sparse either way."""
    refuse_export("sparse tensors", "G.to_dense() and the like")
    problem = SparseQP.read(given)
    if not pays(problem, request):
        return _cast(solve_checked(problem.dense(), request, warm_start), given.q.dtype)
    if warm_start is not None:
        request = request._replace(guess=_guess(warm_start, given))
    return _cast(solve_sparsely(problem, request), given.q.dtype)


def _degeneracy(*given: Tensor) -> Degeneracy:
    """Degeneracy of a solution, in its batch shape."""
    tensors = [t.detach() for t in given]
    problem, point = QP(*tensors[:6]), tensors[6:]
    batch = problem.batch_shape
    found = degeneracy(problem.flatten(), *(v.reshape(batch.numel(), v.shape[-1]) for v in point))
    return found.reshape(batch)


def _cast(solution: Solution, dtype: torch.dtype) -> Solution:
    """Back to the caller's dtype."""
    if dtype == torch.float64:
        return solution
    names = ("z", "lam", "nu", "s", "objective")
    return replace(solution, **{name: getattr(solution, name).to(dtype) for name in names})
