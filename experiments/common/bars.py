"""The bars of a run at a terminal: one for its cells, and one for the training that each process is at."""

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Cell = tuple[str, int]


class Bars:
    """Shown while it is entered, if standard error is a terminal.

    Parameters
    ----------
    name : str
        Of the run.
    cells, kept : int
        How many cells there are, and how many of them were finished before.
    """

    def __init__(self, name: str, cells: int, kept: int) -> None:
        self.shown = sys.stderr.isatty()
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *times)
        console = Console(stderr=True)
        self.progress = Progress(*columns, console=console, disable=not self.shown, transient=True)
        self.whole = self.progress.add_task(f"{name}: cells", total=cells, completed=kept)
        self.trainings: dict[Cell, TaskID] = {}

    def hears(self, cell: Cell, done: int, of: int) -> None:
        """Show how many steps or epochs of its training a cell has done; the next training of it begins anew."""
        if cell not in self.trainings:
            self.trainings[cell] = self.progress.add_task(f"{cell[0]}, seed {cell[1]}: epochs", total=of)
        task = self.trainings[cell]
        before = self.progress.tasks[self.progress.task_ids.index(task)]
        if done < before.completed or of != before.total:
            self.progress.reset(task, total=of)
        self.progress.update(task, completed=done)

    def finished(self, cell: Cell) -> None:
        """Count a cell."""
        self.progress.update(self.whole, advance=1)
        if cell in self.trainings:
            self.progress.remove_task(self.trainings.pop(cell))

    def __enter__(self) -> "Bars":
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()
