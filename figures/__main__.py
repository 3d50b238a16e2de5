"""Draw figures: see `figures.program`."""

import sys

from experiments.common.errors import one_line

if __name__ == "__main__":
    # Importing the figures reads labels, and a sheet may be wrong.
    with one_line():
        from figures.program import main
    main(sys.argv[1:])
