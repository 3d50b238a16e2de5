"""Piecewise constant signals in white noise, as OptNet draws them."""

from dataclasses import dataclass

import numpy as np

from experiments.common.errors import require
from experiments.common.training import Split


@dataclass
class Data:
    """Signals of `length` samples, 1 to `max_segments` pieces, noise of standard deviation `noise`."""

    length: int = 100  #: of a signal [samples]
    train: int = 8000  #: to learn from [signals]
    validation: int = 1000  #: that choose the epoch and the weight [signals]
    test: int = 1000  #: that are reported [signals]
    max_segments: int = 9  #: most constant pieces of a signal [segments]
    noise: float = 10.0  #: standard deviation of the noise [as the signal]

    def check(self) -> None:
        """Raise a `ConfigError` unless such signals can be drawn."""
        require(self.length >= 4, "data.length", self.length, "at least 4 samples")
        for name in ("train", "validation", "test"):
            count = getattr(self, name)
            require(count > 0, f"data.{name}", count, "a positive number of signals")
        fits = 1 <= self.max_segments < self.length
        require(fits, "data.max_segments", self.max_segments, "1 to data.length - 1 segments")
        require(0 < self.noise < np.inf, "data.noise", self.noise, "a positive, finite standard deviation")


def make_signals(count: int, data: Data, rng: np.random.Generator) -> Split:
    """Draw `count` signals as OptNet's denoising/create.py does.

    The number of segments is uniform on 1..max_segments, the breaks are distinct positions in 1..length-2,
    the heights are integers uniform on 10..99, and white Gaussian noise is added.
    """
    clean = np.empty((count, data.length))
    for signal in clean:
        segments = rng.integers(1, data.max_segments + 1)
        breaks = np.sort(rng.choice(data.length - 2, segments - 1, replace=False)) + 1
        widths = np.diff(breaks, prepend=0, append=data.length)
        signal[:] = np.repeat(rng.integers(10, 100, segments), widths)
    return Split(clean + data.noise * rng.standard_normal(clean.shape), clean)
