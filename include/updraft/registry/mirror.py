"""A second bucket, or a container of Azure's, that follows the registry.

It has the versions that were promoted, the history, and the pointer, as they are.

It is a registry itself, which a service reads with the same verification. It follows each move, after it; what is late,
since the bucket was out of reach, is copied at a later move, run or call, and never undoes a move.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from updraft.errors import UserError
from updraft.registry import claims
from updraft.registry.azure import open_place
from updraft.registry.claims import version_folder
from updraft.registry.copying import StoredVersion, add_moves, create_version
from updraft.registry.follower import Follower
from updraft.registry.judgements import JUDGED_AGAIN
from updraft.registry.manifest import MAX_MANIFEST, MAX_SIGNATURE, verified
from updraft.registry.moves import HISTORY, POINTER, Move, Moves, PointerMoved
from updraft.registry.s3 import SMALL, BadRegistry, Bucket, VerificationError, key_for
from updraft.registry.signing_keys import Keys
from updraft.registry.states import replay

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

VARIABLE = "UPDRAFT_MIRROR"
ERRORS = (UserError, OSError, PointerMoved, ClientError, BotoCoreError)  # what a mirror may be late by


class Mirror(Follower):
    """What of `source` is copied to `target`. Both have the same keys."""

    errors = ERRORS

    def __init__(self, source: Bucket, target: Bucket, keys: Keys) -> None:
        if str(source) == str(target):
            raise BadRegistry(f"{VARIABLE}: {str(target)!r} is the registry itself")
        self.source, self.target, self.keys = source, target, keys
        self.what, self.done = f"the mirror {target}", f"mirrored to {target}"

    def sync(self, name: str) -> list[int]:
        """Copy what the mirror lacks of a use case, the pointer last; return the versions that were copied.

        These are the one in production, those that a rollback may put back, and the one in a rollout.
        """
        ours, theirs = Moves(self.source, self.keys, name), Moves(self.target, self.keys, name)
        body, at = self.source.get(key_for(name, POINTER)), self.target.get(key_for(name, POINTER))
        if body is None or (at and at[0] == body[0]):
            return []
        self.target.create_if_missing()
        history, now = ours.history(), theirs.pointer()
        if now and now.move not in {move.move for move in history}:
            raise BadRegistry(f"{name}: the mirror {self.target} has moves of its own; empty it, or name another")
        states = replay(history)
        wanted = {number for number, _ in states.promoted} | ({states.rollout.version} if states.rollout else set())
        copied = sorted(wanted - set(claims.complete_numbers(self.target, name)))
        for number in copied:
            create_version(self.target, self._stored(name, number))
        self._add(ours, theirs, history)
        return copied

    def late(self, name: str) -> str | None:
        """Return how far behind the mirror is with a use case, or why that is not known; None if it is not behind."""
        key = key_for(name, POINTER)
        try:
            bodies = [answer[0] if answer else None for answer in (self.source.get(key), self.target.get(key))]
            ours, theirs = (Moves(each, self.keys, name).pointer() for each in (self.source, self.target))
        except ERRORS as error:
            return " ".join(str(error).split())
        if ours is None or bodies[0] == bodies[1]:
            return None
        if theirs and theirs.move == ours.move:
            return "its signatures are those of before `updraft registry sign`"
        return f"at move {theirs.sequence if theirs else 0}, the registry at {ours.sequence}"

    def _add(self, ours: Moves, theirs: Moves, history: list[Move]) -> None:
        """Let the moves follow; where there is none to follow, they were signed anew, and are written anew."""
        now, last = theirs.pointer(), history[-1]
        fresh = [move for move in history if now is None or move.sequence > now.sequence]
        written = set(ours.sequences())  # the last one may be in the pointer alone
        keys = [f"{HISTORY}{move.sequence:06d}.json" for move in fresh or history if move.sequence in written]
        sealed = {key: self._read(key_for(ours.name, key), SMALL) for key in (*keys, POINTER)}
        pointer = ours.pointer()
        if pointer is None or pointer.move != last.move:
            raise PointerMoved(f"{ours.name}: production moved while it was mirrored")
        if fresh:
            add_moves(theirs, now, fresh, sealed)
            return
        self._seal_anew(ours.name)
        for key, body in sealed.items():
            self.target.put(key_for(ours.name, key), body)

    def _seal_anew(self, name: str) -> None:
        for number in claims.complete_numbers(self.target, name):
            for file in ("manifest.sig", JUDGED_AGAIN):
                key = f"{version_folder(name, number)}/{file}"
                if answer := self.source.get(key):
                    self.target.put(key, answer[0])

    def _stored(self, name: str, number: int) -> StoredVersion:
        folder = version_folder(name, number)
        manifest = self._read(f"{folder}/manifest.json", MAX_MANIFEST)
        signature = self._read(f"{folder}/manifest.sig", MAX_SIGNATURE)
        version = verified(name, number, manifest, signature, self.keys)
        judgement = self.source.get(f"{folder}/{JUDGED_AGAIN}")
        files = {file: _File(self.source, f"{folder}/{file}", entry) for file, entry in version.files.items()}
        return StoredVersion(version, manifest, signature, judgement[0] if judgement else None, files)

    def _read(self, key: str, limit: int) -> bytes:
        answer = self.source.get(key, limit=limit)
        if answer is None:
            raise VerificationError(f"{self.source}/{key} is missing")
        return answer[0]


@dataclass(frozen=True)
class _File:
    """A file of a version in the registry."""

    bucket: Bucket
    name: str
    entry: Mapping[str, object]

    def chunks(self) -> Iterator[bytes]:
        digest, size = hashlib.sha256(), 0
        for chunk in self.bucket.stream(self.name):
            digest.update(chunk)
            size += len(chunk)
            yield chunk
        if {"sha256": digest.hexdigest(), "size": size} != self.entry:
            raise VerificationError(f"{self.bucket}/{self.name} is not the file that was signed")

    def skip(self) -> None:
        pass


def open_mirror(environ: Mapping[str, str], source: Bucket, keys: Keys, client: S3Client | None) -> Mirror | None:
    """Open the mirror that UPDRAFT_MIRROR names (s3://… or azure://…), None without it; contacts nothing."""
    if not environ.get(VARIABLE):
        return None
    return Mirror(source, open_place(VARIABLE, environ, client), keys)
