"""OptNet's published learning curves on 4x4 Sudoku, and the numbers of givens in its data.

Curves: fraction of 1,000 test boards that are wrong after each epoch of 9,000 puzzles, read to three digits off the
vector coordinates of the figure in section 4.4 of arXiv 1703.00443 (data/sudoku/error.pdf of its source). Counts: the
givens of the 10,000 puzzles released with it (locuslab/optnet, sudoku/data/2).
"""

EPOCH = 9000
TEST_ERROR = {
    "optnet": (
        *(1.0, 1.0, 0.147, 0.001, 0.005, 0.003, 0.001, 0.004, 0.146, 0.001),
        *(0.002, 0.001, 0.006, 0.004, 0.0, 0.003, 0.0, 0.001, 0.014),
    ),
    "convolutional": (
        *(1.0, 1.0, 0.872, 0.269, 0.157, 0.124, 0.092, 0.111, 0.091, 0.085),
        *(0.066, 0.076, 0.092, 0.089, 0.060, 0.058, 0.073, 0.060, 0.090),
    ),
}
GIVENS = {4: 1363, 5: 5554, 6: 2860, 7: 218, 8: 5}
