"""The rules by which an answer is right, given up, or wrong.

A point that is called OPTIMAL is right if it is the exact solution of a program whose every row differs from the given
one by little. With ẑ = |z| + FLOOR ‖z‖ and ŷ = |y| + FLOOR ‖y‖, where a norm is taken over the variables and rows that
a variable has to do with at all, the rule is, row by row and column by column,

    (Gz − h)⁺ ≤ BACKWARD (|G| ẑ + |h|),   |Az − b| ≤ BACKWARD (|A| ẑ + |b|),
    |Qz + q + Gᵀλ + Aᵀν| ≤ BACKWARD (|Q| ẑ + |q| + |G|ᵀŷ + |A|ᵀŷ),   λ ≥ −BACKWARD ŷ,

and sᵢ or the push λᵢ‖Gᵢ‖ is small beside the terms of its row or columns: the product of both ratios is at most
BACKWARD. This holds of a program without a solution too: what is infeasible by less than that may be called OPTIMAL.
INFEASIBLE and UNBOUNDED have no such room: they are wrong of a program that is proved to be neither.

A derivative is right if it differs from the exact one by at most RELATIVE of itself, entry by entry, plus the
first-order effect of a change of every entry of its linear system by 1e-9 of itself, or of the largest that it has to
do with (the layer promises no more of its linear solve), plus what moves the loss by less than 1e-7 of its terms
(:mod:`tests.adversary.proof`). It is judged where the active set bears a change of the data by 1e-7.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tests.adversary import lemke, proof
from tests.adversary.blocks import Case
from tests.adversary.doors import NO_DERIVATIVE, NO_POINT, RAISED, REFUSED, Answer
from tests.adversary.program import INFEASIBLE, NAMES, OPTIMAL, UNBOUNDED, Program

BACKWARD = 1e-6  # a hundred times the tol that the layer is asked for
FLOOR = 1e-6
RELATIVE = 1e-5
#: noise of a point that is zero
ABSOLUTE = 1e-12

#: findings
WRONG_STATUS, WRONG_POINT, WRONG_DERIVATIVE = "wrong status", "wrong point", "wrong derivative"
NOT_FINITE, LEAK, EXCEPTION, REFUSAL = "not finite", "gradient of a failure", "exception", "refusal"
PEER = "given up, a peer has it"
FINDINGS = (
    WRONG_STATUS, WRONG_POINT, WRONG_DERIVATIVE, NOT_FINITE, LEAK, EXCEPTION, REFUSAL, PEER,
)  # fmt: skip
#: outcomes that are none
GIVEN_UP = "given up: "
RIGHT, UNJUDGED = "right", "right, derivative not judged"


@dataclass(frozen=True)
class Verdict:
    """The outcome, and what was found where, if it is a finding."""

    outcome: str
    detail: str = ""
    where: str = ""

    @property
    def found(self) -> bool:
        """Whether this is a finding."""
        return self.outcome in FINDINGS


def judge(case: Case, answer: Answer) -> Verdict:
    """The verdict on one answer."""
    known, status = case.truth, answer.status
    own = answer.gradients if not answer.summed else None
    if status in (RAISED, REFUSED):
        return Verdict(EXCEPTION if status == RAISED else REFUSAL, answer.message)
    if status in (INFEASIBLE, UNBOUNDED) and status != known.status and not _both(case, status):
        return Verdict(WRONG_STATUS, f"{status}, proved to be {known.status}")
    if status == NO_DERIVATIVE:
        return Verdict(GIVEN_UP + status)
    if status != OPTIMAL:
        if own and any(g.any() for g in own):
            return Verdict(LEAK, f"{status} with a gradient")
        return Verdict(RIGHT if _says(case, status) else GIVEN_UP + status)
    if answer.z is None or not np.isfinite(answer.z).all():
        return Verdict(NOT_FINITE, "z of an OPTIMAL element")
    if answer.lam is not None and answer.nu is not None:
        worst, where = backward_error(case.program, answer.z, answer.lam, answer.nu, known.z)
        if not worst <= BACKWARD:
            wrong = WRONG_POINT if known.status == OPTIMAL else WRONG_STATUS
            return Verdict(
                wrong, f"OPTIMAL, proved {known.status}, backward error {worst:.1e} in {where}", where
            )
    elif known.status == OPTIMAL and known.kind != proof.FLAT and known.robust:
        off = np.abs(answer.z - known.z) - BACKWARD / proof.ROBUST * known.z_off
        if (off > RELATIVE * np.abs(known.z).max() + ABSOLUTE).any():
            return Verdict(WRONG_POINT, f"z is off by {off.max():.1e}")
    return _judge_derivative(case, answer)


def _says(case: Case, status: str) -> bool:
    """Whether a status without a point is the right one; a door without statuses has no point where there is none."""
    known = case.truth.status
    return known != OPTIMAL and (status in (known, NO_POINT) or _both(case, status))


def _both(case: Case, status: str) -> bool:
    """An infeasible program may have a ray of descent as well; then both statuses are right."""
    return case.truth.status == INFEASIBLE and status == UNBOUNDED and _has_ray(case.program)


def _has_ray(program: Program) -> bool:
    ray = lemke.steepest(program.rational)
    return (program.rational["q"].transpose() * ray)[0, 0] < 0


@dataclass(frozen=True)
class Sizes:
    """What the terms of rows and columns sum up to at a point, and ŷ.

    Attributes
    ----------
    rows, equal, columns : Array, shapes ``(m,)``, ``(p,)`` and ``(n,)``
    lam : Array, shape ``(m,)``
    """

    rows: np.ndarray
    equal: np.ndarray
    columns: np.ndarray
    lam: np.ndarray

    @classmethod
    def of(cls, program: Program, z_hat: np.ndarray, lam_hat: np.ndarray, nu_hat: np.ndarray) -> Sizes:
        """The sums of magnitudes."""
        Q, q, G, h, A, b = (np.abs(v) for v in program.arrays)
        return cls(G @ z_hat + h, A @ z_hat + b, Q @ z_hat + q + G.T @ lam_hat + A.T @ nu_hat, lam_hat)


def sizes(program: Program, z: np.ndarray, lam: np.ndarray, nu: np.ndarray, right: np.ndarray) -> Sizes:
    """With the floor of the rule."""
    return Sizes.of(program, *_with_floor(program, z, lam, nu, right))


def backward_error(
    program: Program, z: np.ndarray, lam: np.ndarray, nu: np.ndarray, right: np.ndarray
) -> tuple[float, str]:
    """The largest ratio of the rule above, and where it is."""
    worst = _worst(program, z, lam, nu, Sizes.of(program, np.abs(z), np.abs(lam), np.abs(nu)))
    return worst if worst[0] <= BACKWARD else _worst(program, z, lam, nu, sizes(program, z, lam, nu, right))


def _worst(
    program: Program, z: np.ndarray, lam: np.ndarray, nu: np.ndarray, size: Sizes
) -> tuple[float, str]:
    Q, q, G, h, A, b = program.arrays
    s = h - G @ z
    push = (np.abs(G) / np.where(size.columns > 0, size.columns, np.inf)).max(1, initial=0) * np.abs(lam)
    ratios = {
        "Gz ≤ h": _ratio(-s.clip(max=0), size.rows),
        "Az = b": _ratio(np.abs(A @ z - b), size.equal),
        "stationarity": _ratio(np.abs(Q @ z + q + G.T @ lam + A.T @ nu), size.columns),
        "λ ≥ 0": _ratio(-lam.clip(max=0), size.lam),
        "complementarity": _ratio(s.clip(min=0), size.rows).clip(max=1) * push.clip(max=1),
    }
    worst = {name: float(v.max(initial=0)) for name, v in ratios.items()}
    name = max(worst, key=lambda k: worst[k])
    return worst[name], name


def _ratio(x: np.ndarray, size: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x / np.where(size > 0, size, 1e-300), 0.0)


def _with_floor(
    program: Program, z: np.ndarray, lam: np.ndarray, nu: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """|z|, |λ| and |ν| with FLOOR of the largest that they have to do with, each in its own units of rows."""
    Q, q, G, h, A, b = program.arrays
    C, right_side = np.vstack([G, A]), np.abs(np.concatenate([h, b]))
    linked = proof.linked_variables(program)
    size = np.abs(C).max(1, initial=0)
    size = np.where(size > 0, size, 1)
    near = (C != 0).astype(int) @ linked > 0  # which variables a row has to do with
    curvature = np.abs(Q).max(1)
    own = np.where(curvature > 0, np.abs(q) / np.where(curvature > 0, curvature, 1), 0)
    suggested = own.copy()
    np.maximum(suggested, (near.T * (right_side / size)).max(1, initial=0), out=suggested)
    suggested = np.where(suggested > 0, suggested, 1).clip(max=1)
    about = np.maximum(np.maximum(np.abs(z), np.abs(right)), suggested)
    z_all = (linked * about).max(1)
    y = np.concatenate([lam, nu])
    pull = (near * np.abs(q)).max(1, initial=0)
    push = np.abs(y) * size
    # where nothing pulls, multipliers are noise of those elsewhere
    force = np.maximum(push, np.where(pull > 0, pull, max(1.0, push.max(initial=0), np.abs(q).max())))
    together = near.astype(int) @ near.T > 0
    y_all = (together * force).max(1, initial=0) / size
    y_hat = np.abs(y) + FLOOR * y_all
    return np.abs(z) + FLOOR * z_all, y_hat[: len(lam)], y_hat[len(lam) :]


def _judge_derivative(case: Case, answer: Answer) -> Verdict:
    known = case.truth
    if answer.gradients is not None and not all(np.isfinite(g).all() for g in answer.gradients):
        return Verdict(NOT_FINITE, "gradient of an OPTIMAL element")
    if answer.gradients is None or known.status != OPTIMAL or not known.robust or known.kind == proof.FLAT:
        return Verdict(UNJUDGED)
    w_z, w_lam, w_nu = case.weights
    if answer.lam is None:
        w_lam, w_nu = 0 * w_lam, 0 * w_nu
    right = proof.direction(case.program, known, w_z, w_lam, w_nu)
    for name, found, expected, room in _gradients(case, answer, right):
        off = np.abs(found - expected) - RELATIVE * np.abs(expected) - room
        if (off > 0).any():
            at = np.unravel_index(int(off.argmax()), off.shape)
            place = ", ".join(map(str, map(int, at)))
            return Verdict(
                WRONG_DERIVATIVE,
                f"({known.kind}) d{name}[{place}] is {found[at]:.6g}, right is {expected[at]:.6g}, room {room[at]:.1e}",
                name,
            )
    return Verdict(RIGHT)


def _gradients(
    case: Case, answer: Answer, d: proof.Direction
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Name, found, right, and the room for the error of d, of each gradient that is proved.

    Products are formed with the layer's own point, whose error is judged by itself, and bear rounding of their terms.
    """
    assert answer.gradients is not None
    found = dict(zip(NAMES, answer.gradients, strict=True))
    z = answer.z if answer.z is not None else case.truth.z
    lam = answer.lam if answer.lam is not None else case.truth.lam
    nu = answer.nu if answer.nu is not None else case.truth.nu
    size, outer = np.abs(z), np.outer
    yield "q", found["q"], d.z, d.z_off
    if d.complete:
        yield "h", found["h"], -d.lam, d.lam_off
        yield "b", found["b"], -d.nu, d.nu_off
    if answer.summed:
        return
    tiny = 1e-12
    half = outer(d.z, z), outer(d.z_off + tiny * np.abs(d.z), size)
    yield "Q", found["Q"], 0.5 * (half[0] + half[0].T), 0.5 * (half[1] + half[1].T)
    if answer.lam is None or not d.complete:
        return
    yield (
        "G", found["G"], outer(lam, d.z) + outer(d.lam, z),
        outer(np.abs(lam), d.z_off + tiny * np.abs(d.z)) + outer(d.lam_off + tiny * np.abs(d.lam), size),
    )  # fmt: skip
    yield (
        "A", found["A"], outer(nu, d.z) + outer(d.nu, z),
        outer(np.abs(nu), d.z_off + tiny * np.abs(d.z)) + outer(d.nu_off + tiny * np.abs(d.nu), size),
    )  # fmt: skip


