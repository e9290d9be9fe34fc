"""The folder of verified versions: what is live and what was before it, so that a start needs no registry.

<use case>/0007/          a version as `Registry.pull` leaves it
<use case>/0007.sig       its signature, so that it can be verified here as well
<use case>/kept.json      the versions that were live, the last one first
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from updraft.contents import holds
from updraft.registry import Untrusted

KEPT = "kept.json"


class Cache:
    """The folder `root`. What it holds is not trusted: `verify` first."""

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

    def seal(self, name: str, number: int, signature: bytes) -> None:
        """Lay a version's signature (base64) beside its folder."""
        self._write(self._seal(name, number), signature)

    def verify(self, name: str, number: int, key: Ed25519PublicKey | None) -> None:
        """Check signature, name, number and every file of a version; raises Untrusted."""
        folder, where = self.folder(name, number), f"{name} version {number} in the cache"
        if key is None:
            raise Untrusted(f"{where}: no key to verify with")
        try:
            manifest = (folder / "manifest.json").read_bytes()
            key.verify(base64.b64decode(self._seal(name, number).read_bytes(), validate=True), manifest)
        except (FileNotFoundError, InvalidSignature, binascii.Error):
            raise Untrusted(f"{where}: not signed, or altered") from None
        told = json.loads(manifest)
        if (told["name"], told["version"]) != (name, number) or not holds(folder, told["files"], manifest):
            raise Untrusted(f"{where}: its files are not those that were signed")

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
                path.with_suffix(".sig").unlink(missing_ok=True)

    def _seal(self, name: str, number: int) -> Path:
        return self.folder(name, number).with_suffix(".sig")

    def _write(self, path: Path, content: bytes) -> None:
        """Write at one stroke: who dies half-way leaves what was there."""
        draft = path.with_name(f".{path.name}.draft")
        draft.write_bytes(content)
        draft.replace(path)
