"""Layers of any disciplined parametrized problem: ours and cvxpylayers on its two engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from benchmarks.convex import Program
from benchmarks.peers.base import Setting, missing
from benchmarks.peers.cvxpylayers_ import TIGHT, with_types

Layer = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True)
class ConvexEngine:
    """A layer with the interface of cvxpylayers' CvxpyLayer.

    Attributes
    ----------
    name : str
    ladders : sequence of sequences of dict
        ``solver_args``, each sequence from the default to the tightest.
    make : callable
        ``(program, solver_args) -> layer``.
    canonicaliser : callable
        ``program -> function of the tensors`` that computes the data of the cone program and does not solve it.
    unavailable : callable
        ``() -> str | None``.
    ours : bool
    """

    name: str
    ladders: Sequence[Sequence[Setting]]
    make: Callable[[Program, Setting], Layer]
    canonicaliser: Callable[[Program], Layer]
    unavailable: Callable[[], str | None]
    ours: bool = False


def _cvxpylayers(solver: str | None) -> Callable[[Program, Setting], Layer]:
    def make(program: Program, setting: Setting) -> Layer:
        layer_of: Any = import_module("cvxpylayers.torch").CvxpyLayer
        threads = torch.get_num_threads()
        jobs = {"n_jobs_forward": threads, "n_jobs_backward": threads} if solver is None else {}
        return layer_of(
            program.problem,
            program.parameters,
            program.variables,
            solver=solver,
            solver_args=jobs | with_types(setting),
        )

    return make


def _cvxpylayers_canonicaliser(quadratic: bool) -> Callable[[Program], Layer]:
    """cvxpylayers with a solver plugged in that answers zero: what is left is the way there and back."""

    def make(program: Program) -> Layer:
        interface: Any = import_module("cvxpylayers.interfaces.base").SolverInterface
        layer_of: Any = import_module("cvxpylayers.torch").CvxpyLayer

        class Nothing(interface):
            canon_solver = "CLARABEL" if quadratic else "SCS"
            supports_quad_obj = quadratic

            def solve_torch_batch(self, P: Any, q: Tensor, A: Tensor, *_: Any) -> tuple[Tensor, Tensor, None]:
                return q.new_zeros(len(q), q.shape[1] - 1), q.new_zeros(len(q), 0), None

            def derivative_torch_batch(self, *_: Any) -> None:
                raise NotImplementedError

        return layer_of(program.problem, program.parameters, program.variables, solver=Nothing())

    return make


def _ours(program: Program, setting: Setting) -> Layer:
    layer_of: Any = import_module("layers").ConvexLayer
    return layer_of(program.problem, program.parameters, program.variables, **setting)


def _our_canonicaliser(program: Program) -> Layer:
    layer: Any = _ours(program, {})
    return layer.canonical_data


def _our_reason() -> str | None:
    try:
        return None if hasattr(import_module("layers"), "ConvexLayer") else "layers has no ConvexLayer"
    except ImportError as error:
        return str(error)


def convex_engines() -> dict[str, ConvexEngine]:
    """Every such layer by name."""
    diffcp: Sequence[Setting] = (
        {},
        {"solve_method": "SCS", "eps_abs": 1e-11, "eps_rel": 1e-11, "max_iters": 20_000, "mode": "dense"},
        {"solve_method": "Clarabel", "tol_gap_abs": 1e-15, "tol_gap_rel": 1e-15, "mode": "dense"},
    )
    moreau: Sequence[Sequence[Setting]] = (
        ({}, {"active_set_settings": {"primal_tol": 1e-12}}),
        ({"ipm_settings": TIGHT | {"diff_method": "exact"}},),
    )
    listed = (
        ConvexEngine("convex_layer", [({}, {"tol": 1e-10})], _ours, _our_canonicaliser, _our_reason, ours=True),
        ConvexEngine(
            "cvxpylayers_diffcp", [diffcp], _cvxpylayers(None), _cvxpylayers_canonicaliser(False),
            lambda: missing("cvxpylayers.torch"),
        ),
        ConvexEngine(
            "cvxpylayers_moreau", moreau, _cvxpylayers("MOREAU"), _cvxpylayers_canonicaliser(True),
            lambda: missing("moreau.torch"),
        ),
    )  # fmt: skip
    return {engine.name: engine for engine in listed}
