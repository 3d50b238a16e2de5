"""What several proofs share: random instances, brute-force differences, ball arithmetic.

None of it knows a formula that a proof checks.
"""

from proofs.common.differences import central_difference, relative_error
from proofs.common.randomness import generator

__all__ = ["central_difference", "generator", "relative_error"]
