"""Figures of docs/adjoints.md, one an adjoint, from the tables of the study of adjoints."""
