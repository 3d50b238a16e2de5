"""The rows that are sparse programs: their matrices are constant and shared, their vectors are learned.

`draw`, 0 or 1, gives two mini-batches of one layer, as in :mod:`benchmarks.problems`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import scipy.sparse as sp

from experiments.common.timing.programs import FAMILIES, Programs, published_sparse


@dataclass(frozen=True)
class SparseRow:
    """A row; `make` is ``draw -> Programs``, name, group and family are as in :class:`benchmarks.rows.Row`."""

    name: str
    group: str
    make: Callable[[int], Programs]
    family: str = ""


def family(draw: int, name: str, n: int, batch: int) -> Programs:
    """Programs of one of the families of experiments/common/timing, of about n variables."""
    return _drawn(FAMILIES[name](n, np.random.default_rng(n)), batch, (n, draw))


def published(draw: int, n: int, batch: int) -> Programs:
    """The sparse program of cvxpylayers' figure 3 (arXiv 1910.12430), with slack, so that it has a derivative."""
    made = published_sparse(1, n, 0.01, np.random.default_rng(n), slack=1.0)
    return _drawn(made, batch, (n, draw))


def control(draw: int, steps: int, batch: int) -> Programs:
    """Linear control of 4 states by 2 inputs, no state eliminated: n = 6 steps, dynamics as equalities, |u| <= 1."""
    fixed, rng = np.random.default_rng(10), np.random.default_rng((steps, draw))
    A, B = 0.9 * np.eye(4) + 0.1 * fixed.standard_normal((4, 4)), 0.5 * fixed.standard_normal((4, 2))
    # In the order u_0, x_1, u_1, x_2, ...: x_(t+1) - A x_t - B u_t = 0, and A x_0 for the first.
    stage, back = np.hstack([-B, np.eye(4)]), np.hstack([np.zeros((4, 2)), -A])
    dynamics = sp.kron(sp.eye_array(steps), stage) + sp.kron(sp.eye_array(steps, k=-1), back)
    inputs = sp.kron(sp.eye_array(steps), np.eye(2, 6))
    start = 3.0 * rng.standard_normal((batch, 4)) @ A.T
    n = 6 * steps
    return Programs(
        sp.diags_array(np.tile([0.1, 0.1, 1.0, 1.0, 1.0, 1.0], steps)).tocsc(),
        0.1 * rng.standard_normal((batch, n)),
        sp.vstack([inputs, -inputs]).tocsc(),
        np.ones((batch, 4 * steps)),
        sp.csc_array(dynamics),
        np.hstack([start, np.zeros((batch, 4 * (steps - 1)))]),
    )


def _drawn(like: Programs, batch: int, seed: tuple[int, int]) -> Programs:
    """The same matrices with vectors of their own: q normal, h = Gz + s and b = Az, z normal and s uniform."""
    rng, (_, n, m, _) = np.random.default_rng(seed), like.sizes
    z, s = rng.standard_normal((batch, n)), rng.uniform(size=(batch, m))
    return replace(like, q=rng.standard_normal((batch, n)), h=(like.G @ z.T).T + s, b=(like.A @ z.T).T)


def sparse_rows() -> dict[str, SparseRow]:
    """Every row by name: `sparse` of about a thousand variables, `large` of ten thousand and more."""
    rows = [
        *(
            SparseRow(f"{name}_1000", "sparse", partial(family, name=name, n=1000, batch=4), name)
            for name in FAMILIES
        ),
        SparseRow("control_1002", "sparse", partial(control, steps=167, batch=4), "control"),
        SparseRow("published_1024", "sparse", partial(published, n=1024, batch=1)),
        *(
            SparseRow(f"{name}_10000", "large", partial(family, name=name, n=10_000, batch=1), name)
            for name in FAMILIES
        ),
        SparseRow("control_10002", "large", partial(control, steps=1667, batch=1), "control"),
        SparseRow("banded_100000", "large", partial(family, name="banded", n=100_000, batch=1), "banded"),
    ]
    return {row.name: row for row in rows}
