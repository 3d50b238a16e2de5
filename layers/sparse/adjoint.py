"""What the room of cones is asked for as a derivative, in the words of the adjoints of quadratic programs."""

from __future__ import annotations

from layers.cone.lpgd import Perturbation
from layers.qp.adjoints import bound, named
from layers.qp.adjoints.lpgd import SIDES, Lpgd
from layers.qp.gradients import Adjoint

#: adjoints that both rooms have
CONE_ADJOINTS = ("implicit", "lpgd")


def derivative_of_cones(adjoint: str | Adjoint) -> str | Perturbation:
    """The same for cone programs, of an adjoint in :data:`CONE_ADJOINTS`."""
    own = bound(named(adjoint))
    return Perturbation(own.tau, SIDES[own.side]) if isinstance(own, Lpgd) else own.name
