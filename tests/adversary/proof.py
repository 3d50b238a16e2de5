"""What is proved of a program in rational arithmetic: its status, its set of minimisers, and its derivative.

Nothing here is rounded before the end, and nothing is shared with the layer: the conditions are typed from
docs/notation.md, the linear algebra is python-flint's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from flint import fmpq_mat

from tests.adversary import exact
from tests.adversary.program import INFEASIBLE, OPTIMAL, UNBOUNDED, Claim, Program

Array = np.ndarray

#: a change of every number by this, relative to itself, must leave the active set, or the derivative is not judged
ROBUST = 1e-7
#: what is one of these changes for the linear system of the derivative is no fault of the derivative
BACKWARD = 1e-9
#: the same for changes relative to the largest terms of the equilibrated system, block by unrelated block
ROUNDING = 1e-9
#: a force or a bound that moves the loss by less than this of its terms when all of it changes is not seen
UNSEEN = 1e-7
#: rounding of the data, relative to the largest that they have to do with: the active set must bear it too
NOISE = 1e-12

#: what the active rows are: independent and strongly active; dependent; some weakly active; the minimiser is not
#: unique, or it was not decided
REGULAR, DEPENDENT, WEAK, FLAT = "regular", "dependent", "weak", "flat"


def holds(program: Program, claim: Claim) -> bool:
    """Whether a claim is true."""
    d, z, lam, nu = program.rational, claim.z, claim.lam, claim.nu
    if claim.status == INFEASIBLE:
        flat = d["G"].transpose() * lam + d["A"].transpose() * nu
        depth = d["h"].transpose() * lam + d["b"].transpose() * nu
        return _none(flat) and _least(lam) >= 0 and depth[0, 0] < 0
    slack = (d["h"] - d["G"] * z).entries()
    feasible = all(v >= 0 for v in slack) and _none(d["A"] * z - d["b"])
    if claim.status == UNBOUNDED:
        ray = claim.ray
        assert ray is not None
        still = _none(d["Q"] * ray) and _none(d["A"] * ray)
        outward = _least(-1 * (d["G"] * ray)) >= 0
        return feasible and still and outward and (d["q"].transpose() * ray)[0, 0] < 0
    gradient = d["Q"] * z + d["q"] + d["G"].transpose() * lam + d["A"].transpose() * nu
    complementary = all(s == 0 or y == 0 for s, y in zip(slack, lam.entries(), strict=True))
    return feasible and _none(gradient) and _least(lam) >= 0 and complementary


def _none(v: fmpq_mat) -> bool:
    return all(entry == 0 for entry in v.entries())


def _least(v: fmpq_mat) -> object:
    return min(v.entries(), default=0)


@dataclass(frozen=True)
class Truth:
    """What is proved of a program; the arrays are the nearest floats.

    Attributes
    ----------
    status : str
    z, lam, nu : Array
        OPTIMAL: one solution; the only one unless ``kind`` is FLAT (z) or DEPENDENT (λ, ν).
    kind : str
        REGULAR, DEPENDENT, WEAK or FLAT.
    independent : bool
        LICQ: the active rows of G with A are linearly independent.
    deficiency : int
        Active rows with those of A, less their rank.
    strong, weak : list of int
        Active rows with a positive multiplier, and without.
    robust : bool
        A change of every number by :data:`ROBUST` of itself leaves the active set.
    z_off : Array
        First-order effect of such a change on z.
    system, inverse : Array
        K and K⁺ of the derivative: one column for each variable, strong or weak row, and equality.
    spanning : list of int
        The rows of [G_strong; G_weak; A], in this order, that K has columns for.
    """

    status: str
    z: Array
    lam: Array
    nu: Array
    kind: str = REGULAR
    independent: bool = True
    deficiency: int = 0
    strong: tuple[int, ...] = ()
    weak: tuple[int, ...] = ()
    robust: bool = False
    z_off: Array | None = None
    system: Array | None = None
    inverse: Array | None = None
    spanning: tuple[int, ...] = ()


def truth(program: Program, claim: Claim) -> Truth:
    """All of this from a claim that holds."""
    z, lam, nu = (exact.floats(v)[:, 0] for v in (claim.z, claim.lam, claim.nu))
    if claim.status != OPTIMAL:
        return Truth(claim.status, z, lam, nu)
    d, n = program.rational, len(program.q)
    slack, multiplier = (d["h"] - d["G"] * claim.z).entries(), claim.lam.entries()
    strong = [i for i, v in enumerate(multiplier) if v > 0]
    weak = [i for i, v in enumerate(multiplier) if v == 0 and slack[i] == 0]
    enforced = exact.stack([[exact.rows(d["G"], strong)], [d["A"]]])
    touched = exact.stack([[exact.rows(d["G"], strong + weak)], [d["A"]]])
    rank, all_rank = exact.rank(enforced), exact.rank(touched)
    unique = exact.rank(exact.stack([[d["Q"]], [enforced]])) == n
    # No multiplier of a weak row can be positive if these rows are independent beside those that are enforced.
    weak_always = all_rank - rank == len(weak)
    independent = all_rank == touched.nrows()
    kind = FLAT if not (unique and weak_always) else WEAK if weak else REGULAR if independent else DEPENDENT
    known = Truth(
        claim.status, z, lam, nu, kind, independent, touched.nrows() - all_rank, tuple(strong), tuple(weak)
    )
    return known if kind == FLAT else _with_system(program, known, d, enforced, touched)


def _with_system(
    program: Program, known: Truth, d: dict[str, fmpq_mat], enforced: fmpq_mat, touched: fmpq_mat
) -> Truth:
    """K = [Q C_tᵀ; C_e 0], its (pseudo-)inverse, and whether the active set is robust.

    Of dependent rows without weak ones only a basis is kept: z and its derivative do not depend on the choice.
    """
    spanning = list(range(touched.nrows()))
    if known.kind == WEAK:
        K = exact.stack(
            [[d["Q"], touched.transpose()], [enforced, exact.zeros(enforced.nrows(), touched.nrows())]]
        )
        inverse = exact.pseudo_inverse(K)
    else:
        spanning = exact.independent_rows(touched) if known.kind == DEPENDENT else spanning
        C = exact.rows(touched, spanning)
        K = exact.stack([[d["Q"], C.transpose()], [C, exact.zeros(C.nrows(), C.nrows())]])
        inverse = K.inv()
    system, inverted = exact.floats(K), exact.floats(inverse)
    robust, z_off = _robust(program, known, system, inverted, spanning)
    return replace(
        known, robust=robust, z_off=z_off, system=system, inverse=inverted, spanning=tuple(spanning)
    )


def _robust(
    program: Program, known: Truth, K: Array, inverse: Array, spanning: list[int]
) -> tuple[bool, Array]:
    """First-order effect of a change of all data by :data:`ROBUST`: |K⁺| (|K| |x| + |r|), against s and λ."""
    size, k = program.sizes[0], len(known.strong)
    touched = np.concatenate([known.lam[[*known.strong, *known.weak]], known.nu])
    x = np.abs(np.concatenate([known.z, touched[spanning]]))
    enforced = list(range(K.shape[0] - size)) if known.kind == WEAK else spanning
    right = np.concatenate([program.h[list(known.strong)], program.b])
    right = (
        right if known.kind == WEAK else np.concatenate([program.h[[*known.strong, *known.weak]], program.b])
    )
    r = np.abs(np.concatenate([program.q, right[enforced]]))
    noise = NOISE * _largest_terms(K, x, r, size)
    moved = np.abs(inverse) @ (ROBUST * (np.abs(K) @ x + r) + noise)
    inactive = np.setdiff1d(np.arange(len(program.h)), [*known.strong, *known.weak])
    G, h = program.G[inactive], program.h[inactive]
    need = np.abs(G) @ (moved[:size] + ROBUST * np.abs(known.z)) + ROBUST * np.abs(h)
    robust = bool((h - G @ known.z > need).all())
    strong = list(known.strong)
    if known.kind != DEPENDENT:
        return robust and bool((known.lam[strong] > moved[size : size + k]).all()), moved[:size]
    # the multipliers are not unique: the push of each row against the other terms of its columns, and their noise
    push = np.abs(program.G[strong]) * known.lam[strong, None]
    terms = np.abs(program.Q) @ np.abs(known.z) + np.abs(program.q) + np.abs(program.A).T @ np.abs(known.nu)
    need = 100 * ROBUST * (terms + push.sum(0)) + noise[:size]
    return robust and bool((push > need).any(1)[push.any(1)].all()), moved[:size]


@dataclass(frozen=True)
class Direction:
    """d = −K⁺ᵀ (w_z, w_λ, w_ν), from which every gradient is read, and what a backward error may change in it.

    Attributes
    ----------
    z, lam, nu : Array
    z_off, lam_off, nu_off : Array
        First-order effect of a change of every entry of K and w by :data:`BACKWARD` of itself, and by
        :data:`ROUNDING` of the largest that it has to do with; and what is :data:`UNSEEN`.
    complete : bool
        Whether d_λ and d_ν are proved as well as d_z.
    """

    z: Array
    lam: Array
    nu: Array
    z_off: Array
    lam_off: Array
    nu_off: Array
    complete: bool


def direction(program: Program, known: Truth, w_z: Array, w_lam: Array, w_nu: Array) -> Direction:
    """The derivative that is documented: exact where it exists, the shortest least-squares answer where rows are weak.

    With dependent rows the multipliers are not unique, and w_λ = w_ν = 0 is expected.
    """
    assert known.system is not None
    assert known.inverse is not None
    n, m, p = program.sizes
    K, pinv = known.system.T, known.inverse.T
    touched = [*known.strong, *known.weak]
    w = np.concatenate([w_z, np.concatenate([w_lam[touched], w_nu])[list(known.spanning)]])
    d = -pinv @ w
    size = np.abs(K) @ np.abs(d) + np.abs(w)
    off = np.abs(pinv) @ size
    if known.kind == WEAK:  # the least-squares answer moves with its residual and its null space too
        left = np.abs(w + K @ d)
        off = off + np.abs(pinv) @ (np.abs(pinv.T) @ (np.abs(K.T) @ left))
        across = np.abs(np.eye(len(d)) - pinv @ K)
        off = off + across @ (np.abs(K.T) @ (np.abs(pinv.T) @ np.abs(d)))
    off = BACKWARD * off + ROUNDING * np.abs(pinv) @ _largest_terms(K, d, w, n)
    z_unseen, lam_unseen, nu_unseen = _unseen(program, known, w_z, w_lam, w_nu)
    lam, nu, lam_off, nu_off = np.zeros(m), np.zeros(p), np.zeros(m), np.zeros(p)
    if known.independent:
        strong = list(known.strong)
        k = len(strong)
        lam[strong], nu[:] = d[n : n + k], d[n + k :]
        lam_off[strong], nu_off[:] = off[n : n + k], off[n + k :]
    return Direction(
        d[:n], lam, nu, off[:n] + z_unseen, lam_off + lam_unseen, nu_off + nu_unseen, known.independent
    )


def _unseen(
    program: Program, known: Truth, w_z: Array, w_lam: Array, w_nu: Array
) -> tuple[Array, Array, Array]:
    """What d may be off by, for each variable and row, without being seen in the loss; no block sees another."""
    Q, q, G, h, A, b = program.arrays
    C, right, y = np.vstack([G, A]), np.concatenate([h, b]), np.concatenate([known.lam, known.nu])
    linked = linked_variables(program)
    near = (C != 0).astype(int) @ linked > 0
    size = np.abs(known.z) + np.where(known.z == 0, 1.0, 0.0) * (np.abs(known.z).max() == 0)
    by_variable = np.abs(w_z) * size
    by_row = np.abs(np.concatenate([w_lam, w_nu])) * np.abs(y)
    loss = linked @ by_variable + near.T @ by_row
    forces = np.abs(Q) @ size + np.abs(q) + np.abs(C).T @ np.abs(y)
    bounds = np.abs(C) @ size + np.abs(right)
    of_row = (near * loss).max(1, initial=0)
    z = UNSEEN * loss / np.where(forces > 0, forces, np.inf)
    rows = UNSEEN * of_row / np.where(bounds > 0, bounds, np.inf)
    return z, rows[: len(h)], rows[len(h) :]


def linked_variables(program: Program) -> Array:
    """Which variables have to do with each other at all, through Q or a row; bool, shape ``(n, n)``."""
    C = np.vstack([program.G, program.A]) != 0
    linked = (program.Q != 0) | (C.T.astype(int) @ C > 0) | np.eye(len(program.q), dtype=bool)
    for _ in range(4):
        linked = linked.astype(int) @ linked > 0
    return linked


def _largest_terms(K: Array, d: Array, w: Array, n: int) -> Array:
    """The largest terms of Kd = −w, with R and C such that RKC has entries up to one, block by block."""
    size = np.abs(K)
    R, C = np.ones(K.shape[0]), np.ones(K.shape[1])
    for _ in range(4):
        scaled = R[:, None] * size * C
        R, C = R / _root(scaled.max(1)), C / _root(scaled.max(0))
    linked = (size > 0).astype(int)
    linked[range(n), range(n)] = 1  # the row and the column of a variable are one thing
    for _ in range(4):
        linked = ((linked @ linked.T @ linked) > 0).astype(int)
    terms = (linked * (np.abs(d) / C)).max(1)
    together = (linked @ linked.T) > 0
    return 1 / R * (terms + (together * (R * np.abs(w))).max(1))


def _root(v: Array) -> Array:
    return np.sqrt(np.where(v > 0, v, 1))
