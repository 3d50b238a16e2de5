"""Derivatives: (problem, solution, cotangent) -> gradient. None of them knows which solver found the solution."""
