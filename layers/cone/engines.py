"""Conic solvers behind one signature: a claim per element, to be judged by :mod:`layers.cone.solve`.

An engine sees arrays only, with 1-row cones already moved to the nonnegative rows. What it returns is not trusted.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from threading import Event
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from layers.cone_program import Cones, ConeStructure
from layers.errors import LayerError
from layers.linalg.progress import Progress
from layers.linalg.threads import shared_out
from layers.native import cone as native_cones
from layers.native.constants import LEFT, SUSPECT
from layers.solution import Status

Array = NDArray[np.float64]

#: names of Clarabel's and moreau's statuses; a point of an "Almost" status is judged by its residual, like any other
CLAIMS = {
    "Solved": Status.OPTIMAL,
    "AlmostSolved": Status.OPTIMAL,
    "PrimalInfeasible": Status.INFEASIBLE,
    "AlmostPrimalInfeasible": Status.INFEASIBLE,
    "DualInfeasible": Status.UNBOUNDED,
    "AlmostDualInfeasible": Status.UNBOUNDED,
    "MaxIterations": Status.ITERATION_LIMIT,
    "MaxTime": Status.ITERATION_LIMIT,
}


#: tolerance that is asked of certificates, whatever that of a solution is
CERTIFICATE = 1e-8
#: solver objects kept per thread
KEPT = 8
#: entries of a program beyond which a batch of them is shared out over threads, and beyond which one can be interrupted
SHARED, LONG = 2_000, 10_000


@dataclass(frozen=True)
class Data:
    """A batch of cone programs as arrays: values on the patterns of the structure, ``(B, ·)``; P and A may lack B."""

    structure: ConeStructure
    P: Array
    q: Array
    A: Array
    b: Array

    def elements(self) -> Iterator[tuple[Array, Array, Array, Array]]:
        """P, q, A and b of one program after the other."""
        P, A = (np.broadcast_to(v, (self.q.shape[0], v.shape[-1])) for v in (self.P, self.A))
        return zip(P, self.q, A, self.b, strict=True)


@dataclass(frozen=True)
class Limits:
    """What is asked of an engine: tolerance, iterations, options under the engine's own names, most threads, and
    whether a long solve tells how far it is.
    """

    tol: float
    max_iterations: int
    options: Mapping[str, Any]
    threads: int = 1
    verbose: bool = False


@dataclass(frozen=True)
class Claim:
    """What an engine says: x ``(B, n)``, y and s ``(B, m)``, a :class:`Status`, its iterations, and what is blunt."""

    x: Array
    y: Array
    s: Array
    status: NDArray[np.int64]
    iterations: NDArray[np.int64]
    blunt: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Engine:
    """A conic solver.

    Attributes
    ----------
    name : str
    unavailable : callable
        Why it cannot be used here, or None.
    supports : callable
        Whether it takes programs of a structure.
    solve : callable
        ``(Data, Limits) -> Claim``.
    one_word : bool
        Whether it knows no outcome but a solution, which it finds to rounding or not at all: its tolerance is fixed.
    """

    name: str
    unavailable: Callable[[], str | None]
    supports: Callable[[ConeStructure], bool]
    solve: Callable[[Data, Limits], Claim]
    one_word: bool = False


def needs(package: str, install: str) -> Callable[[], str | None]:
    """Why a package cannot be used, with what to install; None if it is there. Importing it would take seconds."""
    return lambda: None if find_spec(package) else f"no module named {package!r}; pip install '{install}'"


def configure(settings: Any, limits: Limits, engine: str, *ours: str) -> None:
    """Set the caller's options, and our tolerance under the names ``ours`` before them.

    Raises
    ------
    LayerError
        If the engine has no option of that name.
    """
    for name in ours:
        setattr(settings, name, limits.tol)
    for name in ("tol_infeas_abs", "tol_infeas_rel"):
        setattr(settings, name, min(limits.tol, CERTIFICATE))
    for name, value in limits.options.items():
        if not hasattr(settings, name):
            raise LayerError(f"{engine} has no option {name!r}; see the settings of that package")
        setattr(settings, name, value)


def _native(data: Data, limits: Limits) -> Claim:
    if limits.options:
        raise LayerError(f"native has no options; found {', '.join(limits.options)}")
    x, y, s, status, iterations = native_cones.solve(
        data.structure, data.P, data.q, data.A, data.b, limits.max_iterations, limits.threads
    )
    found = np.where(status == LEFT, int(Status.ITERATION_LIMIT), int(Status.OPTIMAL))
    return Claim(x, y, s, found, iterations, status == SUSPECT)


def _clarabel(data: Data, limits: Limits) -> Claim:
    import clarabel as package

    clarabel: Any = package
    s = data.structure
    settings = clarabel.DefaultSettings()
    settings.verbose, settings.max_iter, settings.max_threads = False, limits.max_iterations, 1
    configure(settings, limits, "clarabel", "tol_gap_abs", "tol_gap_rel", "tol_feas")
    c = s.cones
    cones = [clarabel.ZeroConeT(c.zero)] * (c.zero > 0) + [clarabel.NonnegativeConeT(c.nonneg)] * (
        c.nonneg > 0
    )
    cones += [clarabel.SecondOrderConeT(d) for d in c.soc] + [clarabel.PSDTriangleConeT(k) for k in c.psd]
    cones += [clarabel.ExponentialConeT()] * c.exp + [clarabel.PowerConeT(a) for a in c.power]
    upper = s.P_rows <= s.P_cols
    P = _columns(s.P_rows[upper], s.P_cols[upper], s.n, s.n)
    A = _columns(s.A_rows, s.A_cols, s.m, s.n)
    given, entries = list(data.elements()), s.P_rows.size + s.A_rows.size

    progress = Progress(limits.verbose)

    def answer(stop: Event, i: int) -> Any:
        P_values, q, A_values, b = given[i]
        solver = clarabel.DefaultSolver(P(P_values[upper]), q, A(A_values), b, cones, settings)
        if entries > LONG:

            def stops(info: Any) -> bool:
                return _told(progress, i, info) or stop.is_set()

            solver.set_termination_callback(stops)
        return solver.solve()

    threads = limits.threads if entries > SHARED else 1
    answers = shared_out(answer, len(given), threads, long=entries > LONG)
    return Claim(
        np.array([a.x for a in answers]),
        np.array([a.z for a in answers]).reshape(len(answers), s.m),
        np.array([a.s for a in answers]).reshape(len(answers), s.m),
        _claims(str(a.status) for a in answers),
        np.array([a.iterations for a in answers], dtype=np.int64),
    )


def _told(progress: Progress, i: int, info: Any) -> bool:
    """Say how far a program is; False, which stops nothing."""
    left = f"gap {info.gap_abs:.0e}, residual {max(info.res_primal, info.res_dual):.0e}"
    progress.tell(f"program {i}: iteration {info.iterations} of Clarabel, {left}")
    return False


def _columns(rows: Any, cols: Any, height: int, width: int) -> Callable[[Array], Any]:
    """A maker of CSC matrices with one pattern."""
    offsets = np.concatenate([[0], np.cumsum(np.bincount(cols, minlength=width))])
    return lambda values: sp.csc_matrix((values, rows, offsets), shape=(height, width))


def _claims(names: Any) -> NDArray[np.int64]:
    return np.array([CLAIMS.get(name, Status.NUMERICAL_FAILURE) for name in names], dtype=np.int64)


class _Solvers(threading.local):
    """Solver objects of moreau, which are built for one structure and batch size and are no use to a second thread.

    Each has threads of its own, which a process made by fork lacks: there it would wait for them for ever, so the child
    makes its own.
    """

    def __init__(self) -> None:
        self.made: OrderedDict[Any, Any] = OrderedDict()

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """The solver of a key, and room for it by forgetting the one used longest ago."""
        if key not in self.made:
            self.made[key] = make()
        self.made.move_to_end(key)
        if len(self.made) > KEPT:
            self.made.popitem(last=False)
        return self.made[key]

    def forget(self) -> None:
        """What this process inherited by fork is of no use to it."""
        self.made = OrderedDict()


_SOLVERS = _Solvers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_SOLVERS.forget)


def _moreau(data: Data, limits: Limits) -> Claim:
    s, batch = data.structure, data.q.shape[0]
    options = tuple(sorted(limits.options.items()))
    key = (s, batch, limits.tol, limits.max_iterations, options)
    solver = _SOLVERS.get(key, lambda: _make_moreau(s, batch, limits))
    P, A = data.P[..., s.P_by_rows[2]], data.A[..., s.A_by_rows[2]]
    if P.ndim != A.ndim:
        # moreau shares both or neither.
        P, A = (np.broadcast_to(v, (batch, v.shape[-1])) for v in (P, A))
    solver.setup(np.ascontiguousarray(P), np.ascontiguousarray(A))
    answer = solver.solve(data.q, data.b)
    x, z, slack = (np.asarray(v, dtype=np.float64).reshape(batch, -1) for v in (answer.x, answer.z, answer.s))
    status = [status.name for status in np.atleast_1d(np.array(solver.info.status, dtype=object))]
    iterations = np.atleast_1d(np.asarray(solver.info.iterations)).astype(np.int64)
    return Claim(x, z, slack, _claims(status), iterations)


def _make_moreau(s: ConeStructure, batch: int, limits: Limits) -> Any:
    import moreau as package

    moreau: Any = package
    c = s.cones
    tolerances = moreau.IPMSettings()
    configure(tolerances, limits, "moreau", "tol_gap_abs", "tol_gap_rel", "tol_feas")
    settings = moreau.Settings(
        device="cpu", batch_size=batch, solver="ipm", max_iter=limits.max_iterations, ipm_settings=tolerances
    )
    cones = moreau.Cones(
        num_zero_cones=c.zero, num_nonneg_cones=c.nonneg, so_cone_dims=list(c.soc), psd_dims=list(c.psd),
        num_exp_cones=c.exp, power_alphas=list(c.power),
    )  # fmt: skip
    P_offsets, P_columns, _ = s.P_by_rows
    A_offsets, A_columns, _ = s.A_by_rows
    return moreau.CompiledSolver(
        s.n, s.m, P_offsets, P_columns, A_offsets, A_columns, cones=cones, settings=settings
    )


def _diffcp(data: Data, limits: Limits) -> Claim:
    import diffcp as package

    diffcp: Any = package
    s, c = data.structure, data.structure.cones
    place = _lower_triangles(c)
    A = _columns(s.A_rows, s.A_cols, s.m, s.n)
    P = _columns(s.P_rows, s.P_cols, s.n, s.n)
    dims = {"z": c.zero, "l": c.nonneg, "q": list(c.soc), "s": list(c.psd), "ep": c.exp}
    options = {"eps_abs": limits.tol, "eps_rel": limits.tol, "max_iters": 10_000 * limits.max_iterations}
    parts: list[tuple[Array, Array, Array, int]] = []
    for P_values, q, A_values, b in data.elements():
        try:
            x, y, slack = diffcp.solve_only(
                A(A_values)[place].tocsc(), b[place], q, dims,
                P=P(P_values) if P_values.size else None, solve_method="SCS", **(options | dict(limits.options)),
            )  # fmt: skip
            parts.append((x, _back(y, place), _back(slack, place), Status.OPTIMAL))
        except diffcp.SolverError as error:
            none = (np.full(s.n, np.nan), np.full(s.m, np.nan), np.full(s.m, np.nan))
            parts.append((*none, _diffcp_status(str(error))))
    x, y, slack, status = zip(*parts, strict=True)
    unknown = np.full(len(parts), -1, dtype=np.int64)
    return Claim(np.stack(x), np.stack(y), np.stack(slack), np.array(status, dtype=np.int64), unknown)


def _diffcp_status(message: str) -> Status:
    """SCS's verdict from diffcp's message; it comes without a certificate."""
    return Status.ITERATION_LIMIT if "inaccurate" in message.lower() else Status.NUMERICAL_FAILURE


def _lower_triangles(cones: Cones) -> NDArray[np.int64]:
    """Our rows in the order of diffcp, which takes lower triangles of semidefinite blocks by columns."""
    start = cones.zero + cones.nonneg + sum(cones.soc)
    parts = [np.arange(start)]
    for k in cones.psd:
        column, row = np.triu_indices(k)  # the lower triangle by columns
        parts.append(start + row * (row + 1) // 2 + column)
        start += k * (k + 1) // 2
    return np.concatenate([*parts, np.arange(start, cones.rows)]).astype(np.int64)


def _back(v: Array, place: NDArray[np.int64]) -> Array:
    out = np.empty_like(v)
    out[place] = v
    return out


def _all(structure: ConeStructure) -> bool:
    return True


def _no_power(structure: ConeStructure) -> bool:
    return not structure.cones.power


#: conic engines, in the order in which ``"auto"`` tries them
ENGINES: dict[str, Engine] = {
    "native": Engine("native", native_cones.unavailable, native_cones.supports, _native, one_word=True),
    "moreau": Engine("moreau", needs("moreau", "differentiable-convex-layers[moreau]"), _all, _moreau),
    "clarabel": Engine("clarabel", needs("clarabel", "clarabel"), _all, _clarabel),
    "diffcp": Engine("diffcp", needs("diffcp", "diffcp"), _no_power, _diffcp),
}
AUTOMATIC = ("native", "moreau", "clarabel")
#: the same for sparse programs with linear rows
SPARSE = ("clarabel", "moreau")
