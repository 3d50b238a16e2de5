"""Run an experiment: `python -m experiments.run experiment=denoising layer=qpth size=smoke train.lr=1e-3`.

Groups: `experiment`, `layer`, `size`; every other setting is a field of the experiment's `Config`. Several
runs at once: `--multirun layer=auto,qpth 'seeds=[0],[1]'`. Tables go to <output>/<experiment>/<size>/<layer>,
output=build/results unless told otherwise, and those of a run with anything changed to a folder of its own below,
named by the changes. A run that was interrupted goes on where it stopped when the same command is given again.
"""

import os
import signal
import sys

INTERRUPTED = "interrupted: finished parts are kept, the same command goes on from there"


def main() -> None:
    """Entry point of the command line: one screen for every mistake, no traceback."""
    # Imported here, so that an interruption while torch is loaded is told like any other; raised inside an import it
    # would come out as another error.
    signal.signal(signal.SIGINT, _leave)
    from experiments.command import execute

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        execute(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _leave(*_: object) -> None:
    sys.stderr.write(f"{INTERRUPTED}\n")
    os._exit(1)


if __name__ == "__main__":
    main()
