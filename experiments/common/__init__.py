"""What the experiments share: small functions for tables, provenance, statistics and training."""
