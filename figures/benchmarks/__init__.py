"""Figures of the benchmark: functions of benchmarks/results.csv."""
