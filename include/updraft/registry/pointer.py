"""Which version of a use case is in production: pointer.json and its history.

The pointer moves by compare-and-swap (If-Match on its ETag): of two runs, or a run and a person, that promote at the
same moment, one gets PointerMoved and must compare with the new champion. A plain PUT would silently discard the other
one's move.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from updraft.errors import UserError
from updraft.registry.s3 import BadRegistry, Bucket, json_bytes, json_object, key_for

FIELDS = {
    "production": int,
    "previous": int | None,
    "sequence": int,
    **dict.fromkeys(("who", "when", "why", "action", "move"), str),
}


class VerificationError(UserError):
    """A version or pointer is unsigned, altered, signed with another key, or stored in the wrong place."""


class PointerMoved(Exception):
    """Someone else moved the pointer first; the caller must evaluate against the new champion."""


@dataclass(frozen=True)
class Pointer:
    """The content of pointer.json, and its ETag. `move` is unique to each move, `sequence` counts them from 1."""

    production: int
    previous: int | None
    sequence: int
    who: str
    when: str
    why: str
    action: str
    move: str
    etag: str

    def entry(self) -> dict[str, Any]:
        """Return the content of pointer.json and of the history's entry."""
        return {key: value for key, value in asdict(self).items() if key != "etag"}


def read(bucket: Bucket, name: str, known: Pointer | None = None) -> Pointer | None:
    """Read the pointer; None if there is none, `known` itself if it has not moved. Raises VerificationError."""
    answer = bucket.get(key_for(name, "pointer.json"), known.etag if known else None)
    if answer is None:
        return None
    body, etag = answer
    if known and etag == known.etag:
        return known
    content = json_object(body)
    for key, type_ in FIELDS.items():
        if key not in content or not isinstance(content[key], type_):
            raise VerificationError(f"{name}: {bucket}/{name}/pointer.json has no valid {key!r}")
    return Pointer(**{key: content[key] for key in FIELDS}, etag=etag)


def history(bucket: Bucket, name: str) -> list[dict[str, Any]]:
    """List every move, oldest first; includes a last move whose writer died before it was recorded."""
    folder = key_for(name, "history/")
    moves = [bucket.read(folder + key) for key in bucket.keys(folder)]
    entries = {move["sequence"]: move for move in moves if move}
    pointer = read(bucket, name)
    if pointer:
        entries[pointer.sequence] = pointer.entry()
    return [entries[sequence] for sequence in sorted(entries)]


def promoted_versions(moves: list[dict[str, Any]]) -> list[int]:
    """Replay the moves: a promotion pushes a version on a stack, a rollback pops what lies above its target."""
    stack: list[int] = []
    for move in moves:
        while move["action"] == "rollback" and stack and stack[-1] != move["production"]:
            stack.pop()
        if not stack or stack[-1] != move["production"]:
            stack.append(move["production"])
    return stack


def move(bucket: Bucket, name: str, now: Pointer | None, number: int, action: str, who: str, why: str) -> Pointer:
    """Point production at `number` if the pointer is still `now`, and record the move; otherwise PointerMoved."""
    if not why.strip():
        raise BadRegistry(f"{name}: a {action} needs a reason (why)")
    if now:
        record(bucket, name, now)  # its writer may have died between the move and its record
    previous, sequence = (now.production, now.sequence + 1) if now else (None, 1)
    when = datetime.now(UTC).isoformat(timespec="microseconds")
    moved = Pointer(number, previous, sequence, who, when, why, action, uuid.uuid4().hex, "")
    key, body = key_for(name, "pointer.json"), json_bytes(moved.entry())
    etag = bucket.replace(key, body, now.etag) if now else bucket.create(key, body)
    # Without an ETag the write may still have succeeded: the response was lost and a retry met our own object.
    current = replace(moved, etag=etag) if etag else read(bucket, name)
    if current is None or current.move != moved.move:
        raise PointerMoved(f"{name}: production became {current.production if current else None} at the same moment")
    record(bucket, name, current)
    return current


def record(bucket: Bucket, name: str, pointer: Pointer) -> None:
    """Write a move to the history, unless it is there already."""
    bucket.create(key_for(name, f"history/{pointer.sequence:06d}.json"), json_bytes(pointer.entry()))
