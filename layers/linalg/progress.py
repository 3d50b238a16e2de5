"""A line on standard error about a long solve that was asked to tell how far it is. Nothing is written unasked."""

from __future__ import annotations

import sys
import time

#: seconds between two words
EVERY = 0.1


class Progress:
    """One line, written over and over.

    Parameters
    ----------
    shown : bool
        Whether anything is written.
    """

    def __init__(self, shown: bool) -> None:
        self.shown, self.start, self.told, self.width = shown, time.monotonic(), 0.0, 0

    def tell(self, what: str, *, last: bool = False) -> None:
        """The line now, unless the last one is newer than a tenth of a second; the ``last`` one ends it."""
        now = time.monotonic()
        if not self.shown or not (last or now - self.told > EVERY):
            return
        line = f"{what}, {now - self.start:.1f} s"
        sys.stderr.write(f"\r{line:<{self.width}}{chr(10) if last else ''}")
        sys.stderr.flush()
        self.told, self.width = now, len(line)
