"""Whether a run of an ETL has changed a store: in this try of `load`, or in an earlier one that was cut short.

What an earlier try wrote, a later one finds unchanged. Without a mark, the trainings that wait for it would not start.
"""

from __future__ import annotations

from updraft.stages.runs import IncompleteUpload, MissingFiles, RunFiles
from updraft.stages.stage_folder import read_json, recreate_folder, write_json

FOLDER, FILE = "changes", "changes.json"


class Changes:
    """The mark in the run's files: `pending` from before the first write on, `announced` at the end of `load`.

    `attempts` is the number of tries that the task may take in all, which Airflow raises when a task is cleared: a mark
    that is announced counts for further tries of the same attempt alone, whose end Airflow has not been told.
    """

    def __init__(self, files: RunFiles, attempts: int) -> None:
        self._files, self._attempts = files, attempts
        self.any = self._earlier()
        self._marked = False

    def mark(self) -> None:
        """Note that something is about to be written."""
        if not self._marked:
            self._write("pending")
        self._marked = self.any = True

    def announced(self) -> None:
        """Note that the end of this task announces the change."""
        self._write("announced")

    def _earlier(self) -> bool:
        try:
            folder = self._files.download(self._files.uri(self._files.folder / FOLDER))
            mark = read_json(folder / FILE)
        except (MissingFiles, FileNotFoundError):
            return False
        except (IncompleteUpload, ValueError):  # cut short while it was written
            return True
        return bool(mark["state"] == "pending" or mark["attempts"] == self._attempts)

    def _write(self, state: str) -> None:
        folder = recreate_folder(self._files.folder / FOLDER)
        write_json(folder / FILE, {"state": state, "attempts": self._attempts})
        self._files.upload(folder, folder)
