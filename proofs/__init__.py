"""Every theorem and printed equation of the survey, checked symbolically, numerically and with certified
bounds.

``python -m proofs`` runs all of it and writes ``proofs/LEDGER.md``; ``python -m proofs 2 7`` runs the named
items only. `proofs.ledger` shows how a proof is registered.
"""
