"""What stands in a row of the benchmark: our engines and every peer, each with its ladder of settings.

A ladder leads from a package's default to its tightest setting; a package with several methods has several. The
harness climbs each until the answer is accurate and times the fastest of the rungs reached: every engine runs at its
best setting that meets the demand, ours by the same rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from benchmarks.peers import (
    bare_,
    cvxpylayers_,
    daqp_,
    dqp_,
    elastiqp_,
    ffolayer_,
    moreau_,
    pounce_,
    proxsuite_,
    qpth_,
)
from benchmarks.problems import Data
from benchmarks.reference import Answer
from layers import QPLayer, Solution, engines, solve_qp, third_party

Setting = dict[str, Any]
Solve = Callable[[Data], Answer]


@dataclass(frozen=True)
class Engine:
    """A differentiable QP layer.

    Attributes
    ----------
    name : str
    ladders : sequence of sequences of dict
        Settings, each sequence from the default to the tightest.
    build : callable
        ``(data, setting) -> solve``: make the layer for such data; what is made here is not timed.
    unavailable : callable
        ``() -> str | None``: why it cannot be used here.
    ours : bool
    applies : callable
        ``data -> bool``: whether the engine has a place in a row.
    cuda : bool
        Takes CUDA tensors.
    threads : int, optional
        On how many it works; all that there are unless given.
    bare : bool
        A solver in a Python loop, no layer.
    forward_only : bool
        Has no derivative.
    """

    name: str
    ladders: Sequence[Sequence[Setting]]
    build: Callable[[Data, Setting], Solve]
    unavailable: Callable[[], str | None] = lambda: None
    ours: bool = False
    applies: Callable[[Data], bool] = lambda _: True
    cuda: bool = False
    threads: int | None = None
    bare: bool = False
    forward_only: bool = False


OURS: Sequence[Sequence[Setting]] = [({"tol": 1e-8}, {"tol": 1e-10})]
# A step of ADMM is a product with a matrix: as many as it takes.
OURS_BY_STEPS: Sequence[Sequence[Setting]] = [({"tol": 1e-8, "max_iterations": 10_000},)]


def _ours(solver: str) -> Callable[[Data, Setting], Solve]:
    def build(_: Data, setting: Setting) -> Solve:
        layer = QPLayer(solver, on_failure="ignore", **setting)
        return lambda data: (layer(*data.tensors),)

    return build


def _dense(_: Data, setting: Setting) -> Solve:
    """Our engine on data copied over the batch before the call, inside the graph: what knowing the structure saves."""

    def solve(data: Data) -> Answer:
        copies: list[Tensor] = [t.contiguous() for t in data.expanded().tensors]
        solution = solve_qp(*copies, on_failure="ignore", **setting)
        return solution.z, solution.lam, solution.nu

    return solve


def _warm(_: Data, setting: Setting) -> Solve:
    """Our engine started at the solutions of the epoch before, which are made here, outside the timing."""
    solutions: dict[int, Solution] = {}

    def solve(data: Data) -> Answer:
        if data.draw not in solutions:
            assert data.previous is not None
            solutions[data.draw] = solve_qp(*data.previous.tensors, on_failure="ignore", **setting)
        solution = solve_qp(*data.tensors, warm_start=solutions[data.draw], on_failure="ignore", **setting)
        return solution.z, solution.lam, solution.nu

    return solve


def all_engines() -> dict[str, Engine]:
    """Every engine by name; ours are those that :func:`layers.engines` lists, so a new one enters by itself.

    Packages of others behind our signature are left out: they stand here as themselves.
    """
    own = {name: reason for name, reason in engines().items() if name not in third_party()}
    listed = [
        Engine(
            name,
            OURS_BY_STEPS if name == "admm" else OURS,
            _ours(name),
            _constant(reason),
            ours=True,
            cuda=True,
        )
        for name, reason in own.items()
    ]
    listed += [
        Engine("auto_dense", OURS, _dense, ours=True, applies=_has_shared_matrix),
        Engine("auto_warm", OURS, _warm, ours=True, applies=lambda data: data.previous is not None),
        *(
            _peer(peer)
            for peer in (
                *(*moreau_.PEERS, proxsuite_, qpth_, *cvxpylayers_.PEERS, dqp_),
                *(elastiqp_, pounce_, ffolayer_, daqp_, *bare_.PEERS),
            )
        ),
    ]
    return {engine.name: engine for engine in listed}


def _peer(peer: Any) -> Engine:
    """A module or an object of :mod:`benchmarks.peers`."""
    said = {
        name.lower(): getattr(peer, name)
        for name in ("THREADS", "BARE", "FORWARD_ONLY")
        if hasattr(peer, name)
    }
    return Engine(peer.NAME, peer.LADDERS, peer.build, peer.unavailable, cuda=peer.CUDA, **said)


def _has_shared_matrix(data: Data) -> bool:
    return data.batch > 1 and "Q" in data.shared


def _constant(reason: str | None) -> Callable[[], str | None]:
    return lambda: reason
