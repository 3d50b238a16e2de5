"""What training found: kept as arrays beside the tables, and given back, so that a run scores it without training.

An array belongs to `<method>/<seed>/<parameter>`. Networks that are only compared with are not kept: they are a hundred
times as large.
"""

import io
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments.common.errors import ConfigError
from experiments.common.records import Place, again, check_table, read_record
from experiments.common.results import Row, write_bytes

FILE = "weights.npz"
# By name; of a module those that it learns.
Parameters = Mapping[str, Tensor] | nn.Module

_given: ContextVar[Mapping[str, np.ndarray] | None] = ContextVar("given", default=None)


@contextmanager
def given(weights: Mapping[str, np.ndarray]) -> Generator[None]:
    """Within the block nothing is trained: what training found before takes its place."""
    token = _given.set(weights)
    try:
        yield
    finally:
        _given.reset(token)


def put(parameters: Parameters, prefix: str) -> bool:
    """Whether weights are given; those under `prefix` are then put in place.

    Raises
    ------
    ConfigError
        If one is missing or has another shape than the parameter.
    """
    weights = _given.get()
    if weights is None:
        return False
    for name, parameter in _named(parameters).items():
        key = f"{prefix}/{name}"
        found = weights.get(key)
        if found is None or found.shape != tuple(parameter.shape):
            got = "nothing" if found is None else f"an array of shape {found.shape}"
            raise ConfigError(f"{FILE}: {key}: got {got}, expected one of shape {tuple(parameter.shape)}")
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(found))
    return True


def rows(parameters: Parameters, prefix: str) -> list[Row]:
    """The parameters as rows of a cell, exact."""
    return [
        {"key": f"{prefix}/{name}", "value": parameter.detach().double().cpu().numpy().tolist()}
        for name, parameter in _named(parameters).items()
    ]


def write(path: Path, kept: Iterable[Row]) -> None:
    """Write rows of `rows` as an .npz file: same numbers, same bytes."""
    arrays: dict[str, Any] = {str(row["key"]): np.asarray(row["value"], dtype=np.float64) for row in kept}
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    write_bytes(path, packed.getvalue())


def read(results: Path, place: Place) -> dict[str, np.ndarray]:
    """What the run at `place` learned, once it is what the run wrote.

    Raises
    ------
    ConfigError
        If the run has no such file, or it is damaged.
    """
    record, path = read_record(results, place), results / place.path / FILE
    if FILE not in record.get("tables", {}):
        raise ConfigError(f"{path}: the run kept no weights; {again(place)}")
    check_table(path, record, place)
    with np.load(path) as arrays:
        return {key: arrays[key] for key in arrays.files}


def _named(parameters: Parameters) -> dict[str, Tensor]:
    if isinstance(parameters, nn.Module):
        return {name: each for name, each in parameters.named_parameters() if each.requires_grad}
    return dict(parameters)
