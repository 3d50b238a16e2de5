"""Parameters to data, solution to variables: affine maps applied to tensors, one sparse product for the whole batch.

Written in gathers and sums, so that torch differentiates it to every order and under every transform. What no batched
parameter touches is computed once and stays without a batch axis: the engines keep shared matrices shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod

import numpy as np
import torch
from torch import Tensor

from layers.canonical.affine import AffineMap
from layers.canonical.retrieval import Retrieval


@dataclass(frozen=True)
class _Product:
    """Entries of the stacked maps that belong to some of the sources: v ↦ Σ weight · v[column] added at row."""

    columns: Tensor
    weights: Tensor | None
    rows: Tensor
    cuts: tuple[int, ...]

    def entries(self, values: Tensor) -> Tensor:
        """weight · v[column], one per entry."""
        gathered = values.index_select(-1, self.columns)
        return gathered if self.weights is None else gathered * self.weights


@dataclass(frozen=True)
class _Plan:
    """What to do for one combination of batched and shared sources, on one device."""

    constant: Tensor
    shared: _Product
    batched: _Product


@dataclass(frozen=True)
class Assembly:
    """Affine maps of the same θ, evaluated together.

    Attributes
    ----------
    blocks : mapping of str to AffineMap
    widths : sequence of int
        Number of entries of each source, the pieces of θ.
    """

    blocks: Mapping[str, AffineMap]
    widths: Sequence[int]
    _plans: dict[tuple[tuple[bool, ...], torch.device], _Plan] = field(default_factory=dict, repr=False)

    def __call__(self, sources: Sequence[Tensor]) -> dict[str, Tensor]:
        """Evaluate every block.

        Parameters
        ----------
        sources : sequence of Tensor, float64, shapes ``(width,)`` or ``(B, width)``

        Returns
        -------
        dict of Tensor, shapes ``(size,)``, or ``(B, size)`` where a batched source is in it
        """
        batched = tuple(source.dim() == 2 for source in sources)
        plan = self._plan(batched, sources[0].device)
        base = plan.constant
        if plan.shared.rows.numel():
            values = torch.cat([s for s, has in zip(sources, batched, strict=True) if not has])
            base = base.index_add(0, plan.shared.rows, plan.shared.entries(values))
        sizes = [block.size for block in self.blocks.values()]
        blocks = dict(zip(self.blocks, base.split(sizes), strict=True))
        if plan.batched.rows.numel():
            values = torch.cat([s for s, has in zip(sources, batched, strict=True) if has], -1)
            entries = plan.batched.entries(values)
            for (name, block), (start, end) in zip(blocks.items(), pairwise(plan.batched.cuts), strict=True):
                if end > start:
                    where = plan.batched.rows[start:end]
                    wide = block.expand(values.shape[0], -1)
                    blocks[name] = wide.index_add(-1, where, entries[:, start:end])
        return blocks

    def _plan(self, batched: tuple[bool, ...], device: torch.device) -> _Plan:
        key = (batched, device)
        if key not in self._plans:
            constant = np.concatenate([block.constant for block in self.blocks.values()])
            self._plans[key] = _Plan(
                torch.as_tensor(constant, device=device),
                self._product([not has for has in batched], device, stacked=True),
                self._product(batched, device, stacked=False),
            )
        return self._plans[key]

    def _product(self, chosen: Sequence[bool], device: torch.device, *, stacked: bool) -> _Product:
        """The entries in the chosen sources; rows counted over all blocks if ``stacked``, else within each."""
        widths = np.asarray(self.widths)
        inside = np.repeat(chosen, widths)
        place = np.cumsum(inside) - 1
        rows, columns, weights, cuts, offset = [], [], [], [0], 0
        for block in self.blocks.values():
            kept = inside[block.columns]
            rows.append(block.rows[kept] + (offset if stacked else 0))
            columns.append(place[block.columns[kept]])
            weights.append(block.weights[kept])
            cuts.append(cuts[-1] + int(kept.sum()))
            offset += block.size
        weight = np.concatenate(weights)
        return _Product(
            columns=torch.as_tensor(np.concatenate(columns), device=device),
            weights=None if (weight == 1).all() else torch.as_tensor(weight, device=device),
            rows=torch.as_tensor(np.concatenate(rows), device=device),
            cuts=tuple(cuts),
        )


class Retriever:
    """Variables and dual variables out of (x, y): one gather, and a scale where one is needed.

    Parameters
    ----------
    retrievals : sequence of Retrieval
    n : int
        Number of entries of x.
    """

    def __init__(self, retrievals: Sequence[Retrieval], n: int) -> None:
        index = [r.index + (n if r.dual else 0) for r in retrievals]
        weights = np.concatenate([r.weights for r in retrievals]) if retrievals else np.zeros(0)
        self.shapes = [r.shape for r in retrievals]
        self.dual = [r.dual for r in retrievals]
        self._index = torch.as_tensor(np.concatenate(index) if index else np.zeros(0, dtype=np.int64))
        self._weights = None if (weights == 1).all() else torch.as_tensor(weights)

    def __call__(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """The entries of each variable, row-major, shapes ``batch + (size,)``."""
        whole = torch.cat([x, y], -1) if any(self.dual) else x
        entries = whole.index_select(-1, self._index.to(x.device))
        if self._weights is not None:
            entries = entries * self._weights.to(x.device)
        return list(entries.split([prod(shape) for shape in self.shapes], -1))
