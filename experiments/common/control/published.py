"""Published learning curves, by the number of steps done before, as the notebooks print them.

cvxpy/cvxpylayers, examples/torch/convex_approximate_dynamic_programming; cvxgrp/cocp, lqr, constrained_lqr, vehicle and
supply_chain. They print iteration k before its step, so that `it: 001` is step 0 here.
"""

from experiments.common.recorder import Recorder

ADP = {
    0: 1.51906,
    10: 1.39383,
    20: 1.13336,
    30: 0.987571,
    40: 0.94107,
    60: 0.918946,
    80: 0.913114,
    99: 0.910299,
}
# Cost above that of the optimal controller.
UNCONSTRAINED = {
    0: 0.389,
    1: 0.173,
    2: 0.066,
    3: 0.032,
    4: 0.017,
    5: 0.010,
    9: 0.006,
    19: 0.002,
    29: 0.002,
    49: 0.001,
}
BOX = {
    0: 16.940,
    1: 14.258,
    3: 13.795,
    9: 13.231,
    19: 13.175,
    29: 13.066,
    39: 13.106,
    59: 13.065,
    79: 13.019,
    99: 13.014,
}
VEHICLE = {0: 3.512, 3: 1.907, 9: 1.333, 29: 1.152, 49: 1.099, 99: 1.057}
SUPPLY_CHAIN = {
    0: -0.27864,
    25: -0.31466,
    50: -0.33704,
    75: -0.34467,
    100: -0.34331,
    125: -0.34239,
    150: -0.34303,
    175: -0.33782,
    199: -0.34093,
}


def record_published(curve: dict[int, float], metric: str, split: str, unit: str, record: Recorder) -> None:
    """Record a published curve beside ours, as method `<method>/published`."""
    for step, value in curve.items():
        record.metric(metric, split, step, value, unit, f"{record.method}/published")
