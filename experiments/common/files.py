"""Files of data whose content is compared with a checksum: a changed file cannot change a result unseen."""

import hashlib
from pathlib import Path

from experiments.common.errors import ConfigError


def checked_bytes(path: Path, sha256: str, kind: str, missing: str, altered: str) -> bytes:
    """The content of `path`.

    Parameters
    ----------
    path : path
        The file.
    sha256 : str
        Its checksum, 64 hexadecimal digits.
    kind, missing, altered : str
        What the file holds, and how an error ends: where it should be and what to do.

    Raises
    ------
    ConfigError
        If the file is missing, or was altered.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{kind}: {path.name} is missing{missing}") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ConfigError(
            f"{kind}: {path.name} has sha256 {digest[:12]}..., expected {sha256[:12]}...: {altered}"
        )
    return content
