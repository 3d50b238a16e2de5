"""Cone programs with curved cones: the nouns of :mod:`layers.qp`, for another mathematics."""
