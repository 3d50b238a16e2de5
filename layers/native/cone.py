"""Cone programs in the compiled core: an interior point with Newton's method behind it, and the derivative.

The core takes zero, nonnegative and second-order cones, with dense matrices: programs up to a size where engines that
make use of zeros overtake it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from layers.cone_program import ConeProgram, ConeStructure
from layers.native import qp as native

#: most multiply-adds of a factorisation: above, engines for sparse matrices are faster
MOST_WORK = 100_000_000


def unavailable() -> str | None:
    """Why the core cannot be used at all; None if it can."""
    return native.unavailable()


def supports(structure: ConeStructure) -> bool:
    """Whether the core knows all cones of these programs, and is meant for their size. Cones of one row are not."""
    c, n, m = structure.cones, structure.n, structure.m
    known = not (c.psd or c.exp or c.power) and min(c.soc, default=2) > 1
    return known and _work(n, m) <= MOST_WORK


def solve(
    structure: ConeStructure, P: Any, q: Any, A: Any, b: Any, max_iterations: int, most_threads: int
) -> tuple[Any, Any, Any, Any, Any]:
    """x, y, s, status and iterations, ``(B, ·)``, of arrays in the layout of :class:`ConeProgram`.

    A status is :data:`layers.native.constants.LEFT` where the core found no solution: it tells no other outcome. It is
    :data:`layers.native.constants.SUSPECT` where the solution is not known to rounding in what its cones are made of.
    """
    core = native.core()
    threads = native.threads(8 * q.shape[0] * _work(structure.n, structure.m), most_threads)
    most = min(max_iterations, 2**31 - 1)
    return core.solve_cones(_cones(structure), _places(structure), P, q, A, b, most, threads)


def solve_linearised(
    program: ConeProgram, y: Tensor, s: Tensor, r1: Tensor, r2: Tensor
) -> tuple[Tensor, Tensor, Tensor] | None:
    """dx, dy of :mod:`layers.cone.adjoint` and the backward error, infinite where a system may be singular.

    None if the core does not take the program.
    """
    if unavailable() or program.q.device.type != "cpu" or not supports(program.structure):
        return None
    structure = program.structure
    threads = native.threads(program.batch * _work(structure.n, structure.m))
    given = (program.P, program.A, y, s, r1, r2)
    found = native.core().solve_cones_linearised(_cones(structure), _places(structure), *given, threads)
    dx, dy, error = map(torch.from_numpy, found)
    return dx, dy, error


def _work(n: int, m: int) -> int:
    return n * n * (n + 3 * m) // 3 + m * m * (m + 3 * n) // 6


def _cones(structure: ConeStructure) -> tuple[int, int, tuple[int, ...]]:
    c = structure.cones
    return c.zero, c.nonneg, c.soc


def _places(structure: ConeStructure) -> tuple[Any, ...]:
    return structure.P_rows, structure.P_cols, structure.A_rows, structure.A_cols
