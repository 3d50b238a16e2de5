"""What the studies of differentiable model-predictive control share: its programs, and ways to solve them."""
