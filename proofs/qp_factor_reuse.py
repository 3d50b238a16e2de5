r"""OptNet, equation 11: the backward pass with the factor of the interior-point iteration.

At an interior point (s = h − Gz > 0, λ > 0) let

    K_sym = [Q, 0, Gᵀ, Aᵀ; 0, D(λ/s), I, 0; G, I, 0, 0; A, 0, 0, 0],
    K_sym [d_z; d_s; d̃_λ; d_ν] = [−∂ℓ/∂z; 0; 0; 0].                                                  (11)

Then d_z and d_ν are those of equation 7 at that point and d̃_λ = D(λ) d_λ. Amos & Kolter, ICML 2017; the
thesis of B. Amos (2019) prints the right-hand side without its minus sign, which changes the sign of every
gradient. At the optimum itself s has zeros and K_sym is not defined: equation 11 holds along the iterates
and in the limit.

Proof: the third row gives d_s = −G d_z, the second d̃_λ = D(λ/s) G d_z; with d̃_λ = D(λ) d_λ that is
G d_z − D(s) d_λ = 0, the second row of equation 7. The check is exact, in rational arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from flint import fmpq

from proofs.common import generator
from proofs.common.linear import Numbers, block, eliminate, zeros
from proofs.common.quadratic import Optimum, rational_quadratic
from proofs.ledger import check, erratum
from proofs.qp_gradients import printed_system
from proofs.theorem1_hypotheses import floated


def diagonal(values: Numbers) -> Numbers:
    """D(values) with exact zeros."""
    return np.array(
        [[v if i == j else fmpq(0) for j in range(len(values))] for i, v in enumerate(values)], dtype=object
    )


def errors(sign: int, instances: int) -> Iterator[float]:
    """Largest deviation of (d_z, d̃_λ, d_ν) from equation 7; `sign` stands before ∂ℓ/∂z in equation 11."""
    for k in range(instances):
        rng = generator("qp_factor_reuse", k)
        problem = rational_quadratic(rng, 4, 3, 1, active=2)
        z, lam, s, g = (
            np.array([fmpq(int(v), 4) for v in rng.integers(1, 9, size)], dtype=object)
            for size in (4, 3, 3, 4)
        )
        problem = problem._replace(h=problem.G @ z + s)
        Q, _, G, _, A, _ = problem
        n, m, p = 4, 3, 1
        K = block([
            [Q, zeros(n, m), G.T, A.T],
            [zeros(m, n), diagonal(lam / s), diagonal(s / s), zeros(m, p)],
            [G, diagonal(s / s), zeros(m, m), zeros(m, p)],
            [A, zeros(p, m), zeros(p, m), zeros(p, p)],
        ])  # fmt: skip
        d = eliminate(K, np.concatenate([sign * g, zeros(1, 2 * m + p)[0]]))
        system = printed_system(problem, Optimum(z, lam, zeros(1, p)[0], ()))
        dz, dlam, dnu = np.split(-eliminate(system, np.concatenate([g, zeros(1, m + p)[0]])), [n, n + m])
        expected = np.concatenate([dz, lam * dlam, dnu])
        found = np.concatenate([d[:n], d[n + m : n + 2 * m], d[n + 2 * m :]])
        yield max(floated(abs(fmpq(v))) for v in found - expected)


@check(
    item=2,
    statement="at interior points K_sym with right-hand side −∂ℓ/∂z gives d_z, D(λ)d_λ and d_ν of eq. 7 "
    "(exact)",
    source="OptNet (Amos & Kolter 2017), eq. 11",
    strength="certified",
    tolerance=0,
)
def factor_reuse(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from errors(-1, instances)


@factor_reuse.negative("the form of the thesis: right-hand side +∂ℓ/∂z")
def factor_reuse_unsigned(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from errors(1, instances)


erratum(
    item=2,
    where="B. Amos, Differentiable Optimization-Based Modeling for Machine Learning (2019), system with "
    "K_sym",
    printed="right-hand side [∇ℓ; 0; 0; 0]",
    correct="[−∇ℓ; 0; 0; 0], as in equation 11 of the paper of 2017",
    checks=(factor_reuse,),
)
