"""What moved production, and what is in production now: the history of a use case, and pointer.json.

The pointer is the last move, and moves by compare-and-swap (If-Match on its ETag): of two runs, or a run and a person,
that move it at the same moment, one gets PointerMoved and must compare with the new champion. A plain PUT would
silently discard the other one's move. Each move is signed, with the name of the use case and a sequence inside, so that
a copy of another use case's or of an older move is recognized as one.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from updraft.registry.s3 import BadRegistry, Bucket, VerificationError, key_for
from updraft.registry.signed_json import Schema, Unsigned, parse, seal, unseal
from updraft.registry.signing_keys import Keys

Number = Annotated[int, Field(ge=1, le=10**9)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(max_length=10_000)]
RegistryId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
MAX_WHY = 2_000  # characters; an object of more than 64 kB is not read

READERS = 8  # requests at the same time, of the 10 that a client of S3 keeps open
POINTER, HISTORY = "pointer.json", "history/"

CHANGES = {
    "promote": "version {version} promoted",
    "rollback": "version {version} rolled back",
    "hold": "version {version} held",
    "shadow": "version {version} tried as a shadow",
    "canary": "version {version} tried as a canary",
    "finish": "rollout of version {version} finished",
    "abort": "rollout of version {version} aborted",
    "remove": "use case removed",
}


class PointerMoved(Exception):
    """Someone else moved the pointer first; the caller must evaluate against the new champion."""


class Rollout(Schema):
    """A version that is tried beside the one in production: on copies of requests, or on `percent` of them."""

    version: Number
    mode: Literal["shadow", "canary"]
    percent: Annotated[float, Field(ge=0, le=100)] | None = None
    since: Text

    def __str__(self) -> str:
        share = f" {self.percent:g} %" if self.percent is not None else ""
        return f"{self.mode}{share} since {self.since[:16].replace('T', ' ')}"


class Move(Schema):
    """What one move did, and what is in production after it.

    `action` was done to `version`, whose model's bytes are `model_sha256`. `sequence` counts the moves, `after` is that
    of the move before (0 for the first), `move` is unique. `production` is None after a `remove`; `versions` are those
    that a `prune` deleted. `registry_id` is random and the same in all moves of a use case, so that a move copied from
    another registry with the same key is recognized as one; None in the moves of an earlier Updraft.
    """

    name: str
    sequence: Number
    after: Annotated[int, Field(ge=0, le=10**9)]
    action: Annotated[str, Field(pattern=r"^[a-z_]{1,30}$")]
    version: Number | None
    model_sha256: Sha256 | None
    production: Number | None
    previous: Number | None
    rollout: Rollout | None = None
    versions: list[Number] = Field(default_factory=list)
    who: Text
    when: Text
    why: Text
    move: Text
    registry_id: RegistryId | None = None

    def describe(self) -> str:
        """Say what the move changed, as pages show it."""
        version = self.version or self.production
        return CHANGES.get(self.action, f"{self.action.replace('_', ' ')}, version {{version}}").format(version=version)


class Pointer(Move):
    """The last move, and the ETag of pointer.json."""

    etag: str = Field("", exclude=True)


class Moves:
    """The moves of one use case."""

    def __init__(
        self, bucket: Bucket, keys: Keys, name: str, *, moved: Callable[[str], None] = lambda name: None
    ) -> None:
        self.bucket, self.keys, self.name = bucket, keys, name
        self._moved = moved  # called after each move

    def pointer(self, known: Pointer | None = None) -> Pointer | None:
        """Read the pointer; None if there is none, `known` itself if it has not moved. Raises VerificationError."""
        answer = self.bucket.get(key_for(self.name, POINTER), known.etag if known else None)
        if answer is None:
            return None
        body, etag = answer
        if known and etag == known.etag:
            return known
        return parse(Pointer, self._verified(POINTER, body) | {"etag": etag}, self._place(POINTER))

    def history(self) -> list[Move]:
        """List every move, oldest first, the last one out of the pointer, whose writer may have died before its record.

        Raises VerificationError, which names the key, when a move is missing, altered, or later than the pointer.
        """
        sequences = self.sequences()  # before the pointer, which is written first
        pointer = self.pointer()
        moves = self._read_all(sequences)
        if moves and max(moves) > (pointer.sequence if pointer else 0):
            at = f"at move {pointer.sequence}" if pointer else "gone"
            raise VerificationError(
                f"{self._place(POINTER)} is {at}, but the history goes on to move {max(moves)}: an old pointer was put "
                f"back; `updraft registry sign {self.name}` restores the last one"
            )
        return list(reversed([*self._chain(pointer, moves)]))

    def history_to(self, pointer: Pointer | None) -> list[Move]:
        """List every move up to the pointer, as `history`; what an interrupted import left after it is ignored."""
        last = pointer.sequence if pointer else 0
        return list(
            reversed([*self._chain(pointer, self._read_all([each for each in self.sequences() if each <= last]))])
        )

    def _read_all(self, sequences: list[int]) -> dict[int, Move]:
        with ThreadPoolExecutor(READERS) as pool:  # a request for each, and there may be hundreds
            return dict(zip(sequences, pool.map(self._readable, sequences), strict=True))

    def read(self, sequence: int) -> Move:
        """Read and verify the history's entry of a move."""
        key = _key(sequence)
        answer = self.bucket.get(key_for(self.name, key))
        if answer is None:
            raise VerificationError(f"{self._place(key)} is missing")
        move = parse(Move, self._verified(key, answer[0]), self._place(key))
        if move.sequence != sequence:
            raise VerificationError(f"{self._place(key)} is a copy of move {move.sequence}")
        return move

    def _readable(self, sequence: int) -> Move:
        try:
            return self.read(sequence)
        except VerificationError as error:
            raise VerificationError(f"{error}; {self._without_broken}") from None

    @property
    def _without_broken(self) -> str:
        return f"`updraft registry sign {self.name} --skip-broken` goes on without it"

    def sequences(self) -> list[int]:
        """List the sequences in the history, oldest first; reads and verifies nothing."""
        keys = self.bucket.keys(key_for(self.name, HISTORY))
        return sorted(int(match[1]) for key in keys if (match := re.fullmatch(r"([0-9]{6,9})\.json", key)))

    def move(
        self, now: Pointer | None, action: str, production: int | None, who: str, why: str, **content: Any
    ) -> Pointer:
        """Write a move if the pointer is still `now`, and record it; otherwise PointerMoved.

        `content` is what a move says beside who, when and why: `version`, `model_sha256`, `rollout`, `versions`, and
        a `sequence` higher than the next.
        """
        if not why.strip():
            raise BadRegistry(f"{self.name}: {action} needs a reason (why)")
        if len(why) > MAX_WHY:
            why = f"{why[: MAX_WHY - 1]}…"
        self.keys.require_signing()
        if now:
            self.record(now)  # its writer may have died between the move and its record
        moved = {
            "name": self.name,
            "sequence": now.sequence + 1 if now else 1,
            "after": now.sequence if now else 0,
            "action": action,
            "version": None,
            "model_sha256": None,
            "production": production,
            "previous": now.production if now else None,
            "who": who,
            "when": datetime.now(UTC).isoformat(timespec="microseconds"),
            "why": why,
            "move": uuid.uuid4().hex,
            "registry_id": (now.registry_id if now else None) or uuid.uuid4().hex,
        }
        return self.write(parse(Pointer, moved | content, f"{self.name}: {action}"), now)

    def write(self, moved: Pointer, now: Pointer | None) -> Pointer:
        """Write `moved` in place of `now`, and record it; PointerMoved if the pointer is no longer `now`."""
        key, body = key_for(self.name, POINTER), seal(moved.model_dump(), self.keys)
        etag = self.bucket.replace(key, body, now.etag) if now else self.bucket.create(key, body)
        # Without an ETag the write may still have succeeded: the response was lost and a retry met our own object.
        current = moved.model_copy(update={"etag": etag}) if etag else self.pointer()
        if current is None or current.move != moved.move:
            became = describe(current.production) if current else "nothing"
            raise PointerMoved(f"{self.name}: production became {became} at the same moment")
        self.record(current)
        self._moved(self.name)
        return current

    def record(self, pointer: Pointer) -> None:
        """Write a move to the history, unless it is there already."""
        self.bucket.create(key_for(self.name, _key(pointer.sequence)), seal(pointer.model_dump(), self.keys))

    def _chain(self, pointer: Pointer | None, moves: dict[int, Move]) -> Iterator[Move]:
        """Yield the moves from the last to the first, by the sequence that each says it came after."""
        move = Move.model_validate(pointer.model_dump()) if pointer else None
        known: str | None = None
        while move:
            known = known or move.registry_id
            if move.registry_id not in (None, known):
                raise VerificationError(
                    f"{self._place(_key(move.sequence))} and later moves are of different registries; "
                    f"`updraft registry sign {self.name} --skip-broken` leaves out those of another one"
                )
            yield move
            if move.after and move.after not in moves:
                raise VerificationError(
                    f"{self._place(_key(move.after))} is missing: what is held cannot be known without it; "
                    f"{self._without_broken}"
                )
            move = moves[move.after] if move.after else None

    def _verified(self, key: str, body: bytes) -> dict[str, Any]:
        try:
            content = unseal(body, self.keys, self._place(key))
        except Unsigned as error:
            raise VerificationError(
                f"{error}: `updraft registry sign {self.name}` signs what an earlier Updraft wrote"
            ) from None
        if content.get("name") != self.name:
            raise VerificationError(f"{self._place(key)} is a copy from use case {content.get('name')!r}")
        return content

    def _place(self, key: str) -> str:
        return f"{self.name}: {self.bucket}/{self.name}/{key}"


def require_sequence(name: str, now: Pointer | None, expected: int | None) -> None:
    """Raise PointerMoved unless the last move is `expected`, if any is: who measured something acts on that alone."""
    sequence = now.sequence if now else 0
    if expected is not None and sequence != expected:
        raise PointerMoved(f"{name}: the last move is {sequence}, expected {expected}")


def describe(production: int | None) -> str:
    """Say what is in production."""
    return f"version {production}" if production else "nothing"


def _key(sequence: int) -> str:
    return f"{HISTORY}{sequence:06d}.json"