def judge_sum(cases: Sequence[Case], answers: Sequence[Answer]) -> Verdict:
    """The gradients of Q, G and A that a batch shares: the sums of what each program has by itself."""
    judged = all(
        a.summed == len(cases) and a.status == OPTIMAL and c.truth.robust and c.truth.kind == proof.REGULAR
        for a, c in zip(answers, cases, strict=True)
    )
    if not judged:
        return Verdict(UNJUDGED)
    n, m, p = cases[0].program.sizes
    totals = {name: [np.zeros(k), np.zeros(k)] for name, k in (("Q", (n, n)), ("G", (m, n)), ("A", (p, n)))}
    for case, answer in zip(cases, answers, strict=True):
        right = proof.direction(case.program, case.truth, *case.weights)
        for name, _, expected, room in _gradients(case, replace(answer, summed=0), right):
            if name in totals:
                totals[name][0] += expected
                totals[name][1] += room + RELATIVE * np.abs(expected)
    assert answers[0].gradients is not None
    for name, found in zip(NAMES, answers[0].gradients, strict=True):
        if name in totals and (np.abs(found - totals[name][0]) > totals[name][1]).any():
            off = np.abs(found - totals[name][0]).max()
            return Verdict(
                WRONG_DERIVATIVE, f"d{name} of a shared {name} is off by {off:.1e}", f"shared {name}"
            )
    return Verdict(RIGHT)
