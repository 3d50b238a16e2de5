"""The oracles against each other: planted answers, the exact solver, the exact derivative, formulas at 50 digits."""

import dataclasses

import mpmath as mp
import numpy as np
import pytest

from tests.adversary import blocks, cones, exact, formulas, lemke, proof
from tests.adversary.families import FAMILIES
from tests.adversary.judge import backward_error
from tests.adversary.program import INFEASIBLE, OPTIMAL, UNBOUNDED, Claim, Program
from tests.adversary.structures import STRUCTURES

CASES = [case for number in range(12) for case in blocks.block(0, number, 48)[::4]]


def test_blocks_are_a_function_of_seed_and_number():
    again, other = blocks.block(0, 5, 48), blocks.block(1, 5, 48)
    for one, two in zip(blocks.block(0, 5, 48), again, strict=True):
        for a, b in zip(one.program.arrays, two.program.arrays, strict=True):
            assert np.array_equal(a, b)
    assert any(a.program.q.tolist() != b.program.q.tolist() for a, b in zip(again, other, strict=True))


def test_every_status_and_kind_is_drawn():
    assert {c.truth.status for c in CASES} == {OPTIMAL, INFEASIBLE, UNBOUNDED}
    assert {c.truth.kind for c in CASES} == {proof.REGULAR, proof.DEPENDENT, proof.WEAK, proof.FLAT}


@pytest.mark.parametrize("name", [*FAMILIES, *STRUCTURES])
def test_every_family_plants_programs_whose_claims_hold(rng, name: str) -> None:
    sizes = {"transport": (6, 6, 5), "control": (6, 4, 4), "chain": (5, 10, 0), "portfolio": (4, 6, 1)}
    family, held = (FAMILIES | STRUCTURES)[name], 0
    for _ in range(40):
        made = family(rng, *sizes.get(name, (5, 11, 2)))
        held += made is not None and proof.holds(*made.planted())
    assert held >= 10


def test_exact_solver_agrees_with_what_was_planted():
    for case in CASES:
        claim = lemke.widened(case.program, lemke.decide(case.program))
        assert proof.holds(case.program, claim)
        if case.truth.status != claim.status:  # infeasible with a ray of descent: both hold
            assert {case.truth.status, claim.status} == {INFEASIBLE, UNBOUNDED}
            continue
        known = proof.truth(case.program, claim)
        assert known.kind == case.truth.kind
        if claim.status == OPTIMAL and known.kind != proof.FLAT:
            assert np.allclose(known.z, case.truth.z, rtol=1e-14, atol=0)
            assert known.strong == case.truth.strong


def test_a_false_claim_does_not_hold():
    for case in CASES:
        lam, nu = case.claim.lam, case.claim.nu
        for status in {OPTIMAL, INFEASIBLE} - {case.truth.status}:
            assert not proof.holds(case.program, Claim(status, case.claim.z, lam, nu))
        if case.truth.status == OPTIMAL and case.program.q.any():
            moved = exact.column((case.truth.z * (1 + 2**-40) + 2**-60).tolist())
            if case.truth.kind != proof.FLAT:
                assert not proof.holds(case.program, dataclasses.replace(case.claim, z=moved))


def test_derivative_is_that_of_exact_solutions_nearby():
    """z(q + t v) solved for anew in rational numbers: between kinks z is linear in q, so the quotient is exact."""
    tried = 0
    for case in CASES:
        program, known = case.program, case.truth
        if known.status != OPTIMAL or known.kind not in (proof.REGULAR, proof.DEPENDENT) or not known.robust:
            continue
        n = len(program.q)
        step = np.zeros(n)
        step[n - 1] = 2.0**-30 * max(np.abs(program.q).max(), 2.0**-20)
        nearby = dataclasses.replace(program, q=program.q + step)
        moved = lemke.decide(nearby)
        again = proof.truth(nearby, lemke.widened(nearby, moved))
        if set(again.strong) != set(known.strong) or exact.floats(moved.z).size == 0:
            continue  # a kink that is nearer than the step
        change = exact.floats(moved.z - case.claim.z)[:, 0] @ case.weights[0]
        taken = float((nearby.q - program.q)[n - 1])
        d = proof.direction(program, known, case.weights[0], 0 * program.h, 0 * program.b)
        size = np.abs(known.inverse[:n, n - 1]) @ case.weights[0] if known.inverse is not None else 0
        assert change / taken == pytest.approx(d.z[n - 1], rel=1e-9, abs=1e-12 * size)
        tried += 1
    assert tried > 30


def test_pseudo_inverse_has_the_four_properties_of_penrose(rng):
    for _ in range(5):
        M = exact.matrix(rng.integers(-3, 4, (4, 2)) @ rng.integers(-3, 4, (2, 5)) * 1.0)
        P = exact.pseudo_inverse(M)
        assert M * P * M == M
        assert P * M * P == P
        assert (M * P).transpose() == M * P
        assert (P * M).transpose() == P * M


