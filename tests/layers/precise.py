"""The derivative of a quadratic program at 50 digits: the active rows are given, everything else is mpmath."""

from __future__ import annotations

import numpy as np
import torch
from mpmath import mp
from torch import Tensor

from tests.layers.instances import Array, Data

DIGITS = 50


def gradients(data: Data, active: Array, bars: tuple[Array, Array, Array]) -> list[Tensor]:
    """Of z̄ᵀz + λ̄ᵀλ + ν̄ᵀν in Q, q, G, h, A and b, from the equations of the active rows.

    The solution is found from the same rows, so nothing of a solver enters; that it is one is asserted.
    """
    with mp.workdps(DIGITS):
        Q, q, G, h, A, b = (mp.matrix(t.tolist()) if t.numel() else None for t in data)
        n, m, p = len(data[1]), len(data[3]), len(data[5])
        on = [int(i) for i in np.flatnonzero(active)]
        size = n + len(on) + p
        K, right, side = mp.matrix(size, size), mp.matrix(size, 1), mp.matrix(size, 1)
        rows = [[G[i, j] for j in range(n)] for i in on] + [[A[i, j] for j in range(n)] for i in range(p)]
        for i in range(n):
            right[i], side[i] = -q[i], -mp.mpf(float(bars[0][i]))
            for j in range(n):
                K[i, j] = (Q[i, j] + Q[j, i]) / 2
        for k, row in enumerate(rows):
            right[n + k] = h[on[k]] if k < len(on) else b[k - len(on)]
            side[n + k] = -mp.mpf(float(bars[1][on[k]] if k < len(on) else bars[2][k - len(on)]))
            for j in range(n):
                K[n + k, j] = K[j, n + k] = row[j]
        x, d = mp.lu_solve(K, right), mp.lu_solve(K, side)
        z, dz = [x[i] for i in range(n)], [d[i] for i in range(n)]
        lam, dlam = [mp.mpf(0)] * m, [mp.mpf(0)] * m
        for k, i in enumerate(on):
            lam[i], dlam[i] = x[n + k], d[n + k]
        nu, dnu = ([v[n + len(on) + k] for k in range(p)] for v in (x, d))
        assert all(v >= 0 for v in lam)
        assert all(mp.fsum(G[i, j] * z[j] for j in range(n)) <= h[i] + mp.mpf(10) ** -12 for i in range(m))
        found = (
            [[(dz[i] * z[j] + z[i] * dz[j]) / 2 for j in range(n)] for i in range(n)],
            dz,
            [[lam[i] * dz[j] + dlam[i] * z[j] for j in range(n)] for i in range(m)],
            [-v for v in dlam],
            [[nu[i] * dz[j] + dnu[i] * z[j] for j in range(n)] for i in range(p)],
            [-v for v in dnu],
        )
        return [
            torch.from_numpy(np.array(g, dtype=np.float64)).reshape(t.shape)
            for g, t in zip(found, data, strict=True)
        ]
