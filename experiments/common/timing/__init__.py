"""Programs, packages and a stopwatch for experiments/layer_timing.py."""
