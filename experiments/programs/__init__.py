"""The example programs of cvxpylayers, one module each, written for any layer of its signature."""

from experiments.programs import (
    constrained_mpc,
    elastic_net,
    monotone_regression,
    optimal_transport,
    relu_network,
    resource_allocation,
    signal_denoising,
    stiffness,
)

__all__ = [
    "constrained_mpc",
    "elastic_net",
    "monotone_regression",
    "optimal_transport",
    "relu_network",
    "resource_allocation",
    "signal_denoising",
    "stiffness",
]
