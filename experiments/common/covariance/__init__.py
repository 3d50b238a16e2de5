"""Covariances of daily returns: what is known at the end of a month, estimators, and portfolios of least variance."""
