"""Decisions under forecasts: the newsvendor's order, a generator's schedule, and networks that are trained for
either.
"""
