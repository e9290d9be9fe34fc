"""What a version was judged after its evaluation: production moved before it could be promoted."""

from __future__ import annotations

from datetime import UTC, datetime

from updraft.registry.claims import version_folder
from updraft.registry.moves import MAX_WHY, Number, Text
from updraft.registry.s3 import Bucket, VerificationError
from updraft.registry.signed_json import Schema, parse, reseal, seal, unseal
from updraft.registry.signing_keys import Keys

JUDGED_AGAIN = "judged_again.json"


class Judgement(Schema):
    """The decision on a stored version that its own evaluation does not have, and why."""

    name: str
    version: Number
    decision: Text
    reason: Text
    who: Text
    when: Text


def write(bucket: Bucket, keys: Keys, name: str, number: int, decision: str, reason: str, who: str) -> None:
    """Write a judgement beside a version, signed, in place of an earlier one."""
    when = datetime.now(UTC).isoformat(timespec="microseconds")
    content = {"name": name, "version": number, "decision": decision, "reason": reason[:MAX_WHY], "who": who}
    bucket.put(_key(name, number), seal({**content, "when": when}, keys, "judgement"))


def read(bucket: Bucket, keys: Keys, name: str, number: int) -> Judgement | None:
    """Read the last judgement on a version; None if there is none. Raises VerificationError."""
    place = f"{bucket}/{_key(name, number)}"
    answer = bucket.get(_key(name, number))
    if answer is None:
        return None
    return parse_judgement(answer[0], keys, name, number, place)


def parse_judgement(body: bytes, keys: Keys, name: str, number: int, place: str) -> Judgement:
    """Verify and parse a judgement; VerificationError names `place`."""
    judgement = parse(Judgement, unseal(body, keys, place, "judgement"), place)
    if (judgement.name, judgement.version) != (name, number):
        raise VerificationError(f"{place} is a copy from {judgement.name} version {judgement.version}")
    return judgement


def sign(bucket: Bucket, keys: Keys, name: str, number: int) -> None:
    """Sign a version's judgement, if it has one, with the key of today."""
    read(bucket, keys, name, number)  # which raises for a copy of another one
    reseal(bucket, _key(name, number), keys, "judgement")


def _key(name: str, number: int) -> str:
    return f"{version_folder(name, number)}/{JUDGED_AGAIN}"
