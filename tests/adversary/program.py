"""A quadratic program with what is known of it, and how one is planted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from flint import fmpq_mat

from tests.adversary import exact

Array = np.ndarray
NAMES = ("Q", "q", "G", "h", "A", "b")
OPTIMAL, INFEASIBLE, UNBOUNDED = "OPTIMAL", "INFEASIBLE", "UNBOUNDED"


@dataclass(frozen=True)
class Claim:
    """What somebody says of a program; :mod:`tests.adversary.proof` proves it or refuses it.

    Attributes
    ----------
    status : str
    z, lam, nu : fmpq_mat, columns
        OPTIMAL: a point with multipliers. INFEASIBLE: a Farkas certificate (λ, ν). UNBOUNDED: a feasible point z.
    ray : fmpq_mat, optional
        UNBOUNDED: the direction of descent.
    """

    status: str
    z: fmpq_mat
    lam: fmpq_mat
    nu: fmpq_mat
    ray: fmpq_mat | None = None


@dataclass(frozen=True)
class Program:
    """minimise ½zᵀQz + qᵀz subject to Gz ≤ h, Az = b, in floats; all of a program is these floats."""

    Q: Array
    q: Array
    G: Array
    h: Array
    A: Array
    b: Array
    family: str = ""

    @property
    def sizes(self) -> tuple[int, int, int]:
        """n, m, p."""
        return len(self.q), len(self.h), len(self.b)

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Q, q, G, h, A, b."""
        return tuple(getattr(self, name) for name in NAMES)

    @cached_property
    def rational(self) -> dict[str, fmpq_mat]:
        """The same numbers, vectors as columns."""
        return {
            name: exact.matrix(v) if v.ndim == 2 else exact.column(v.tolist())
            for name, v in zip(NAMES, self.arrays, strict=True)
        }


@dataclass(frozen=True)
class Draft:
    """The parts from which a program is planted; floats whose sums and products are exact.

    Attributes
    ----------
    Q, G, A : Array
    z, lam, nu, s : Array
        The solution: λ ≥ 0, s ≥ 0, and one of them zero in every row.
    tilt : Array
        Added to q: zero unless the program is to be unbounded.
    gap : Array
        Added to h: zero unless the program is to be infeasible.
    certificate : tuple of Array, optional
        INFEASIBLE: λ, ν. UNBOUNDED: the ray.
    status, family : str
    """

    Q: Array
    G: Array
    A: Array
    z: Array
    lam: Array
    nu: Array
    s: Array
    tilt: Array = field(default_factory=lambda: np.zeros(1))
    gap: Array = field(default_factory=lambda: np.zeros(1))
    certificate: tuple[Array, ...] = ()
    status: str = OPTIMAL
    family: str = ""

    def scaled(self, D: Array, E: Array, F: Array, c: float) -> Draft:
        """The same with columns times D, rows of G times E, rows of A times F and the objective times c.

        All are powers of two, so that nothing is rounded.
        """
        certificate = self.certificate
        if self.status == INFEASIBLE:
            certificate = (certificate[0] / E, certificate[1] / F)
        elif self.status == UNBOUNDED:
            certificate = (certificate[0] / D,)
        return replace(
            self,
            Q=c * D[:, None] * self.Q * D, G=E[:, None] * self.G * D, A=F[:, None] * self.A * D,
            z=self.z / D, lam=c * self.lam / E, nu=c * self.nu / F, s=self.s * E,
            tilt=c * self.tilt * D, gap=self.gap * E, certificate=certificate,
        )  # fmt: skip

    def planted(self) -> tuple[Program, Claim]:
        """q, h and b such that the solution is one."""
        q = -(self.Q @ self.z + self.G.T @ self.lam + self.A.T @ self.nu) + self.tilt
        h, b = self.G @ self.z + self.s + self.gap, self.A @ self.z
        program = Program(*(np.array(v, dtype=float) for v in (self.Q, q, self.G, h, self.A, b)), self.family)
        z, lam, nu = (exact.column(v.tolist()) for v in (self.z, self.lam, self.nu))
        if self.status == INFEASIBLE:
            lam, nu = (exact.column(v.tolist()) for v in self.certificate)
        ray = exact.column(self.certificate[0].tolist()) if self.status == UNBOUNDED else None
        return program, Claim(self.status, z, lam, nu, ray)


def solved_on(program: Program, active: list[int]) -> Claim:
    """The claim that these rows are the active ones: the point is then solved for in rational numbers."""
    data = program.rational
    n, m, p = program.sizes
    C = exact.stack([[exact.rows(data["G"], active)], [data["A"]]])
    k = len(active)
    K = exact.stack([[data["Q"], C.transpose()], [C, exact.zeros(k + p, k + p)]])
    right = exact.stack([[-1 * data["q"]], [exact.rows(data["h"], active)], [data["b"]]])
    x = K.solve(right)
    lam = exact.zeros(m, 1)
    for place, row in enumerate(active):
        lam[row, 0] = x[n + place, 0]
    return Claim(OPTIMAL, exact.rows(x, range(n)), lam, exact.rows(x, range(n + k, n + k + p)))
