"""Draw figures: see `figures.program`."""

import sys

from figures.program import main

if __name__ == "__main__":
    main(sys.argv[1:])
