"""Numbers of versions: each run takes one before it uploads anything, so that two runs never write to one folder."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote

from updraft.registry.moves import Number
from updraft.registry.s3 import BadRegistry, Bucket, VerificationError, json_bytes, key_for
from updraft.registry.signed_json import Content, Schema, parse

CLAIM = "claim.json"

log = logging.getLogger(__name__)


class _Note(Schema):
    """`runs/<run id>.json`: the number that a run took."""

    version: Number


class _Claim(Schema):
    """`versions/0007/claim.json`: the run that took the number; of a pruned version, none."""

    run_id: str | None
    claimed_at: str


def version_folder(name: str, number: int) -> str:
    """Return the key of a version's folder."""
    return key_for(name, f"versions/{number:04d}")


def complete_numbers(bucket: Bucket, name: str) -> Iterator[int]:
    """List the numbers of the versions that have a manifest."""
    keys = bucket.keys(key_for(name, "versions/"))
    return (int(match[1]) for key in keys if (match := re.fullmatch(r"([0-9]{4,9})/manifest\.json", key)))


def claim(bucket: Bucket, name: str, run_id: str) -> tuple[int, str]:
    """Return the run's version number and when it was claimed: the number it has, else the next unclaimed one.

    A note of a number whose claim is not this run's is not believed.
    """
    if not run_id:
        raise BadRegistry(f"{name}: a push needs a run id")
    bucket.create_if_missing()
    note = _note_key(name, run_id)
    number = number_of(bucket, name, run_id)
    if number is None:
        number = _next(bucket, name)
        while not _try_claim(bucket, name, number, run_id):
            number += 1
        if bucket.create(note, json_bytes({"version": number})) is None:
            other = _noted(bucket, name, note, run_id)  # another attempt of this run may have won
            if other is None:
                bucket.put(note, json_bytes({"version": number}))
            number = other or number
    # The time of the claim, not of this attempt: all attempts write the same manifest, so any signature matches it.
    claimed = _claim_of(bucket, name, number)
    return number, claimed.claimed_at if claimed else _now()


def number_of(bucket: Bucket, name: str, run_id: str) -> int | None:
    """Return the number that a run has claimed; None if it has claimed none."""
    return _noted(bucket, name, _note_key(name, run_id), run_id)


def take(bucket: Bucket, name: str, number: int, run_id: str | None, claimed_at: str) -> None:
    """Claim a number for a version of another registry, or for one that was pruned there, which has no run.

    Raises BadRegistry if another run, or a version that was pruned, has the number here.
    """
    bucket.create(_claim_key(name, number), json_bytes({"run_id": run_id, "claimed_at": claimed_at}))
    require_free(bucket, name, number, run_id)
    if run_id:
        bucket.create(_note_key(name, run_id), json_bytes({"version": number}))


def require_free(bucket: Bucket, name: str, number: int, run_id: str | None) -> None:
    """Raise BadRegistry if a number is claimed by another run than this one, or was of a version that was pruned."""
    claimed = _claim_of(bucket, name, number)
    if claimed and run_id and claimed.run_id != run_id:
        owner = f"run {claimed.run_id!r}" if claimed.run_id else "a version that was pruned"
        raise BadRegistry(f"{name}: in {bucket} version {number} is of {owner}, not of run {run_id!r}")


def release(bucket: Bucket, name: str, number: int) -> None:
    """Take a number from its run, so that neither this run nor another one writes to it again."""
    bucket.put(_claim_key(name, number), json_bytes({"run_id": None, "claimed_at": _now()}))


def _noted(bucket: Bucket, name: str, note: str, run_id: str) -> int | None:
    content = _read(bucket, _Note, note)
    if content is None:
        return None
    claimed = _claim_of(bucket, name, content.version)
    if claimed and claimed.run_id == run_id:
        return content.version
    if claimed is None or claimed.run_id is not None:  # else it was pruned
        log.warning("%s: %s is not believed: version %d is not this run's", name, note, content.version)
    return None


def _next(bucket: Bucket, name: str) -> int:
    folders = bucket.folders(key_for(name, "versions/"))
    return max((int(folder) for folder in folders if re.fullmatch(r"[0-9]{4,8}", folder)), default=0) + 1


def _try_claim(bucket: Bucket, name: str, number: int, run_id: str) -> bool:
    body = json_bytes({"run_id": run_id, "claimed_at": _now()})
    if bucket.create(_claim_key(name, number), body) is not None:
        return True
    claimed = _claim_of(bucket, name, number)
    return claimed is not None and claimed.run_id == run_id


def _claim_of(bucket: Bucket, name: str, number: int) -> _Claim | None:
    return _read(bucket, _Claim, _claim_key(name, number))


def _read(bucket: Bucket, schema: type[Content], key: str) -> Content | None:
    """Read a note or a claim; None if it is missing or nothing that we write."""
    try:
        return parse(schema, content, f"{bucket}/{key}") if (content := bucket.read(key)) else None
    except VerificationError as error:
        log.warning("ignored: %s", error)
        return None


def _note_key(name: str, run_id: str) -> str:
    return key_for(name, f"runs/{quote(run_id, safe='')}.json")


def _claim_key(name: str, number: int) -> str:
    return f"{version_folder(name, number)}/{CLAIM}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
