"""Write a registry, or some of its use cases, into one file; what does not verify is not written."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from updraft.registry import judgements
from updraft.registry.archive.contents import FORMAT, INDEX, MAX_SECTION, SECTION, Section
from updraft.registry.archive.tar import write_end, write_member
from updraft.registry.claims import version_folder
from updraft.registry.judgements import JUDGED_AGAIN
from updraft.registry.moves import HISTORY, POINTER, PointerMoved, describe
from updraft.registry.registry import NoSuchVersion, Registry
from updraft.registry.s3 import BadRegistry, VerificationError, key_for
from updraft.registry.signed_json import seal
from updraft.registry.signing_keys import key_id
from updraft.registry.states import States

Count = Callable[[int, int], None]  # how many bytes of how many are done


@dataclass(frozen=True)
class Exported:
    """What was written of a use case."""

    name: str
    versions: int
    moves: int
    states: States

    def format(self) -> str:
        """Return a line for people."""
        held = f", {len(self.states.holds)} held" if self.states.holds else ""
        done = f"{self.name}: {self.versions} versions and {self.moves} moves exported"
        return f"{done}; {describe(self.states.production)} in production{held}"


def export(
    registry: Registry, names: Sequence[str], file: Path, *, count: Count, force: bool = False
) -> list[Exported]:
    """Write use cases with their versions and moves into `file`, which appears when it is complete; report each.

    An existing file is overwritten with `force` alone. Raises NoSuchVersion for a use case that is not there,
    VerificationError for what does not verify, and PointerMoved if a use case changed meanwhile.
    """
    registry.keys.require_signing()
    if file.exists() and not force:
        raise BadRegistry(f"{str(file)!r} exists; --force overwrites it")
    archive = uuid.uuid4().hex
    sections, exported = [], []
    for name in dict.fromkeys(names or registry.names()):
        section, states, moves = _section(registry, name, archive)
        sections.append(section)
        exported.append(Exported(name, len(section.versions()), moves, states))
    if not sections:
        raise NoSuchVersion(f"registry: no version in {registry.bucket}")
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as sink:
            _write(registry, sections, archive, sink, count)
            sink.flush()
            os.fsync(sink.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return exported


def _section(registry: Registry, name: str, archive: str) -> tuple[Section, States, int]:
    """List what there is of a use case, verified but for the files of versions; those are verified as they are read."""
    moves = registry.moves(name)
    history, states = moves.history(), registry.states(name)
    objects: dict[str, dict[str, Any]] = {}
    numbers = [number for number in registry.numbers(name) if number not in states.pruned]
    if not numbers and not history:
        raise NoSuchVersion(f"{name}: no version in {registry.bucket}")
    for number in numbers:
        objects |= _version_objects(registry, name, number)
    written = set(moves.sequences())
    for move in history:
        if move.sequence in written:  # the last one may be in the pointer alone
            key = f"{HISTORY}{move.sequence:06d}.json"
            objects[key] = _described(registry, key_for(name, key))
    if history:
        objects[POINTER] = _described(registry, key_for(name, POINTER))
        pointer = moves.pointer()
        if pointer is None or pointer.move != history[-1].move:
            raise PointerMoved(f"{name}: production moved while it was listed; export again")
    content = {"archive": archive, "name": name, "pruned": sorted(states.pruned), "objects": objects}
    return Section.model_validate(content), states, len(history)


def _version_objects(registry: Registry, name: str, number: int) -> dict[str, dict[str, Any]]:
    version, manifest, signature = registry.read_verified(name, number)
    folder = f"versions/{number:04d}"
    objects = {f"{folder}/{file}": entry for file, entry in version.files.items()}
    objects |= {f"{folder}/manifest.json": _entry(manifest), f"{folder}/manifest.sig": _entry(signature)}
    if judgements.read(registry.bucket, registry.keys, name, number):
        objects[f"{folder}/{JUDGED_AGAIN}"] = _described(registry, f"{version_folder(name, number)}/{JUDGED_AGAIN}")
    return objects


def _described(registry: Registry, key: str) -> dict[str, Any]:
    answer = registry.bucket.get(key)
    if answer is None:
        raise VerificationError(f"{registry.bucket}/{key} was deleted meanwhile; export again")
    return _entry(answer[0])


def _entry(body: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}


def _write(registry: Registry, sections: list[Section], archive: str, sink: BinaryIO, count: Count) -> None:
    total, done = sum(entry.size for section in sections for entry in section.objects.values()), 0
    index = {
        "format": FORMAT,
        "archive": archive,
        "key_id": key_id(registry.keys.require_signing().public_key()),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "registry": str(registry.bucket),
        "size": total,
        "names": [section.name for section in sections],
    }
    _write_sealed(registry, INDEX, index, sink)
    for section in sections:
        _write_sealed(registry, f"{section.name}/{SECTION}", section.model_dump(), sink)
        for key in _keys(section):
            entry = section.objects[key]
            chunks = registry.bucket.stream(key_for(section.name, key))
            try:
                size, sha256 = write_member(sink, f"{section.name}/{key}", entry.size, chunks)
            except FileNotFoundError as error:
                raise VerificationError(f"{error} is missing") from None
            if (size, sha256) != (entry.size, entry.sha256):
                place = f"{registry.bucket}/{section.name}/{key}"
                raise VerificationError(f"{place} is not what was signed, or changed meanwhile; export again")
            count(done := done + size, total)
    write_end(sink)


def _write_sealed(registry: Registry, name: str, content: dict[str, Any], sink: BinaryIO) -> None:
    body = seal(content, registry.keys, "archive")
    if len(body) > MAX_SECTION:
        raise BadRegistry(f"{name} would have {len(body):,} bytes, more than {MAX_SECTION:,}; prune old versions")
    write_member(sink, name, len(body), [body])


def _keys(section: Section) -> Iterator[str]:
    """List the members of a section in their order: versions, moves, and the pointer last."""
    for number, listed in section.versions().items():
        yield from (f"versions/{number:04d}/{file}" for file in listed)
    yield from section.moves()
