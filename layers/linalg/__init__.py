"""Linear algebra that knows no optimisation problem: batched products, saddle points, quasi-definite systems."""
