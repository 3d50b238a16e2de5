"""What the C++ core and Python call by one name: statuses, activities, tolerances, the order of the parts of a program.

The values stand here, because they are needed where no core is built, and in ``csrc/door/constants.hpp``, which exports
its own. A core whose values differ was built from other sources: it is not taken.
"""

from __future__ import annotations

from types import ModuleType

from layers.linalg.semidefinite import CURVATURE
from layers.solution import LOOSE, ROWS, ROWS_GAP, ROWS_SHARP, Status

#: what the core says of an element that it did not solve: it is left to the torch engine, or its data are to be checked
LEFT, SUSPECT = -1, -2
#: what a constraint is at a solution; the core calls one UNCLEAR whose activity it cannot tell beyond doubt
UNCLEAR, INACTIVE, ACTIVE, WEAK = -1, 0, 1, 2
#: sᵢ and λᵢ both below this, relative to scale, are zero
WEAK_TOLERANCE = 1e-9
#: a solution of residual r leaves sᵢ ≈ λᵢ ≈ √r at a weakly active constraint, with a ratio that stays near one
WEAK_RATIO = 1e-2
#: blocks of a quadratic program in the order in which the core takes them; D is left out where it is the identity
PARTS = ("Q", "q", "G", "h", "A", "b", "M", "f", "D")

SHARED: dict[str, object] = {
    "OPTIMAL": int(Status.OPTIMAL),
    "INFEASIBLE": int(Status.INFEASIBLE),
    "UNBOUNDED": int(Status.UNBOUNDED),
    "LEFT": LEFT,
    "SUSPECT": SUSPECT,
    "UNCLEAR": UNCLEAR,
    "INACTIVE": INACTIVE,
    "ACTIVE": ACTIVE,
    "WEAK": WEAK,
    "WEAK_TOLERANCE": WEAK_TOLERANCE,
    "WEAK_RATIO": WEAK_RATIO,
    "LOOSE": LOOSE,
    "ROWS": ROWS,
    "ROWS_GAP": ROWS_GAP,
    "ROWS_SHARP": ROWS_SHARP,
    "CURVATURE": CURVATURE,
    "PARTS": PARTS,
}


def disagreement(core: ModuleType) -> str | None:
    """Why this core does not belong to this Python; None if it does."""
    theirs: dict[str, object] = getattr(core, "CONSTANTS", {})
    differing = [name for name in SHARED.keys() | theirs.keys() if SHARED.get(name) != theirs.get(name)]
    if not differing:
        return None
    return f"it was built from other sources, which differ in {', '.join(sorted(differing))}"
