"""Trainings that a shell's load owes: a load that is cut short has changed rows, and the next one finds them unchanged.

The DAG has `etl.changes` for that.
"""

from __future__ import annotations

import os
from pathlib import Path

PREFIX = ".changed-by-"  # and the id of the process


class OwedTraining:
    """A mark beside the runs of an ETL, from the first write on until the trainings were started.

    `is_owed` says that an earlier process has left its mark; one that still runs will see to its own.
    """

    def __init__(self, folder: Path) -> None:
        self._own = folder / f"{PREFIX}{os.getpid()}"
        marks = folder.glob(f"{PREFIX}*")
        self._earlier = [mark for mark in marks if mark == self._own or not _runs(mark.name.removeprefix(PREFIX))]
        self.is_owed = bool(self._earlier)

    def mark(self) -> None:
        """Note that rows are about to be written."""
        self._own.touch()

    def settle(self) -> None:
        """Forget what was owed: the trainings were started, or the user was told how to."""
        for mark in (self._own, *self._earlier):
            mark.unlink(missing_ok=True)


def _runs(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
