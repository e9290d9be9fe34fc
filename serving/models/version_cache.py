"""The folder of verified versions: what is live and what was before it, so that a start needs no registry.

<use case>/0007/          a version as `Registry.pull` leaves it; `Registry.verify_folder` checks it
<use case>/kept.json      the versions that were live, the last one first
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEPT = "kept.json"


class Cache:
    """The folder `root`. What it holds is not trusted: it is verified before it is loaded."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str, number: int) -> Path:
        """Name the folder of a version, there or not."""
        return self.root / name / f"{number:04d}"

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Keep other workers of the service from this use case's folders; the end of a process ends its hold too."""
        home = self.root / name
        home.mkdir(parents=True, exist_ok=True)
        with (home / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def names(self) -> list[str]:
        """List the use cases of which a version was live."""
        return sorted(kept.parent.name for kept in self.root.glob(f"*/{KEPT}"))

    def kept(self, name: str) -> list[int]:
        """List the versions that were live, the last one first; none where the note cannot be read."""
        try:
            return [int(number) for number in json.loads((self.root / name / KEPT).read_bytes())]
        except (OSError, ValueError, TypeError):
            return []

    def keep(self, name: str, number: int) -> None:
        """Note that a version is live; remove all folders but its own and that of the version before it."""
        kept = [number, *(each for each in self.kept(name) if each != number)][:2]
        self._write(self.root / name / KEPT, json.dumps(kept).encode())
        stay = {self.folder(name, each).name for each in kept}
        for path in (self.root / name).iterdir():
            if path.is_dir() and path.name not in stay:  # also the download of a worker that died
                shutil.rmtree(path, ignore_errors=True)

    def _write(self, path: Path, content: bytes) -> None:
        """Write at one stroke: who dies half-way leaves what was there."""
        draft = path.with_name(f".{path.name}.draft")
        draft.write_bytes(content)
        draft.replace(path)
