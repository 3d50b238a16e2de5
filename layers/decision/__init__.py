"""Decision-focused losses: how to learn the costs of a program whose solution does not move with them.

The minimiser w*(c) of a linear cost over a polytope is a vertex, constant almost everywhere in c: its true derivative
is zero or does not exist. Three answers, each for any solver w* that is a function from costs to decisions of the same
shape; solvers see no gradient, so they may be combinatorial:

- :func:`spo_plus`: a convex loss above the regret (Elmachtoub & Grigas 2022);
- :func:`fenchel_young` and :func:`perturbed`: decisions averaged over perturbed costs, and their loss (Berthet et al.
  2020);
- :func:`blackbox`: the decision itself, with the slope of an interpolation (Vlastelica et al. 2020).
"""

from layers.decision.interpolation import blackbox
from layers.decision.perturbation import fenchel_young, perturbed
from layers.decision.spo import spo_plus

__all__ = ["blackbox", "fenchel_young", "perturbed", "spo_plus"]
