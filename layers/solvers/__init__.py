"""Engines: problem -> point. None of them knows how its answer is differentiated."""
