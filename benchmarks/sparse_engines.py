"""Our layer and the peers on sparse programs, each with its ladders of settings.

Clarabel 0.11.1 and PIQP 0.7.0 are bare solvers; behind them stands the backward pass that a careful user writes, one
factorisation of the active rows (experiments/common/timing/reference.py). OSQP 1.1.3 has a derivative of its own,
libdqp 0.1.2 one of the active rows by SuperLU or QDLDL, moreau 0.4.1 one of its interior point and of its active set.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from benchmarks.peers import dqp_
from benchmarks.peers.base import missing
from benchmarks.peers.moreau_ import ACTIVE_SET, INTERIOR_POINT, settings_of
from experiments.common.timing import reference
from experiments.common.timing.programs import NAMES, Programs
from layers import QPLayer

Setting = dict[str, Any]
#: From q, and h and b where they are, to z, shape (batch, n).
Call = Callable[[dict[str, Tensor]], Tensor]
TOLERANCES: tuple[Setting, ...] = tuple({"tol": tol} for tol in (1e-9, 1e-11, 1e-12))
OSQP: tuple[Setting, ...] = tuple(
    {"eps_abs": eps, "eps_rel": eps, "max_iter": 4000, "polishing": True} for eps in (1e-6, 1e-9)
)
DQP: tuple[tuple[Setting, ...], ...] = tuple(
    tuple(
        {"qp_solver": solver, "lin_solver": factors, "eps_abs": eps, "eps_active": active}
        for eps, active in ((1e-6, 1e-5), (1e-11, 1e-8))
    )
    for solver in ("clarabel", "piqp")
    for factors in ("scipy SPLU", "qdldl")
)


@dataclass(frozen=True)
class SparseEngine:
    """As :class:`benchmarks.engines.Engine`, for sparse programs of at most `most` variables."""

    name: str
    ladders: Sequence[Sequence[Setting]]
    build: Callable[[Programs, Setting], Call]
    unavailable: Callable[[], str | None] = lambda: None
    ours: bool = False
    bare: bool = False
    threads: int | None = None
    most: int = 1_000_000


def sparse_engines() -> dict[str, SparseEngine]:
    """Every engine by name."""
    listed = [
        SparseEngine("auto", [({"tol": 1e-8}, {"tol": 1e-10})], _ours, ours=True),
        SparseEngine("clarabel", [TOLERANCES], _clarabel, bare=True, threads=1),
        SparseEngine("piqp", [TOLERANCES], _piqp, partial(missing, "piqp"), bare=True, threads=1),
        SparseEngine("osqp", [OSQP], _osqp, partial(missing, "osqp"), threads=1),
        SparseEngine("dqp", DQP, _dqp, dqp_.unavailable, threads=1),
        # Its matrices are dense: a call grows with the cube, and takes seconds for a thousand variables.
        SparseEngine(
            "moreau_active_set", [ACTIVE_SET], partial(_moreau, "active_set"), _no_moreau, most=2000
        ),
        SparseEngine("moreau_interior_point", [INTERIOR_POINT], partial(_moreau, "ipm"), _no_moreau),
    ]
    return {engine.name: engine for engine in listed}


def _no_moreau() -> str | None:
    return missing("moreau.torch")


def _ours(programs: Programs, setting: Setting) -> Call:
    layer, constants = QPLayer(on_failure="ignore", **setting), programs.constants()
    return lambda leaves: layer(*({**constants, **leaves}[name] for name in NAMES))


def _clarabel(programs: Programs, setting: Setting) -> Call:
    return lambda leaves: reference.call(programs, leaves, setting["tol"])


def _piqp(programs: Programs, setting: Setting) -> Call:
    return lambda leaves: reference.call(programs, leaves, setting["tol"], solver=_by_piqp)


def _by_piqp(program: tuple[Any, ...], tol: float) -> tuple[np.ndarray, ...]:
    piqp: Any = import_module("piqp")
    Q, q, G, h, A, b = program
    solver = piqp.SparseSolver()
    solver.settings.eps_abs = solver.settings.eps_rel = tol
    solver.settings.eps_duality_gap_abs = solver.settings.eps_duality_gap_rel = tol
    matrices = {name: sp.csc_matrix(M) for name, M in {"P": Q, "A": A, "G": G}.items()}
    solver.setup(c=q, b=b, h_u=h, **matrices)
    solver.solve()
    found = solver.result
    return found.x, found.z_u, found.y, np.asarray(found.z_u) > np.asarray(h - G @ found.x)


class _Osqp(Function):
    """One solver for each program of the batch, kept from call to call, and its own derivative."""

    @staticmethod
    def forward(ctx: Any, solvers: list[Any], p: int, q: Tensor, h: Tensor, b: Tensor) -> Tensor:
        ctx.solvers, ctx.p, z = solvers, p, []
        for i, solver in enumerate(solvers):
            upper = torch.cat([b[i], h[i]]).numpy()
            lower = np.r_[upper[:p], np.full(len(upper) - p, -np.inf)]
            solver.update(q=q[i].numpy(), l=lower, u=upper)
            z.append(solver.solve(raise_error=True).x)
        return torch.from_numpy(np.stack(z))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        found: list[list[np.ndarray]] = []
        for solver, w in zip(ctx.solvers, grad_outputs[0].numpy(), strict=True):
            solver.adjoint_derivative_compute(dx=w)
            dq, lower, upper = solver.adjoint_derivative_get_vec()
            both = np.asarray(upper)
            both[: ctx.p] += np.asarray(lower)[: ctx.p]
            found.append([np.asarray(dq), both[ctx.p :], both[: ctx.p]])
        return None, None, *(torch.from_numpy(np.stack(column)) for column in zip(*found, strict=True))


def _osqp(programs: Programs, setting: Setting) -> Call:
    osqp: Any = import_module("osqp")
    (Q, q, G, h, A, b), solvers = programs.one(0), list[Any]()
    rows, upper = sp.csc_matrix(sp.vstack([A, G])), np.r_[b, h]
    for _ in range(len(programs.q)):
        solvers.append(osqp.OSQP())
        lower = np.r_[b, np.full(len(h), -np.inf)]
        solvers[-1].setup(
            sp.csc_matrix(Q), q, rows, lower, upper, verbose=False, warm_starting=False, **setting
        )
    rest = programs.constants()

    def call(leaves: dict[str, Tensor]) -> Tensor:
        none = leaves["q"].new_zeros(len(programs.q), 0)
        given = ({**rest, **leaves}[name] for name in "qhb")
        return _Osqp.apply(solvers, len(b), *(none if value is None else value for value in given))

    return call


def _dqp(programs: Programs, setting: Setting) -> Call:
    with contextlib.redirect_stdout(io.StringIO()):
        module: Any = import_module("dqp.dQP")
        options = {"solve_type": "sparse", "empty_batch": False, **setting}
        layer = module.dQP_layer(settings=module.build_settings(**options))
    Q, G, A = (None if M is None else M.to_sparse_csc() for M in (programs.constants()[k] for k in "QGA"))

    def call(leaves: dict[str, Tensor]) -> Tensor:
        # It takes sparse matrices without a batch axis alone.
        each = ({name: leaf[i] for name, leaf in leaves.items()} for i in range(len(programs.q)))
        return torch.stack([layer(Q, v["q"], G, v["h"], A, v.get("b"))[0].reshape(-1) for v in each])

    return call


def _moreau(method: str, programs: Programs, setting: Setting) -> Call:
    moreau: Any = import_module("moreau")
    solver_of: Any = import_module("moreau.torch").Solver
    batch, n, m, p = programs.sizes
    settings = settings_of(method, setting, batch)
    Q, _, G, _, A, _ = programs.one(0)
    parts = [sp.csr_array(Q), sp.csr_array(sp.vstack([A, G]))]
    patterns = [torch.from_numpy(v.astype(np.int64)) for M in parts for v in (M.indptr, M.indices)]
    cones = moreau.Cones(num_zero_cones=p, num_nonneg_cones=m)
    solver = solver_of(n, m + p, *patterns, cones, settings)
    values = [torch.from_numpy(M.data) for M in parts]

    def call(leaves: dict[str, Tensor]) -> Tensor:
        right = torch.cat([leaves[name] for name in "bh" if name in leaves], -1)
        return solver.solve(*values, leaves["q"], right).x

    return call
