"""What Amos et al. (arXiv 1810.13400) and its program report, for figures and comparisons.

Read off the paper's figures, or means of nine logged rows for each number of iterations (times, in seconds).
"""

# Imitation loss of the eight trials after 1,000 steps, in order of size.
FINAL_IMITATION_LOSS = (0.001, 0.002, 0.002, 0.004, 0.189, 0.192, 0.206, 0.209)
# Seconds of the forward and of the backward pass, by method and number of iterations.
TIMES = {
    "implicit": {1: (0.0184, 0.0248), 32: (0.703, 0.0153), 64: (1.339, 0.0153), 128: (2.867, 0.0154)},
    "unrolled": {1: (0.0293, 0.0533), 32: (1.334, 1.329), 64: (2.473, 2.832), 128: (5.426, 5.934)},
}
# Test imitation loss on the pendulum at the best epoch on validation, by method and number of training trajectories.
PENDULUM = {
    "lstm": {10: 0.388, 50: 0.078, 100: 0.0269},
    "sysid": {10: 1.5e-4, 50: 2.1e-5, 100: 2.4e-6},
    "mpc_dynamics": {10: 5.16, 50: 4.6e-7, 100: 3.4e-8},
    "mpc_cost": {10: 4.3e-3, 50: 1.2e-5, 100: 2.8e-5},
    "mpc_cost_dynamics": {10: 6.3e-2, 50: 2.1e-4, 100: 1.8e-4},
}
# The same on the cart-pole.
CARTPOLE = {
    "lstm": {10: 45.8, 50: 21.5, 100: 9.70},
    "sysid": {10: 1.6e-2, 50: 3.2e-3, 100: 8.0e-4},
    "mpc_dynamics": {10: 2.2e-2, 50: 8.9e-2, 100: 1.6e-4},
    "mpc_cost": {10: 19.9, 50: 0.322, 100: 9.5e-4},
    "mpc_cost_dynamics": {10: 21.7, 50: 1.81, 100: 4.3e-3},
}
