"""Read an archive from its beginning to its end; what is handed out was verified, or is as it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from updraft.registry.archive.contents import (
    INDEX,
    MAX_INDEX,
    MAX_SECTION,
    MOVE,
    SEALS,
    SECTION,
    Index,
    Section,
    read_index,
    read_section,
    require_files,
)
from updraft.registry.archive.tar import TarReader
from updraft.registry.copying import StoredVersion
from updraft.registry.judgements import JUDGED_AGAIN, parse_judgement
from updraft.registry.manifest import File, verified
from updraft.registry.moves import POINTER, Move
from updraft.registry.s3 import VerificationError
from updraft.registry.signed_json import parse, unseal
from updraft.registry.signing_keys import Keys, hint_to_add


class Member:
    """A member that was entered: read it once, whole or in chunks, or pass over it."""

    def __init__(self, tar: TarReader, name: str, entry: File) -> None:
        self._tar, self.name, self.entry = tar, name, entry

    def chunks(self) -> Iterator[bytes]:
        """Read it; raises VerificationError at its end unless it has the sha256 that is listed."""
        self._tar.enter(self.name, self.entry.size)
        digest = hashlib.sha256()
        for chunk in self._tar.chunks(self.name, self.entry.size):
            digest.update(chunk)
            yield chunk
        if digest.hexdigest() != self.entry.sha256:
            raise VerificationError(f"{self._tar.place}: member {self.name!r} was changed: its sha256 differs")

    def read(self) -> bytes:
        """Read a small one into memory."""
        return b"".join(self.chunks())

    def skip(self) -> None:
        """Pass over it."""
        self._tar.enter(self.name, self.entry.size)
        self._tar.skip(self.entry.size)


@dataclass
class UseCase:
    """A use case in an archive: its section, and the moves once its versions were read; each with its bytes by key."""

    section: Section
    moves: list[Move] = field(default_factory=list)
    sealed: dict[str, bytes] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The use case's name."""
        return self.section.name


class Archive:
    """An archive that is read once."""

    def __init__(self, file: BinaryIO, path: Path, keys: Keys) -> None:
        self._tar, self._keys, self.place = TarReader(file, str(path)), keys, str(path)
        self.index: Index = read_index(self._read_listing(INDEX, MAX_INDEX), keys, self._of(INDEX))

    def use_cases(self) -> Iterator[UseCase]:
        """Enter each use case; its `versions` and then its `read_moves` must be read before the next."""
        for name in self.index.names:
            listing = f"{name}/{SECTION}"
            body = self._read_listing(listing, MAX_SECTION)
            yield UseCase(read_section(body, self._keys, self._of(listing), self.index, name))
        self._tar.require_end()

    def versions(self, use_case: UseCase) -> Iterator[StoredVersion]:
        """Enter each version, its manifest verified; all of its `files` must be read or skipped before the next."""
        for number, listed in use_case.section.versions().items():
            folder = f"{use_case.name}/versions/{number:04d}"
            members = {file: Member(self._tar, f"{folder}/{file}", entry) for file, entry in listed.items()}
            manifest, signature = (members.pop(seal).read() for seal in SEALS)
            place = self._of(f"{folder}/manifest.json")
            if not self._keys.verifies(manifest, signature.strip()):
                raise VerificationError(f"{place}: signed with a key {hint_to_add(self._keys)}")
            version = verified(use_case.name, number, manifest, signature, self._keys)
            require_files(version, listed, place)
            judgement = members.pop(JUDGED_AGAIN).read() if JUDGED_AGAIN in members else None
            if judgement:
                parse_judgement(judgement, self._keys, use_case.name, number, self._of(f"{folder}/{JUDGED_AGAIN}"))
            yield StoredVersion(version, manifest, signature, judgement, members)

    def read_moves(self, use_case: UseCase) -> None:
        """Read all moves, verified, and hold each against the one that it says it came after."""
        moves: dict[int, Move] = {}
        for key in use_case.section.moves():
            member = Member(self._tar, f"{use_case.name}/{key}", use_case.section.objects[key])
            place, body = self._of(member.name), member.read()
            move = parse(Move, unseal(body, self._keys, place), place)
            at = MOVE.fullmatch(key)
            if move.name != use_case.name or (at and int(at[1]) != move.sequence):
                raise VerificationError(f"{place} is a copy of move {move.sequence} of {move.name}")
            if key == POINTER and move.sequence < max(moves, default=0):
                raise VerificationError(f"{place} is older than the history")
            moves[move.sequence], use_case.sealed[key] = move, body
        before = 0
        for sequence in sorted(moves):
            if moves[sequence].after != before:
                raise VerificationError(f"{self._of(use_case.name)}: move {moves[sequence].after} is missing")
            before = sequence
        if moves and POINTER not in use_case.sealed:
            raise VerificationError(f"{self._of(use_case.name)}: has no {POINTER}")
        use_case.moves = [moves[sequence] for sequence in sorted(moves)]

    def _read_listing(self, name: str, limit: int) -> bytes:
        size = self._tar.enter(name)
        if size > limit:
            raise VerificationError(f"{self._of(name)} has {size:,} bytes, more than {limit:,}")
        return b"".join(self._tar.chunks(name, size))

    def _of(self, member: str) -> str:
        return f"{self.place}: member {member!r}"
