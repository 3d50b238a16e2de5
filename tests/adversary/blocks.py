"""Blocks of programs of equal sizes, which the layer takes as one batch: a function of (seed, number)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tests.adversary import proof
from tests.adversary.families import Generator
from tests.adversary.program import OPTIMAL, Claim, Draft, Program
from tests.adversary.proof import Truth
from tests.adversary.structures import draw

#: programs in a block: one call solves them all, which is what makes a hundred thousand a matter of minutes
SIZE = 400
#: tries before a draft whose floats were not exact is given up
TRIES = 50


@dataclass(frozen=True)
class Case:
    """A program, what is proved of it, and the weights of the loss ⟨w_z, z⟩ + ⟨w_λ, λ⟩ + ⟨w_ν, ν⟩."""

    program: Program
    claim: Claim
    truth: Truth
    weights: tuple[np.ndarray, np.ndarray, np.ndarray]

    @classmethod
    def of(cls, program: Program, claim: Claim) -> Case:
        """The truth of a claim that holds; λ and ν are weighed only where they are unique."""
        assert proof.holds(program, claim)
        known = proof.truth(program, claim)
        rng = np.random.default_rng([len(program.q), len(program.h)])
        w_z, w_lam, w_nu = (rng.integers(1, 6, k) / 2.0 for k in program.sizes)
        if known.kind != proof.REGULAR:
            w_lam, w_nu = 0 * w_lam, 0 * w_nu
        return cls(program, claim, known, (w_z, w_lam, w_nu))


def sizes(rng: Generator) -> tuple[int, int, int]:
    """n, m, p of a block."""
    kind = rng.integers(0, 20)
    if kind == 0:
        return 1, int(rng.integers(0, 6)), 0
    if kind == 1:
        return int(rng.integers(1, 4)), 30, 0
    if kind == 2:
        n = int(rng.integers(7, 13))
        return (n, 2 * n, 0) if rng.integers(0, 2) else (n, int(rng.integers(1, 6)), n - 1)
    if kind == 3:
        return 6, 6, 5
    if kind == 4:
        return 6, 4, 4
    n = int(rng.integers(2, 7))
    p = int(rng.choice([0, 0, 0, 1, min(2, n - 1)]))
    m = 0 if kind == 5 else int(rng.integers(1, 2 * n + 3))
    return n, m, p


def block(seed: int, number: int, count: int = SIZE) -> list[Case]:
    """The cases of a block, or the first of them."""
    n, m, p = sizes(np.random.default_rng([seed, number]))
    return [case(np.random.default_rng([seed, number, i]), n, m, p) for i in range(count)]


def shared_block(seed: int, number: int, count: int = 8) -> list[Case]:
    """Programs with the same Q, G and A, and solutions of their own."""
    rng = np.random.default_rng([seed, number, 48])
    while True:
        n, m, p = int(rng.integers(1, 7)), int(rng.integers(0, 8)), int(rng.integers(0, 2))
        made = draw(rng, n, m, min(p, n - 1))
        cases = [_sibling(rng, made) for _ in range(count)] if made.status == OPTIMAL else [None]
        found = [c for c in cases if c is not None]
        if len(found) == count:
            return found


def _sibling(rng: Generator, made: Draft) -> Case | None:
    """The same matrices with another solution in the same units."""
    lam = made.lam * 2.0 ** rng.integers(-2, 3, len(made.lam))
    z, nu = made.z * rng.integers(-3, 4, len(made.z)), made.nu * rng.integers(-3, 4, len(made.nu))
    program, claim = replace(made, z=z, lam=lam, nu=nu).planted()
    return Case.of(program, claim) if proof.holds(program, claim) else None


def case(rng: Generator, n: int, m: int, p: int) -> Case:
    """One program of these sizes with a proved answer."""
    for _ in range(TRIES):
        made = draw(rng, n, m, p)
        program, claim = made.planted()
        if proof.holds(program, claim):
            return Case.of(program, claim)
    raise RuntimeError(f"no exact program of sizes {(n, m, p)} in {TRIES} tries")
