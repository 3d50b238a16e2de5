"""Every engine side by side in one run: `python -m benchmarks`, described in docs/benchmarks.md."""
