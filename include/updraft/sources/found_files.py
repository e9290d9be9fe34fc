"""Files of rows where they lie: one, those of a folder, or those that a pattern matches; here those of this machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from glob import glob, has_magic
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

from updraft.registry.folder_hashes import sha256
from updraft.sources.format import LocalFile
from updraft.sources.source import BadSource

CHANGED = "changed while it was read; start again when it is complete"


class FoundFile(Protocol):
    """A file that rows are read from: its `name` in messages, its `label` in a row's place, its bytes if known."""

    name: str
    label: str
    size: int | None

    def local(self) -> AbstractContextManager[LocalFile]:
        """Give the file on this machine for a while."""
        ...

    def require_unchanged(self) -> None:
        """Raise BadSource when the file is another one than when it was given."""
        ...

    def describe(self) -> dict[str, Any]:
        """Say which bytes were read, for the dataset's manifest; after `local`."""
        ...


class DiskFile:
    """A file of this machine."""

    def __init__(self, path: Path, label: str) -> None:
        self._path, self.name, self.label = path, str(path), label
        self._stat = self._look()
        self.size: int | None = self._stat[0]

    @contextmanager
    def local(self) -> Iterator[LocalFile]:
        self._stat = self._look()
        yield LocalFile.at(self._path)

    def describe(self) -> dict[str, Any]:
        try:
            digest = sha256(self._path)
        except OSError as error:
            raise BadSource(f"file {self.name!r}: {error.strerror}") from None
        self.require_unchanged()
        return {"path": self.name, "sha256": digest, "size": self._stat[0]}

    def _look(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            raise BadSource(f"file {self.name!r}: no such file") from None
        except OSError as error:
            raise BadSource(f"file {self.name!r}: {error.strerror}") from None
        return found.st_size, found.st_mtime_ns, found.st_ino

    def require_unchanged(self) -> None:
        if self._look() != self._stat:
            raise BadSource(f"file {self.name!r}: {CHANGED}")


def disk_files(path: str) -> list[FoundFile]:
    """Find the files of this machine that a path names: itself, those in it, or those that match it, by name."""
    place = Path(path)
    if not place.exists() and has_magic(path):
        base = fixed_part(path)
        found = [Path(each) for each in glob(path, include_hidden=True) if Path(each).is_file()]  # noqa: PTH207
        return chosen(path, found, lambda each: each.as_posix().removeprefix(base), DiskFile)
    if place.is_dir():
        found = [each for each in place.iterdir() if each.is_file()]
        return chosen(path, found, lambda each: each.name, DiskFile)
    if place.exists() and not place.is_file():
        raise BadSource(f"file {path!r}: neither a file nor a folder")
    return [DiskFile(place, place.name)]


T = TypeVar("T")


def chosen(
    path: str, found: Iterable[T], label: Callable[[T], str], make: Callable[[T, str], FoundFile]
) -> list[FoundFile]:
    """Make the files out of what was found, by name; raise BadSource where none is left.

    Hidden names, which begin with a dot or, as Spark's _SUCCESS, with a low line, are left out.
    """
    labelled = sorted((label(each), index, each) for index, each in enumerate(found))
    files = [make(each, name) for name, _, each in labelled if not PurePosixPath(name).name.startswith((".", "_"))]
    if not files:
        what = "no file matches" if has_magic(path) else "no files in it"
        raise BadSource(f"files {path!r}: {what}" + (", but hidden ones" if labelled else ""))
    return files


def fixed_part(pattern: str) -> str:
    """Return a pattern's folders before the first that has a wildcard, with the slash at their end."""
    fixed = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    return fixed[: fixed.rfind("/") + 1]
