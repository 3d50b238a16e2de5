"""Parameters to data: affine maps applied to tensors, one sparse product for the whole batch.

Written in gathers and sums, so that torch differentiates it to every order and under every transform. A block that no
parameter touches is a constant, made once; one that no batched parameter touches stays without a batch axis. So the
engines keep shared matrices shared, and compute no gradient for constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from layers.cone_program import Indices
from layers.convex.canonical.affine import AffineMap
from layers.modes.kept import lasting


@dataclass(frozen=True)
class Block:
    """An affine map whose value is an array.

    Attributes
    ----------
    map : AffineMap
    shape : tuple of int
        Of the value, row-major.
    """

    map: AffineMap
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Share:
    """Entries ``start:end`` of a product belong to block ``name``, at ``rows``; to all of it, in order, if None."""

    name: str
    start: int
    end: int
    rows: Tensor | None


@dataclass(frozen=True)
class _Product:
    """v ↦ weight · v[column] for all entries in some of the sources; None stands for ones, and for the identity."""

    columns: Tensor | None
    weights: Tensor | None
    shares: tuple[_Share, ...]

    def entries(self, values: Tensor) -> Tensor:
        if self.columns is not None:
            values = values.index_select(-1, self.columns)
        return values if self.weights is None else values * self.weights


@dataclass(frozen=True)
class _Plan:
    """What to do for one combination of batched and shared sources, on one device."""

    constants: dict[str, Tensor]
    shared: _Product
    batched: _Product


@dataclass(frozen=True)
class Assembly:
    """Affine maps of the same θ, evaluated together.

    Attributes
    ----------
    blocks : mapping of str to Block
    widths : sequence of int
        Number of entries of each source, the pieces of θ.
    """

    blocks: Mapping[str, Block]
    widths: Sequence[int]
    _plans: dict[tuple[tuple[bool, ...], torch.device], _Plan] = field(default_factory=dict, repr=False)

    def __call__(self, sources: Sequence[Tensor], batch: Sequence[int]) -> dict[str, Tensor]:
        """Evaluate every block.

        Parameters
        ----------
        sources : sequence of Tensor, float64, shapes ``(width,)`` or ``(B, width)``
        batch : sequence of int
            The batch axes, whose product is B.

        Returns
        -------
        dict of Tensor, shapes ``shape``, or ``batch + shape`` where a batched source is in it
        """
        which = tuple(source.dim() == 2 for source in sources)
        plan = self._plan(which, sources[0].device)
        blocks = dict(plan.constants)
        if torch.compiler.is_exporting():
            # torch.export.save (2.13) stumbles over constants without entries.
            like = sources[0]
            blocks = {name: v if v.numel() else like.new_zeros(v.shape) for name, v in blocks.items()}
        for product, has in ((plan.shared, False), (plan.batched, True)):
            if not product.shares:
                continue
            values = [source for source, is_batched in zip(sources, which, strict=True) if is_batched == has]
            entries = product.entries(values[0] if len(values) == 1 else torch.cat(values, -1))
            for share in product.shares:
                own = entries.narrow(-1, share.start, share.end - share.start)
                if share.rows is not None:
                    block = blocks[share.name].reshape(-1)
                    wide = block.expand(*own.shape[:-1], block.shape[0])
                    own = wide.index_add(-1, share.rows, own)
                axes = tuple(batch) if has else ()
                blocks[share.name] = own.reshape(axes + self.blocks[share.name].shape)
        return blocks

    def _plan(self, batched: tuple[bool, ...], device: torch.device) -> _Plan:
        key = (batched, device)
        if key not in self._plans:
            with lasting():
                constants = {
                    name: torch.as_tensor(block.map.constant, device=device).reshape(block.shape)
                    for name, block in self.blocks.items()
                }
                shared = self._product([not has for has in batched], device)
                self._plans[key] = _Plan(constants, shared, self._product(batched, device))
        return self._plans[key]

    def _product(self, chosen: Sequence[bool], device: torch.device) -> _Product:
        """The entries in the chosen sources, block after block."""
        inside = np.repeat(chosen, self.widths)
        place = np.cumsum(inside) - 1
        columns: list[Indices] = []
        weights: list[np.ndarray] = []
        shares: list[_Share] = []
        start = 0
        for name, block in self.blocks.items():
            kept = inside[block.map.columns]
            rows = block.map.rows[kept]
            if rows.size:
                columns.append(place[block.map.columns[kept]])
                weights.append(block.map.weights[kept])
                # Where every entry is one parameter's and nothing is added, the entries are the block.
                alone = kept.all() and np.array_equal(rows, np.arange(block.map.size))
                plain = alone and not block.map.constant.any()
                where = None if plain else torch.as_tensor(rows, device=device)
                shares.append(_Share(name, start, start + rows.size, where))
                start += rows.size
        column = np.concatenate([np.zeros(0, dtype=np.int64), *columns])
        weight = np.concatenate([np.zeros(0), *weights])
        identity = np.array_equal(column, np.arange(int(inside.sum())))
        return _Product(
            columns=None if identity else torch.as_tensor(column, device=device),
            weights=None if (weight == 1).all() else torch.as_tensor(weight, device=device),
            shares=tuple(shares),
        )
