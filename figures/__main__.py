"""Draw figures: see `figures.program`."""

import sys

from experiments.common.errors import ConfigError

if __name__ == "__main__":
    # Importing the figures reads labels, and a sheet may be wrong.
    try:
        from figures.program import main
    except ConfigError as error:
        sys.exit(f"error: {error}")
    main(sys.argv[1:])
