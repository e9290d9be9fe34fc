"""What an archive lists: an index of use cases, and for each a section with every member's size and sha256, signed.

    updraft-registry.json                    the index: the archive's id, which key signed it, the use cases
    <use case>/section.json                  lists what follows, and is bound to the archive by its id
    <use case>/versions/0007/manifest.json   manifest.sig, judged_again.json, and the version's files
    <use case>/history/000012.json           every move
    <use case>/pointer.json                  the last move

A member is looked for by the name that is listed, never by the one that stands in the tar.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from updraft.registry.claims import CLAIM
from updraft.registry.folder_hashes import is_safe_name
from updraft.registry.judgements import JUDGED_AGAIN
from updraft.registry.manifest import MAX_MANIFEST, MAX_SIGNATURE, File, Version
from updraft.registry.moves import HISTORY, POINTER, Text
from updraft.registry.s3 import NAME, SMALL, VerificationError, parse_json
from updraft.registry.signed_json import SIGNATURE, Schema, parse, unseal
from updraft.registry.signing_keys import Keys, hint_to_add

FORMAT = 1
INDEX, SECTION = "updraft-registry.json", "section.json"
MAX_INDEX, MAX_SECTION = 4 << 20, 64 << 20  # bytes
SEALS = ("manifest.json", "manifest.sig")
LIMITS = {"manifest.json": MAX_MANIFEST, "manifest.sig": MAX_SIGNATURE, JUDGED_AGAIN: SMALL}
VERSION = re.compile(r"versions/([0-9]{4,9})/(.+)")
MOVE = re.compile(rf"{HISTORY}([0-9]{{6,9}})\.json")

KeyId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
ArchiveId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Index(Schema):
    """The first member: `names` are the use cases, in the order of their sections; `key_id` is the key that signed."""

    format: int
    archive: ArchiveId
    key_id: KeyId
    created_at: Text
    registry: Text
    size: Annotated[int, Field(ge=0)]
    names: list[Annotated[str, Field(pattern=f"^{NAME.pattern}$")]]


class Section(Schema):
    """What follows of one use case; `pruned` are the numbers of versions that were deleted."""

    archive: ArchiveId
    name: str
    pruned: list[Annotated[int, Field(ge=1, le=10**9)]]
    objects: dict[str, File]

    def versions(self) -> dict[int, dict[str, File]]:
        """Return what is listed of each version, by its name there: the seals first, then the files."""
        versions: dict[int, dict[str, File]] = {}
        for key in sorted(self.objects):
            if match := VERSION.fullmatch(key):
                versions.setdefault(int(match[1]), {})[match[2]] = self.objects[key]
        return {
            number: {file: listed[file] for file in sorted(listed, key=lambda file: (_rank(file), file))}
            for number, listed in sorted(versions.items())
        }

    def moves(self) -> list[str]:
        """List the keys of the moves, oldest first, the pointer last."""
        return [*sorted(key for key in self.objects if MOVE.fullmatch(key)), *([POINTER] * (POINTER in self.objects))]


def read_index(body: bytes, keys: Keys, place: str) -> Index:
    """Verify and parse an index; VerificationError names the key that signed it where that is not a trusted one."""
    content = parse_json(body, place)
    key_id = content.get("key_id")
    is_id = isinstance(key_id, str) and re.fullmatch("[0-9a-f]{16}", key_id)
    if SIGNATURE in content and is_id and key_id not in keys.ids():
        raise VerificationError(f"{place}: signed with the key {key_id}, {hint_to_add(keys)}")
    verified = unseal(body, keys, place, "archive")
    if isinstance(verified.get("format"), int) and verified["format"] > FORMAT:
        raise VerificationError(
            f"{place}: has format {verified['format']}, of a later Updraft; this one reads {FORMAT}"
        )
    return parse(Index, verified, place)


def read_section(body: bytes, keys: Keys, place: str, index: Index, name: str) -> Section:
    """Verify and parse a section, and hold every key in it against those that a registry has."""
    section = parse(Section, unseal(body, keys, place, "archive"), place)
    if (section.archive, section.name) != (index.archive, name):
        raise VerificationError(f"{place} is a copy from use case {section.name!r} of another archive")
    for key in section.objects:
        if not _is_key(key):
            raise VerificationError(f"{place} lists {key!r}, which is nothing of a registry")
    for number, listed in section.versions().items():
        for file, entry in listed.items():
            if entry.size > LIMITS.get(file, entry.size):
                raise VerificationError(f"{place}: version {number}: {file!r} has {entry.size:,} bytes: too many")
        if missing := set(SEALS) - listed.keys():
            raise VerificationError(f"{place}: version {number} has no {min(missing)!r}")
    for key in section.moves():
        if section.objects[key].size > SMALL:
            raise VerificationError(f"{place}: {key!r} has {section.objects[key].size:,} bytes: too many")
    return section


def require_files(version: Version, listed: Mapping[str, File], place: str) -> None:
    """Raise VerificationError unless the files that are listed are those that the version's manifest names."""
    files = {file: entry.model_dump() for file, entry in listed.items() if file not in LIMITS}
    if files != version.files:
        other = sorted(
            file for file in files.keys() | version.files.keys() if files.get(file) != version.files.get(file)
        )
        raise VerificationError(f"{place}: {version}: {other[0]!r} is not listed as its manifest has it")


def _is_key(key: str) -> bool:
    if version := VERSION.fullmatch(key):
        return version[1] == f"{int(version[1]):04d}" and is_safe_name(version[2]) and version[2] != CLAIM
    move = MOVE.fullmatch(key)
    return key == POINTER or (move is not None and move[1] == f"{int(move[1]):06d}")


def _rank(file: str) -> int:
    return (*SEALS, JUDGED_AGAIN).index(file) if file in LIMITS else len(LIMITS)
