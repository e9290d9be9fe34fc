"""A folder of verified versions, the live one and its predecessor, so that the service can start without the registry.

<use case>/0007/        a version as `Registry.pull` leaves it; `open_folder` verifies what it reads of it
<use case>/kept.json    the versions that were live, the latest first
<use case>/seen.json    the last move of production that was seen, by the registry's address: no earlier one is accepted
<use case>/ids.json     the id of the registry's moves, by its address: none of another registry is accepted
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from updraft.registry.folder_hashes import open_file

KINDS = {stat.S_IFLNK: "link", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket"}
MAX_FILE = 64 << 10  # bytes of a file of ours
HISTORY_FILE, SEEN_FILE, IDS_FILE = "kept.json", "seen.json", "ids.json"


def require_private(root: Path) -> None:
    """Raise ValueError unless nobody else can put anything into the folder `root`, and nothing odd is in it.

    What is loaded is verified all the same. But a FIFO would stop the service, and whoever can exchange files could
    keep it from starting.
    """
    _require_private(root, root.lstat())
    waiting = [(root, not root.stat().st_mode & 0o077)]
    while waiting:
        folder, private = waiting.pop()
        for path in _children(folder):
            with suppress(FileNotFoundError):  # another worker moves what it has downloaded
                about = path.lstat()
                _require_private(path, about, private)
                if stat.S_ISDIR(about.st_mode):  # what is in a folder that nobody else can enter is out of reach
                    waiting.append((path, private or not about.st_mode & 0o077))


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def _require_private(path: Path, about: os.stat_result, private: bool = False) -> None:
    kind = stat.S_IFMT(about.st_mode)
    if kind not in (stat.S_IFDIR, stat.S_IFREG):
        raise ValueError(f"{str(path)!r} is a {KINDS.get(kind, 'device')}, expected files and folders alone")
    if about.st_uid not in (os.geteuid(), 0):
        raise ValueError(f"{str(path)!r} belongs to user {about.st_uid}, expected {os.geteuid()}")
    if not private and about.st_mode & 0o022:
        raise ValueError(f"{str(path)!r}: others may write to it, expected mode 0700 (chmod -R go-w)")


class Cache:
    """The cache in the folder `root`. Its contents are not trusted: they are verified before they are loaded."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str, number: int) -> Path:
        """Return the folder of a version, which may not exist."""
        return self.root / name / f"{number:04d}"

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Lock this use case's folders against the service's other workers, which download to the same places."""
        folder = self.root / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def names(self) -> list[str]:
        """Return the use cases that have had a live version."""
        return sorted(history.parent.name for history in self.root.glob(f"*/{HISTORY_FILE}"))

    def recent(self, name: str) -> list[int]:
        """Return the versions that were live, the latest first; none if the history cannot be read."""
        try:
            return [int(number) for number in _read_json(self.root / name / HISTORY_FILE)]
        except (OSError, ValueError, TypeError, RecursionError):
            return []

    def record(self, name: str, number: int) -> None:
        """Record that a version is live; delete all folders but its own and its predecessor's."""
        recent = [number, *(version for version in self.recent(name) if version != number)][:2]
        self._write(self.root / name / HISTORY_FILE, json.dumps(recent).encode())
        keep = {self.folder(name, version).name for version in recent}
        for path in (self.root / name).iterdir():
            if path.is_dir() and path.name not in keep:  # includes the partial download of a worker that died
                shutil.rmtree(path, ignore_errors=True)

    def last_move(self, name: str, registry: str) -> tuple[int, str]:
        """Return the sequence and the id of the last move that was seen; 0 and "" before the first."""
        sequence, move = self._seen(name).get(registry, (0, ""))
        return sequence, move

    def see_move(self, name: str, registry: str, sequence: int, move: str) -> None:
        """Record a move as the last one that was seen, before anything is done about it."""
        self._write(self.root / name / SEEN_FILE, json.dumps(self._seen(name) | {registry: (sequence, move)}).encode())

    def registry_id(self, name: str, registry: str) -> str:
        """Return the id of the moves that were seen at a registry's address; "" before the first."""
        return self._ids(name).get(registry, "")

    def see_registry(self, name: str, registry: str, registry_id: str | None) -> None:
        """Record the id of the moves at a registry's address, if they have one."""
        if registry_id and registry_id != self.registry_id(name, registry):
            self._write(self.root / name / IDS_FILE, json.dumps(self._ids(name) | {registry: registry_id}).encode())

    def _ids(self, name: str) -> dict[str, str]:
        try:
            return {str(registry): str(found) for registry, found in _read_json(self.root / name / IDS_FILE).items()}
        except (FileNotFoundError, ValueError, TypeError, AttributeError, RecursionError):
            return {}

    def forget(self, name: str) -> None:
        """Delete a use case's versions; the last move that was seen stays."""
        (self.root / name / HISTORY_FILE).unlink(missing_ok=True)
        for path in (self.root / name).iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)

    def _seen(self, name: str) -> dict[str, tuple[int, str]]:
        try:
            content = _read_json(self.root / name / SEEN_FILE)
            return {str(registry): (int(sequence), str(move)) for registry, (sequence, move) in content.items()}
        except (FileNotFoundError, ValueError, TypeError, AttributeError, RecursionError):
            return {}

    def _write(self, path: Path, content: bytes) -> None:
        """Write atomically: a process that dies half-way leaves the old file."""
        draft = path.with_name(f".{path.name}.draft")
        draft.write_bytes(content)
        draft.replace(path)


def _read_json(path: Path) -> Any:
    with open_file(path) as file:
        return json.loads(file.read(MAX_FILE))
