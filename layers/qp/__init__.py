"""Quadratic programs: problem → solve → differentiate, in the two ways that docs/architecture.md draws."""
