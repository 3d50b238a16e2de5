"""The one error a user of the experiments meets: what was given, what is expected, what to do."""

import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager


class ConfigError(ValueError):
    """A setting, an option or an input file that cannot be used; its message fits on one screen."""


def require(holds: bool, name: str, given: object, expected: str) -> None:
    """Raise a `ConfigError` about setting `name` unless `holds`."""
    if not holds:
        raise ConfigError(f"{name}: got {given!r}, expected {expected}")


def require_rate(name: str, given: float) -> None:
    """Raise a `ConfigError` about the setting `name` unless it is a learning rate that does not overflow float32."""
    require(0 < given <= 1e6, name, given, "a positive, finite learning rate, at most 1e6")


def require_one_of(name: str, given: object, valid: Iterable[object]) -> None:
    """Raise a `ConfigError` that lists the valid values of `name` unless `given` is one of them."""
    choices = list(valid)
    require(given in choices, name, given, "one of: " + ", ".join(str(choice) for choice in choices))


@contextmanager
def one_line(hint: str = "") -> Generator[None]:
    """End a command with one line, and no traceback, where a `ConfigError` or a file that cannot be used ends it."""
    try:
        yield
    except ConfigError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno is None:
            raise
        sys.exit(f"error: {error.filename or 'writing'}: {error.strerror}{hint}")
