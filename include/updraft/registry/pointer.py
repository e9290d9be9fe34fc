"""Say which version of a use case is in production: pointer.json and its history, moved by compare-and-swap."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from updraft.errors import UserError
from updraft.registry.s3 import BadRegistry, Bucket, json_bytes, json_object, key_for

KINDS = {
    "production": int,
    "previous": int | None,
    "sequence": int,
    **dict.fromkeys(("who", "when", "why", "action", "move"), str),
}


class VerificationError(UserError):
    """What was found is unsigned, altered, signed with another key, or not where it says it belongs."""


class PointerMoved(Exception):
    """Somebody else moved the pointer first; whoever gets this judges again."""


@dataclass(frozen=True)
class Pointer:
    """What pointer.json says, and its ETag. `move` is unique for each move, `sequence` counts them from 1."""

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
        """Give what pointer.json and the history hold."""
        return {key: value for key, value in asdict(self).items() if key != "etag"}


def read(bucket: Bucket, name: str, known: Pointer | None = None) -> Pointer | None:
    """Read the pointer, None when there is none; `known` itself while nothing has moved. Raises VerificationError."""
    found = bucket.get(key_for(name, "pointer.json"), known.etag if known else None)
    if found is None:
        return None
    if known and found[1] == known.etag:
        return known
    content = json_object(found[0])
    for key, kind in KINDS.items():
        if key not in content or not isinstance(content[key], kind):
            raise VerificationError(f"{name}: {bucket}/{name}/pointer.json has no {key!r} as this registry writes it")
    return Pointer(**{key: content[key] for key in KINDS}, etag=found[1])


def history(bucket: Bucket, name: str) -> list[dict[str, Any]]:
    """List every move, oldest first; also the last one when its writer died before noting it."""
    folder = key_for(name, "history/")
    found = [bucket.read(folder + key) for key in bucket.keys(folder)]
    entries = {entry["sequence"]: entry for entry in found if entry}
    pointer = read(bucket, name)
    if pointer:
        entries[pointer.sequence] = pointer.entry()
    return [entries[sequence] for sequence in sorted(entries)]


def promoted_versions(moves: list[dict[str, Any]]) -> list[int]:
    """Replay the moves: promote puts a version on top, rollback takes off what lies above the one it went back to."""
    stack: list[int] = []
    for move in moves:
        while move["action"] == "rollback" and stack and stack[-1] != move["production"]:
            stack.pop()
        if not stack or stack[-1] != move["production"]:
            stack.append(move["production"])
    return stack


def move(bucket: Bucket, name: str, now: Pointer | None, number: int, action: str, who: str, why: str) -> Pointer:
    """Point production at `number` if the pointer is still `now`, and note it; PointerMoved if it is not."""
    if not why.strip():
        raise BadRegistry(f"{name}: a {action} needs a reason (why)")
    if now:
        record(bucket, name, now)  # whoever made that move may have died before noting it
    previous, sequence = (now.production, now.sequence + 1) if now else (None, 1)
    when = datetime.now(UTC).isoformat(timespec="microseconds")
    moved = Pointer(number, previous, sequence, who, when, why, action, uuid.uuid4().hex, "")
    key, body = key_for(name, "pointer.json"), json_bytes(moved.entry())
    etag = bucket.replace(key, body, now.etag) if now else bucket.create(key, body)
    seen = replace(moved, etag=etag) if etag else read(bucket, name)
    if seen is None or seen.move != moved.move:
        raise PointerMoved(f"{name}: production became {seen.production if seen else None} at the same moment")
    record(bucket, name, seen)
    return seen


def record(bucket: Bucket, name: str, pointer: Pointer) -> None:
    """Write the history's entry of a move, unless it is there."""
    bucket.create(key_for(name, f"history/{pointer.sequence:06d}.json"), json_bytes(pointer.entry()))
