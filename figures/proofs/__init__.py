"""Figures of the proofs, from the tables that `python -m proofs` writes to results/proofs/."""
