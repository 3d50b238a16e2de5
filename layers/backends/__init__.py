"""Whole third-party layers behind our signature: each owns its solver and its adjoint.

Adding one costs a file here, a line in the registry below, and a YAML in ``configs/layer/``.
"""

from layers.backends import cvxpylayers_, moreau_, qpth_
from layers.backends.base import Backend

__all__ = ["BACKENDS", "Backend"]

BACKENDS: dict[str, Backend] = {
    "qpth": qpth_.BACKEND,
    "cvxpylayers": cvxpylayers_.BACKEND,
    "moreau": moreau_.BACKEND,
}
