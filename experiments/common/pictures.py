"""A real record and a real picture, which PyWavelets carries, checked, and how each is divided for learning.

docs/data.md says where they come from.
"""

import numpy as np
import pywt

from experiments.common.errors import ConfigError

# The picture has so many grey values a side, and a side of a reduced one divides it.
SIDE = 512
PARTS = ("train", "validation", "test")
# Blocks a side into which a picture is divided.
BLOCKS = 8


def recording() -> np.ndarray:
    """The 1024 samples, float64; raises ConfigError if the installed file is not the one documented."""
    samples = np.asarray(pywt.data.ecg(), dtype=float)
    if samples.shape != (1024,) or not np.isfinite(samples).all():
        raise ConfigError(f"pywt.data.ecg(): got shape {samples.shape}, expected 1024 finite samples")
    return samples


def split_in_time(length: int, gap: int) -> dict[str, range]:
    """Sample indices of training, validation and test: three consecutive thirds, `gap` samples apart."""
    edges = [round(length * third / 3) for third in range(4)]
    margins = [(0, gap // 2), (gap - gap // 2, gap // 2), (gap - gap // 2, 0)]
    bounds = zip(PARTS, edges[:-1], edges[1:], margins, strict=True)
    return {part: range(start + before, stop - after) for part, start, stop, (before, after) in bounds}


def image(side: int) -> np.ndarray:
    """The photographer, grey values from 0 to 1, reduced to `side` x `side` by means of squares.

    Raises
    ------
    ConfigError
        If the installed file is not the one documented.
    """
    grey = np.asarray(pywt.data.camera(), dtype=float)
    if grey.shape != (SIDE, SIDE) or not ((grey >= 0) & (grey <= 255)).all():
        raise ConfigError(
            f"pywt.data.camera(): got shape {grey.shape}, expected {SIDE} x {SIDE} grey values of 0 to 255"
        )
    block = SIDE // side
    return grey.reshape(side, block, side, block).mean((1, 3)) / 255


def split_in_blocks(side: int) -> dict[str, np.ndarray]:
    """Which pixels are in training, validation and test: blocks in turn along rows and columns, True where they are."""
    place = np.arange(side) * min(BLOCKS, side) // side
    turn = np.add.outer(place, place) % len(PARTS)
    return {part: turn == number for number, part in enumerate(PARTS)}
