"""The disk that holds a run's files: warn before it is full, and say in one line what a full one or a lost file is."""

from __future__ import annotations

import errno
import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from updraft.errors import UserError
from updraft.stages.runs import MissingFiles

log = logging.getLogger(__name__)

NEARLY_FULL = 0.9
FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is too large",
}


class DiskFull(UserError):
    """A run's file could not be written; only a person can make room."""


@contextmanager
def explain_file_errors(folder: Path, out: Path) -> Iterator[None]:
    """Raise DiskFull in place of an error of a full disk, MissingFiles in place of one of a file below `folder`.

    `out` is the part of the run's folder that is being written.
    """
    try:
        yield
    except OSError as error:
        if reason := _full(error):
            raise DiskFull(_message(reason, Path(error.filename or out), out)) from None
        if isinstance(error, FileNotFoundError) and str(folder) in str(error):
            raise MissingFiles(_file(error)) from None
        raise


def _file(error: FileNotFoundError) -> str:
    """Return the file that is not there; Arrow names it in its message alone, in quotes."""
    named = re.search(r"local file '(.+?)'", str(error))
    return str(error.filename or (named[1] if named else error))


def warn_when_nearly_full(folder: Path, limit: float = NEARLY_FULL) -> None:
    """Log a warning when the disk of a folder is used up to `limit`, a share; the folder need not exist yet."""
    total, used, free = shutil.disk_usage(_existing(folder))
    if used / total >= limit:
        log.warning("the disk of %s is %.0f %% full, %s are free; `updraft clean` removes the files of old runs",
                    folder, 100 * used / total, size(free))  # fmt: skip


def size(count: float) -> str:
    """Format a number of bytes."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def folder_size(folder: Path) -> int:
    """Sum up the sizes of the files below a folder, in bytes."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def _full(error: BaseException | None) -> str | None:
    """Return why a file could not be written; closing it may have failed once more, and hide the first error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return FULL[error.errno]
        error = error.__cause__ or error.__context__
    return None


def _message(reason: str, path: Path, out: Path) -> str:
    written, free = size(folder_size(out)), size(shutil.disk_usage(_existing(path)).free)
    return (
        f"{path}: {reason}: more is needed than the {written} written so far, and {free} are free; "
        "make room (`updraft clean` removes the files of old runs) or set UPDRAFT_ARTIFACTS to another disk"
    )


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())
