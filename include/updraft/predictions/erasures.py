"""Erasures: that the rows of a person be removed, wherever they are.

An erasure is an object that is created once and stays. Every service looks for new ones before it uploads anything,
and leaves out the rows that match, so a row that was not shipped yet, or is shipped again, does not come back.
"""

from __future__ import annotations

from dataclasses import asdict, fields

from updraft.predictions.erasure import Erasure
from updraft.predictions.layout import ENDED, ERASED, ERASURES, INSTANCES
from updraft.registry.s3 import Bucket, VerificationError, json_bytes, parse_json


def find(bucket: Bucket) -> list[Erasure]:
    """Read all erasures, the oldest first. Raises VerificationError for an object that is none."""
    return [_read(bucket, key) for key in sorted(bucket.keys(ERASURES)) if key.endswith(".json")]


def create(bucket: Bucket, erasure: Erasure) -> None:
    """Store an erasure."""
    bucket.create(f"{ERASURES}{erasure.id}.json", json_bytes(asdict(erasure)))


def acknowledge(bucket: Bucket, erasure_id: str, instance: str, rows: int) -> None:
    """State that an instance has erased so many rows of its log, and uploads none that match."""
    bucket.create(f"{ERASED}{erasure_id}/{instance}", json_bytes({"rows": rows}))


def acknowledged(bucket: Bucket, erasure: Erasure) -> dict[str, int]:
    """Return how many rows each instance that has acknowledged an erasure has erased from its log."""
    folder = f"{ERASED}{erasure.id}/"
    return {instance: int(bucket.read(folder + instance).get("rows", 0)) for instance in bucket.keys(folder)}


def unaware(bucket: Bucket, erasure: Erasure) -> list[str]:
    """List the instances that ship here and have not acknowledged an erasure; one that has ended has no log."""
    return sorted(set(bucket.keys(INSTANCES)) - set(bucket.keys(ENDED)) - set(bucket.keys(f"{ERASED}{erasure.id}/")))


def parse(body: bytes, place: str) -> Erasure:
    """Parse an erasure; VerificationError names `place` when it is none."""
    content = parse_json(body, place)
    types = {each.name: float if each.name == "until" else str for each in fields(Erasure)}
    if content.keys() != types.keys() or any(not isinstance(content[name], kind) for name, kind in types.items()):
        raise VerificationError(f"{place} is not an erasure")
    return Erasure(**content)


def _read(bucket: Bucket, key: str) -> Erasure:
    place = f"{bucket}/{ERASURES}{key}"
    answer = bucket.get(ERASURES + key)
    if answer is None:
        raise VerificationError(f"{place} is gone")
    return parse(answer[0], place)
