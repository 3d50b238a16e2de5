"""What the Sudoku studies share: rules, puzzles, constraints read off solutions, models, training."""
