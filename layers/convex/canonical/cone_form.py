"""The end of CVXPY's chain of reductions for our purposes: cones, their order, and no numbers."""

from __future__ import annotations

from typing import Any

from cvxpy.constraints.exponential import ExpCone
from cvxpy.constraints.nonpos import NonNeg
from cvxpy.constraints.power import PowCone3D
from cvxpy.constraints.psd import SvecPSD
from cvxpy.constraints.second_order import SOC
from cvxpy.constraints.zero import Zero
from cvxpy.reductions.solvers.conic_solvers.conic_solver import ConicSolver
from cvxpy.utilities.psd_utils import TriangleKind

#: kinds of constraints, in the order of their rows
ORDER = (Zero, NonNeg, SOC, SvecPSD, ExpCone, PowCone3D)


class ConeForm(ConicSolver):
    """The end of CVXPY's chain of reductions: the parametrized cone program itself, with no numbers put in.

    It names the cones and the order of rows of :class:`layers.cone_program.Cones`. Bounds of variables become rows
    (``BOUNDED_VARIABLES`` is false), so that they cannot be overlooked.
    """

    MIP_CAPABLE = False
    BOUNDED_VARIABLES = False
    SUPPORTED_CONSTRAINTS = list(ORDER)  # noqa: RUF012
    EXP_CONE_ORDER = [0, 1, 2]  # noqa: RUF012
    PSD_TRIANGLE_KIND = TriangleKind.UPPER
    PSD_SQRT2_SCALING = True

    def name(self) -> str:
        """The name under which CVXPY caches what it compiled."""
        return "CONE_FORM"

    def import_solver(self) -> None:
        """Nothing has to be installed."""

    def supports_quad_obj(self) -> bool:
        """Quadratic objectives stay quadratic."""
        return True

    def apply(self, problem: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Order and format the rows; leave the parameters alone."""
        _, data, inverse = self._prepare_data_and_inv_data(problem)
        return data, inverse

    def solve_via_data(self, *args: Any, **options: Any) -> None:
        """Refuse: this is no solver."""
        raise NotImplementedError("this end of the chain compiles; it does not solve")

    def cite(self, data: Any) -> str:
        """Nothing to cite."""
        return ""


CONE_FORM = ConeForm()