def test_semidefiniteness_is_exact(rng):
    F = rng.integers(-3, 4, (2, 4)).astype(float)
    assert exact.semidefinite(exact.matrix(F.T @ F))
    assert not exact.semidefinite(exact.matrix(F.T @ F - np.diag([0, 0, 2.0**-40, 0])))
    assert not exact.semidefinite(exact.matrix(np.array([[0.0, 2.0**-40], [2.0**-40, 1.0]])))


def test_weak_derivative_is_the_least_squares_answer_of_numpy():
    tried = 0
    for case in CASES:
        if case.truth.kind != proof.WEAK:
            continue
        known, (n, _, p) = case.truth, case.program.sizes
        touched, strong = [*known.strong, *known.weak], list(known.strong)
        G, A = case.program.G, case.program.A
        K = np.block(
            [
                [case.program.Q, G[touched].T, A.T],
                [G[strong], np.zeros((len(strong), len(touched) + p))],
                [A, np.zeros((p, len(touched) + p))],
            ]
        )
        values = np.linalg.svd(K, compute_uv=False)
        if ((values < 1e-6 * values[0]) & (values > 1e-20 * values[0])).any():
            continue  # numpy would have to guess the rank
        w = np.concatenate([case.weights[0], np.zeros(len(touched) + p)])
        found = -np.linalg.pinv(K.T, rcond=1e-10) @ w
        d = proof.direction(case.program, known, *case.weights)
        assert np.allclose(found[:n], d.z, rtol=1e-6, atol=1e-8 * np.abs(d.z).max())
        tried += 1
    assert tried > 5


def test_backward_error_sees_a_row_beside_far_larger_ones():
    """z₀ ≤ 1 beside z₁ = 1e12: off by a thousandth is little in norm, and much in its row."""
    Q, q = np.diag([0.0, 1.0]), np.array([-1.0, -1e12])
    program = Program(Q, q, np.array([[1.0, 0.0]]), np.array([1.0]), np.zeros((0, 2)), np.zeros(0))
    right = np.array([1.0, 1e12])
    for z, least, most in (
        (right, 0, 1e-15),
        (right + np.array([1e-3, 0]), 4e-4, 1e-3),
        (right * [1, 1 + 1e-3], 4e-4, 1e-3),
    ):
        worst, _ = backward_error(program, z, np.array([1.0]), np.zeros(0), right)
        assert least <= worst <= most


def drawn(rng: np.random.Generator, family: cones.Family) -> tuple[list[np.ndarray], np.ndarray]:
    """Parameters with a solution, scaled to one or not, and the solution."""
    while True:
        parameters = family.draw(rng)
        x = formulas.evaluated(family.formula, [v / np.abs(v).max() for v in parameters])
        right = formulas.evaluated(family.formula, parameters)
        if x is not None and right is not None:
            return parameters, right


@pytest.mark.parametrize("name", list(cones.FAMILIES))
def test_formulas_are_what_another_solver_finds(rng, name: str) -> None:
    """Clarabel through CVXPY, on parameters of size one, where three digits can be asked of it."""
    family = cones.FAMILIES[name]
    problem, parameters, variable = family.build()
    given, _ = drawn(rng, family)
    given = [v / np.abs(v).max() for v in given]
    for parameter, value in zip(parameters, given, strict=True):
        parameter.value = value
    problem.solve(solver="CLARABEL", gp=family.gp)
    right = formulas.evaluated(family.formula, given)
    assert np.allclose(np.ravel(variable.value), right, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", list(cones.FAMILIES))
def test_derivative_of_a_formula_obeys_the_chain_rule_along_a_line(rng, name: str) -> None:
    """d/dt ⟨w, x(θ + tθ)⟩ at 0, with another step and another number of digits."""
    family = cones.FAMILIES[name]
    parameters, x = drawn(rng, family)
    weights = np.arange(1.0, len(x) + 1)
    gradients = formulas.pulled_back(family.formula, parameters, weights)
    along = sum(float((g * p).sum()) for g, p in zip(gradients, parameters, strict=True))
    with mp.workdps(40):
        h = mp.mpf(10) ** -12
        sides = [
            family.formula(*([mp.mpf(v) * (1 + s * h) for v in np.ravel(p)] for p in parameters))
            for s in (1, -1)
        ]
        slope = sum(mp.mpf(w) * (a - b) for w, a, b in zip(weights, *sides, strict=True)) / (2 * h)
    scale = max(abs(float((np.abs(g) * np.abs(p)).sum())) for g, p in zip(gradients, parameters, strict=True))
    assert float(slope) == pytest.approx(along, rel=1e-9, abs=1e-9 * scale)
