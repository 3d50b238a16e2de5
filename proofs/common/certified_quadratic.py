"""Certified optimum and certified sensitivities of a quadratic program with rational data.

The optimality conditions Qz + q + Gᵀλ + Aᵀν = 0, λᵢ(Gz − h)ᵢ = 0, Az = b are a polynomial map of degree
two in (z, λ, ν). A box about one of its roots is certified by Krawczyk's test. If in addition one of λᵢ and
sᵢ = (h − Gz)ᵢ is proved positive for every i, then the other is exactly zero, and the root is the
optimum: the only one, since Q ≻ 0 is decided exactly by its leading minors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from flint import acb, fmpq, fmpq_mat

from proofs.common.balls import Family, NotProved, certified_derivative, certified_root
from proofs.common.linear import Numbers
from proofs.common.quadratic import Optimum, Quadratic, optimum

BITS = 320


class Sensitivity(NamedTuple):
    """Enclosure of the derivative of (z, λ, ν) and of the optimal value in one entry of the data."""

    name: str
    place: tuple[int, ...]
    dz: Numbers
    dlam: Numbers
    dnu: Numbers
    dvalue: Any


def certified_optimum(problem: Quadratic) -> Optimum:
    """Enclosures of z, λ, ν for rational data; needs ``precision(BITS)`` around it.

    Raises
    ------
    NotProved
        If Q is not positive definite, or strict complementarity is not proved, or Krawczyk's test fails.
    """
    _require_definite(problem.Q)
    exact = optimum(_symmetric(problem))
    family = _family(problem, "q", (0,))
    root = certified_root(lambda x: family(x, acb(0)), _stack(problem, exact), bits=BITS)
    return _as_optimum(problem, root, exact.active)


def certified_sensitivities(problem: Quadratic) -> Iterator[Sensitivity]:
    """Enclosures of the derivatives of (z, λ, ν) in every entry of the data, one entry after the other.

    An entry of Q is perturbed alone, in the objective ½zᵀQz, which sees the symmetric part.

    Raises
    ------
    NotProved
        As `certified_optimum`.
    """
    _require_definite(problem.Q)
    exact = optimum(_symmetric(problem))
    n, m = len(problem.q), len(problem.h)
    for name, part in problem._asdict().items():
        for index in np.ndindex(part.shape):
            root, derivative = certified_derivative(
                _family(problem, name, index), _stack(problem, exact), bits=BITS
            )
            _as_optimum(problem, root, exact.active)
            dz, dlam, dnu, dvalue = np.split(derivative, [n, n + m, len(derivative) - 1])
            yield Sensitivity(name, index, dz, dlam, dnu, dvalue[0])


def _family(problem: Quadratic, name: str, index: tuple[int, ...]) -> Family:
    """Optimality conditions with t added to one entry of the data, and the objective as one more unknown."""
    balls, n, m = problem.convert(acb), len(problem.q), len(problem.h)

    def conditions(x: Numbers, t: Any) -> Numbers:
        Q, q, G, h, A, b = balls.perturbed(name, index, t)
        z, lam, nu = x[:n], x[n : n + m], x[n + m : -1]
        equality = [A @ z - b] if len(b) else []
        force = A.T @ nu if len(b) else 0
        gradient = (Q + Q.T) @ z / acb(2) + q
        value = [x[-1] - (z @ gradient + q @ z) / acb(2)]
        return np.concatenate([gradient + G.T @ lam + force, lam * (G @ z - h), *equality, value])

    return conditions


def _symmetric(problem: Quadratic) -> Quadratic:
    return problem._replace(Q=(problem.Q + problem.Q.T) / fmpq(2))


def _stack(problem: Quadratic, point: Optimum) -> Numbers:
    z = point.z
    value = (z @ problem.Q @ z) / fmpq(2) + problem.q @ z
    return np.array([acb(v) for v in [*z, *point.lam, *point.nu, value]], dtype=object)


def _as_optimum(problem: Quadratic, root: Numbers, active: tuple[int, ...]) -> Optimum:
    """The root as an optimum, once one of λᵢ and sᵢ is proved positive for every i."""
    balls, n, m = problem.convert(acb), len(problem.q), len(problem.h)
    z, lam, nu = root[:n], root[n : n + m], root[n + m : -1]
    slack = balls.h - balls.G @ z
    for i in range(m):
        if not (lam[i].real > 0 or slack[i].real > 0):
            raise NotProved(f"strict complementarity of inequality {i} is not proved")
    return Optimum(z, lam, nu, active)


def _require_definite(Q: Numbers) -> None:
    """Sylvester's criterion over the rationals, for the symmetric part."""
    S = (Q + Q.T) / fmpq(2)
    for k in range(1, len(S) + 1):
        if not fmpq_mat(k, k, [fmpq(v) for v in S[:k, :k].flat]).det() > 0:
            raise NotProved(f"the leading minor of order {k} of Q is not positive")
