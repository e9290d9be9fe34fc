"""Create a version, or moves, that another registry has: never in place of others, and visible when it is complete."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from updraft.registry import claims
from updraft.registry.claims import version_folder
from updraft.registry.judgements import JUDGED_AGAIN
from updraft.registry.manifest import MAX_MANIFEST, Version
from updraft.registry.moves import POINTER, Move, Moves, Pointer, PointerMoved
from updraft.registry.s3 import CHUNK, BadRegistry, Bucket, VerificationError, key_for

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Content(Protocol):
    """A file's content: read it in chunks, verified at their end, or skip it."""

    @property
    def name(self) -> str: ...

    def chunks(self) -> Iterator[bytes]: ...

    def skip(self) -> None: ...


@dataclass(frozen=True)
class StoredVersion:
    """A version elsewhere: what is in memory, and its files, to be read in their order."""

    version: Version
    manifest: bytes
    signature: bytes
    judgement: bytes | None
    files: Mapping[str, Content]


def create_version(bucket: Bucket, stored: StoredVersion, done: Callable[[int], Any] = lambda size: None) -> None:
    """Create a version as a push does: the claim, the files, the signature, and the manifest last.

    Calls `done` with the size of each file. Raises BadRegistry where there is another one.
    """
    version = stored.version
    folder = version_folder(version.name, version.number)
    claims.take(bucket, version.name, version.number, version.manifest["run_id"], version.manifest["created_at"])
    present = set(bucket.keys(f"{folder}/"))
    for file, content in stored.files.items():
        if file in present:
            _require_same(bucket, f"{folder}/{file}", content, version.files[file]["sha256"])
        else:
            _upload(bucket, f"{folder}/{file}", content)
        done(version.files[file]["size"])
    create_judgement(bucket, stored)
    bucket.put(f"{folder}/manifest.sig", stored.signature)
    bucket.create(f"{folder}/manifest.json", stored.manifest)
    there = bucket.get(f"{folder}/manifest.json", limit=MAX_MANIFEST)
    if there is None or there[0] != stored.manifest:
        raise BadRegistry(f"{version}: {bucket} has another version of this number; it was not replaced")


def create_judgement(bucket: Bucket, stored: StoredVersion) -> None:
    """Create a version's judgement, if it has one and there is none."""
    if stored.judgement:
        bucket.create(f"{version_folder(stored.version.name, stored.version.number)}/{JUDGED_AGAIN}", stored.judgement)


def add_moves(moves: Moves, now: Pointer | None, new: Iterable[Move], sealed: Mapping[str, bytes]) -> None:
    """Record new moves, of which `sealed` has the bytes by key, and then let the pointer follow; needs no key.

    Raises BadRegistry where the history has another move, PointerMoved unless the pointer is still `now`.
    """
    bucket, name, last = moves.bucket, moves.name, None
    for last in new:
        key = f"history/{last.sequence:06d}.json"
        body = sealed.get(key)
        if body and bucket.create(key_for(name, key), body) is None and moves.read(last.sequence).move != last.move:
            raise BadRegistry(f"{name}: {bucket}/{name}/{key} is another move; it was not replaced")
    if last is None:
        return
    body, key = sealed[POINTER], key_for(name, POINTER)
    done = bucket.replace(key, body, now.etag) if now else bucket.create(key, body)
    if done is None and ((pointer := moves.pointer()) is None or pointer.move != last.move):
        raise PointerMoved(f"{name}: production moved in {bucket} at the same moment; try again")


def _upload(bucket: Bucket, key: str, content: Content) -> None:
    try:
        bucket.upload_stream(key, io.BufferedReader(_Chunks(content.chunks()), CHUNK))
    except VerificationError:
        bucket.delete(key)  # it was changed since it was verified: no manifest names these bytes
        raise


def _require_same(bucket: Bucket, key: str, content: Content, sha256: str) -> None:
    """Compare what an interrupted call has left."""
    content.skip()
    digest = hashlib.sha256()
    for chunk in bucket.stream(key):
        digest.update(chunk)
    if digest.hexdigest() != sha256:
        raise BadRegistry(f"{bucket}/{key} has other bytes than {content.name!r}; it was not replaced")


class _Chunks(io.RawIOBase):
    """Chunks as a file to read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        view = memoryview(buffer)
        size = min(len(view), len(self._rest))
        view[:size], self._rest = self._rest[:size], self._rest[size:]
        return size
