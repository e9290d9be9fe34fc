"""The files of old runs, on this machine or on S3: which of them may go, and removing them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from updraft.registry.s3 import Bucket
from updraft.stages.run_disk import folder_size

QUIET = timedelta(days=7)  # a run that nobody knows the end of may go when nothing was written for that long
ENDED = ("success", "failed")  # of Airflow's states of a run


@dataclass(frozen=True)
class RunFolder:
    """A run's files: their size in bytes, and when the last of them was written."""

    run_id: str
    size: int
    written: datetime


class RunFolders(Protocol):
    """The folders of a use case's runs."""

    def list(self) -> Iterable[RunFolder]: ...

    def remove(self, run_id: str) -> None: ...


class LocalRunFolders:
    """Run folders below `folder`; a link, which leads elsewhere, is none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def list(self) -> Iterable[RunFolder]:
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if path.is_dir() and not path.is_symlink():
                times = [each.lstat().st_mtime for each in (path, *path.rglob("*"))]
                yield RunFolder(path.name, folder_size(path), datetime.fromtimestamp(max(times), UTC))

    def remove(self, run_id: str) -> None:
        shutil.rmtree(self._folder / run_id)


class S3RunFolders:
    """Run folders in a bucket, whose prefix ends with the use case."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def list(self) -> Iterable[RunFolder]:
        for run_id in self._bucket.folders(""):
            objects = list(self._bucket.objects(f"{run_id}/"))
            yield RunFolder(run_id, sum(size for _, size, _ in objects), max(written for _, _, written in objects))

    def remove(self, run_id: str) -> None:
        for key in list(self._bucket.keys(f"{run_id}/")):
            self._bucket.delete(f"{run_id}/{key}")


def removable(
    runs: Iterable[RunFolder], keep: int, state: Callable[[str], str | None], now: datetime
) -> tuple[list[RunFolder], dict[str, str]]:
    """Return the runs that may go, all but the `keep` that were written last, and why others of these stay.

    `state` returns Airflow's state of a run, None for one that it does not know.
    """
    newest_first = sorted(runs, key=lambda run: run.written, reverse=True)
    old, staying = list[RunFolder](), dict[str, str]()
    for run in newest_first[keep:]:
        if reason := _stays(run, state(run.run_id), now):
            staying[run.run_id] = reason
        else:
            old.append(run)
    return old, staying


def _stays(run: RunFolder, state: str | None, now: datetime) -> str | None:
    if state in ENDED:
        return None
    if state is not None:
        return f"Airflow says {state}"
    if now - run.written < QUIET:
        return f"written less than {QUIET.days} days ago, and Airflow does not know that it has ended"
    return None
