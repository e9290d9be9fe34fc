"""Sign what is in the registry with the key of today: after an update from unsigned moves, or to rotate the key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from updraft.registry import judgements, monitor_state
from updraft.registry.claims import version_folder
from updraft.registry.moves import HISTORY, POINTER, Move, PointerMoved, describe
from updraft.registry.registry import Registry, Version
from updraft.registry.s3 import BadRegistry, VerificationError, key_for, parse_json
from updraft.registry.signed_json import SIGNATURE, parse, seal, unseal

Entries = dict[int, dict[str, Any]]  # moves by their sequence


def sign(
    registry: Registry,
    name: str,
    *,
    who: str,
    above: int | None = None,
    registry_id: str | None = None,
    skip_broken: bool = False,
) -> Iterator[str]:
    """Sign all that is signed of a use case with the signing key; yield a line for each thing of note.

    What another key signed than those that verify is refused. Unsigned moves are those of an earlier Updraft: none
    follows a signed one. A pointer that is older than the history becomes the last move. `skip_broken` goes on without
    moves that are missing, unreadable or of another registry than the first. `above` adds a move with a higher sequence
    than that, and `registry_id` replaces the registry's own, for services that have seen them: after a bucket was
    restored or filled from another one.
    """
    registry.keys.require_signing()
    versions = dict[int, Version]()
    for number in registry.numbers(name):
        try:
            versions[number] = _sign_manifest(registry, name, number)
        except VerificationError as error:
            yield f"skipped: {error}"
    try:
        monitor_state.sign(registry.bucket, registry.keys, name)
    except VerificationError as error:
        yield f"skipped: {error}; the next run of the monitor writes it anew"
    etag, entries, notes = _read(registry, name, skip_broken)
    yield from notes
    if not entries:
        yield f"{name}: {len(versions)} versions signed; nothing was ever in production"
        return
    signed = _link({sequence: _complete(name, entry, versions) for sequence, entry in entries.items()}, skip_broken)
    for entry in signed.values() if registry_id else ():
        entry["registry_id"] = registry_id
    _write(registry, name, signed, etag)
    for sequence in set(registry.moves(name).sequences()) - signed.keys():
        registry.bucket.delete(key_for(name, f"{HISTORY}{sequence:06d}.json"))
    moves = registry.moves(name)
    if above is not None:
        now = moves.pointer()
        if now is None or above < now.sequence:
            raise BadRegistry(f"{name}: --above {above}: the registry is at move {now.sequence if now else 0} already")
        content = {"sequence": above + 1, "rollout": now.rollout}
        moves.move(now, "restore", now.production, who, f"services have seen move {above}", **content)
    registry.follow(name)
    in_production = f"{describe(registry.production(name))} is in production"
    yield f"{name}: {len(versions)} versions and {len(signed)} moves signed; {in_production}"


def _sign_manifest(registry: Registry, name: str, number: int) -> Version:
    version, manifest = registry.read_verified(name, number)[:2]
    registry.bucket.put(f"{version_folder(name, number)}/manifest.sig", registry.keys.sign(manifest))
    judgements.sign(registry.bucket, registry.keys, name, number)
    return version


def _read(registry: Registry, name: str, skip_broken: bool) -> tuple[str | None, Entries, list[str]]:
    """Read the pointer's ETag, and every move: the pointer's own, signed or not, and those of the history."""
    notes, entries, bucket = list[str](), Entries(), registry.bucket
    keys = {sequence: f"{HISTORY}{sequence:06d}.json" for sequence in registry.moves(name).sequences()}
    answer = bucket.get(key_for(name, POINTER))
    for key in [*keys.values(), *([POINTER] if answer else [])]:
        body = answer if key == POINTER else bucket.get(key_for(name, key))
        try:
            entry = _entry(registry, name, key, body[0] if body else b"")
            is_old = key == POINTER and _is_signed(entries, from_=entry["sequence"])
            if not is_old:
                _refuse_unsigned_after_signed(name, entry, entries)
                _refuse_another_registry(name, entry, entries)
        except VerificationError as error:
            if not skip_broken:
                hint = f"`updraft registry sign {name} --skip-broken` leaves it out"
                raise VerificationError(f"{error}; {hint}") from None
            notes.append(f"left out: {error}")
            continue
        if key == POINTER and SIGNATURE not in entry:
            notes.append(f"{name}: pointer.json was not signed; in production is {entry.get('production')!r} by it")
        if not is_old:
            entries[entry["sequence"]] = entry
    return answer[1] if answer else None, entries, notes


def _entry(registry: Registry, name: str, key: str, body: bytes) -> dict[str, Any]:
    """Parse a move, and verify it if it is signed."""
    place = f"{name}: {registry.bucket}/{name}/{key}"
    content = parse_json(body, place)
    if SIGNATURE in content:
        verified = unseal(body, registry.keys, place)
        if verified.get("name") != name:
            raise VerificationError(f"{place} is a copy from use case {verified.get('name')!r}")
    if not isinstance(content.get("sequence"), int) or isinstance(content["sequence"], bool):
        raise VerificationError(f"{place} has no valid 'sequence'")
    if key not in (POINTER, f"{HISTORY}{content['sequence']:06d}.json"):
        raise VerificationError(f"{place} is a copy of move {content['sequence']}")
    return content


def _is_signed(entries: Entries, from_: int) -> bool:
    """Return whether a move of this sequence, or a later one, is signed."""
    return any(SIGNATURE in entry for sequence, entry in entries.items() if sequence >= from_)


def _refuse_unsigned_after_signed(name: str, entry: dict[str, Any], before: Entries) -> None:
    signed, sequence = [number for number, other in before.items() if SIGNATURE in other], entry["sequence"]
    if SIGNATURE not in entry and signed and sequence > min(signed):
        raise VerificationError(
            f"{name}: move {sequence} is not signed, though move {min(signed)} before it is: no Updraft wrote it"
        )


def _refuse_another_registry(name: str, entry: dict[str, Any], before: Entries) -> None:
    known = next((other["registry_id"] for other in before.values() if other.get("registry_id")), None)
    if known and entry.get("registry_id") not in (None, known):
        raise VerificationError(f"{name}: move {entry['sequence']} is of another registry than the moves before it")


def _complete(name: str, entry: dict[str, Any], versions: dict[int, Version]) -> dict[str, Any]:
    """Add to a move of an earlier Updraft what it did not say; it took back the version before a rollback."""
    content = {key: value for key, value in entry.items() if key != SIGNATURE}
    if "after" in content:
        return content
    number = content.get("previous") if content.get("action") == "rollback" else content.get("production")
    version = versions.get(number) if isinstance(number, int) else None
    added = {"name": name, "after": entry["sequence"] - 1, "version": number, "rollout": None, "versions": []}
    return content | added | {"model_sha256": version.model_sha256 if version else None}


def _link(entries: Entries, skip_broken: bool) -> Entries:
    """Let each move say that it came after the one before that is there."""
    before = 0
    for sequence in sorted(entries):
        if skip_broken:
            entries[sequence]["after"] = before
        before = sequence
    return entries


def _write(registry: Registry, name: str, entries: Entries, etag: str | None) -> None:
    """Write the pointer, then the history from the last move on, so that an interrupted call can be repeated."""
    bucket, keys = registry.bucket, registry.keys
    sealed = {}
    for sequence in sorted(entries, reverse=True):
        parse(Move, entries[sequence], f"{name}: move {sequence}")
        sealed[sequence] = seal(entries[sequence], keys)
    last, pointer = next(iter(sealed.values())), key_for(name, POINTER)
    if (bucket.replace(pointer, last, etag) if etag else bucket.create(pointer, last)) is None:
        raise PointerMoved(f"{name}: production moved at the same moment; sign again")
    for sequence, body in sealed.items():
        bucket.put(key_for(name, f"{HISTORY}{sequence:06d}.json"), body)
