"""The versions of a use case in the registry, as pages show them: verified, the latest first, so many at a time.

A version never changes, nor does a move: each is read once. What a page costs does not grow with their number.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from serving.models.version_cache import Cache
from updraft.registry.moves import Move, Pointer
from updraft.registry.overview.known_versions import KnownVersions, VersionFacts
from updraft.registry.registry import NoSuchVersion, Registry, VerificationError, Version
from updraft.registry.s3 import key_for
from updraft.registry.states import States, replay
from updraft.registry.version_folder import open_folder

SHOWN = 30  # versions of a page: each takes two requests the first time
MAX_LOOKED_AT = 5 * SHOWN  # folders
MAX_WAIT = 5.0  # seconds for another thread
READERS = 8  # requests at the same time, of the 10 that a client of S3 keeps open
MAX_GAP = 20  # moves that are read one after the other, as each names the one before; more are read side by side
MAX_FILE = 16 << 20  # bytes of a file that is shown
LAST = 10**9  # the highest number of a version


@dataclass(frozen=True)
class Listed:
    """Versions, the latest first, and whether there are later and earlier ones."""

    versions: list[VersionFacts]
    before: int | None  # the oldest shown, where there are earlier ones
    is_latest: bool


class Versions:
    """Read what is shown of versions; each method raises VerificationError, and what S3 raises.

    While the registry is known not to be `reachable` each raises OSError at once: threads that wait for it would be
    missing where predictions are made.
    """

    def __init__(self, registry: Registry, cache: Cache, reachable: Callable[[], bool]) -> None:
        self._store, self._cache, self._reachable = registry, cache, reachable
        self._known = KnownVersions()
        self._moves: dict[str, list[Move]] = {}
        self._lock = threading.Lock()

    def history(self, name: str, pointer: Pointer | None) -> list[Move]:
        """Return all moves up to a verified pointer, oldest first."""
        if not self._lock.acquire(timeout=MAX_WAIT):  # the first time there may be hundreds to read: by one thread
            raise OSError("another request is reading the history")
        try:
            known = self._moves.get(name, [])
            if pointer is None or (known and known[-1].move == pointer.move):
                return known
            moves = self._continue(name, known, pointer)
            if moves is None:
                moves = self._registry.moves(name).history_to(pointer)
            self._moves[name] = moves
            return moves
        finally:
            self._lock.release()

    def states(self, name: str, pointer: Pointer | None) -> States:
        """Return what became of each version."""
        return replay(self.history(name, pointer))

    def listed(self, name: str, pruned: Collection[int], before: int = LAST) -> Listed:
        """Return the latest versions below a number. One whose manifest is not believed says so."""
        folders = self._registry.bucket.folders(key_for(name, "versions/"))
        every = {int(folder) for folder in folders if folder.isascii() and folder.isdigit() and len(folder) <= 9}
        numbers = sorted(every - set(pruned), reverse=True)
        below = [number for number in numbers if number < before]
        found, looked_at = list[VersionFacts](), 0
        with ThreadPoolExecutor(READERS) as pool:  # runs that ended early leave folders of versions that are none
            while len(found) < SHOWN and looked_at < min(len(below), MAX_LOOKED_AT):
                window = below[looked_at : looked_at + SHOWN - len(found)]
                looked_at += len(window)
                found += filter(None, pool.map(lambda number: self.facts(name, number), window))
        more = below[looked_at - 1] if looked_at < len(below) else None
        return Listed(found, more, before > (numbers or [0])[0])

    def facts(self, name: str, number: int) -> VersionFacts | None:
        """Return what is shown of a version, also that it is not believed; None if there is no complete one."""
        try:
            return self._known.read(self._registry, name, number)
        except NoSuchVersion:
            return None
        except VerificationError as error:
            return VersionFacts(number, refused=str(error))

    def read(self, name: str, number: int) -> Version | None:
        """Return a verified version; None if there is none of this number."""
        try:
            version, _, _ = self._registry.read_verified(name, number)
        except NoSuchVersion:
            return None
        return version

    def file(self, name: str, number: int, file: str) -> bytes | None:
        """Return a verified file of a version, of this machine's copy if there is one; None if there is none."""
        try:
            _, files = open_folder(name, number, self._cache.folder(name, number), [file], self._store.keys)
            if content := files.get(file):
                return content
        except (VerificationError, OSError):
            pass  # not a version that is, or was, live here: it is in the registry alone
        version = self.read(name, number)
        if version is None or version.files.get(file, {"size": MAX_FILE + 1})["size"] > MAX_FILE:
            return None
        return self._registry.read(name, number, [file])[file]

    @property
    def _registry(self) -> Registry:
        if not self._reachable():
            raise OSError("the registry is unreachable")
        return self._store

    def _continue(self, name: str, known: list[Move], pointer: Pointer) -> list[Move] | None:
        """Return the known moves with those since; None where too many are missing, or another history begins."""
        if not known:
            return None
        moves, last = [Move.model_validate(pointer.model_dump())], known[-1]
        while moves[0].after > last.sequence and len(moves) < MAX_GAP:
            moves.insert(0, self._registry.moves(name).read(moves[0].after))
        return [*known, *moves] if moves[0].after == last.sequence else None


def with_state(version: VersionFacts, states: States | None, pointer: Pointer | None) -> tuple[VersionFacts, str]:
    """Return a version and its state, as far as it is known."""
    if states:
        return version, states.of(version.number, version.model_sha256)
    if pointer and version.number == pointer.production:
        return version, "production"
    rollout = pointer.rollout if pointer else None
    return version, "rollout" if rollout and rollout.version == version.number else "unknown"
