"""One setting of a whole configuration changed to what cannot be used."""

from typing import Any

import pytest

from experiments.common.errors import ConfigError


def assert_refused(config: Any, place: str, value: object, message: str) -> None:
    """`config.check()` names what is wrong when the setting at `place`, as on the command line, is `value`."""
    *sections, name = place.split(".")
    owner = config
    for section in sections:
        owner = getattr(owner, section)
    setattr(owner, name, value)
    with pytest.raises(ConfigError, match=message):
        config.check()
