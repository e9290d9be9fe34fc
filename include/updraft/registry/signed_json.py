"""JSON objects that carry their own signature, and what is accepted of an object of the registry.

Whoever can write to the bucket can put anything there. What is read is therefore bounded in size, parsed without a
traceback, verified, and held against a strict schema, in this order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from updraft.registry.s3 import SMALL, Bucket, VerificationError, json_bytes, parse_json
from updraft.registry.signing_keys import Keys

SIGNATURE = "signature"

# Signed, too: no object passes for one of another kind, nor for a manifest.
Kind = Literal["move", "judgement", "dataset", "monitor", "archive"]


class Unsigned(VerificationError):
    """An object without a signature."""


class Schema(BaseModel):
    """Content with strict types: `true` is no version 1. Unknown keys are those of a later Updraft."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


Content = TypeVar("Content", bound=Schema)


def seal(content: Mapping[str, Any], keys: Keys, kind: Kind = "move") -> bytes:
    """Serialize an object with its signature; BadRegistry without a signing key."""
    return json_bytes({**content, SIGNATURE: keys.sign(_signed(content, kind)).decode()})


def reseal(bucket: Bucket, key: str, keys: Keys, kind: Kind, limit: int = SMALL) -> bool:
    """Sign an object, verified, with the key of today; whether it is there. What is written meanwhile stays.

    Unlike what a schema makes of it, it keeps what a later Updraft has added.
    """
    answer = bucket.get(key, limit=limit)
    if answer:
        body, etag = answer
        bucket.replace(key, seal(unseal(body, keys, f"{bucket}/{key}", kind), keys, kind), etag)
    return answer is not None


def unseal(body: bytes, keys: Keys, place: str, kind: Kind = "move") -> dict[str, Any]:
    """Parse a sealed object and verify it; VerificationError names `place`, Unsigned where there is no signature."""
    content, signature = _split(body, place)
    if signature is None:
        raise Unsigned(f"{place} is not signed")
    if _signer(content, signature, keys, kind) is None:
        raise VerificationError(f"{place} was altered or signed with another key")
    return content


def signer(body: bytes, keys: Keys, place: str, kind: Kind = "move") -> str | None:
    """Return the id of the key that sealed an object; None if it is none of `keys`."""
    return _signer(*_split(body, place), keys, kind)


def _split(body: bytes, place: str) -> tuple[dict[str, Any], Any]:
    content = parse_json(body, place)
    signature = content.pop(SIGNATURE, None)
    return content, signature


def _signer(content: Mapping[str, Any], signature: Any, keys: Keys, kind: Kind) -> str | None:
    try:
        return keys.signer(_signed(content, kind), signature.encode()) if isinstance(signature, str) else None
    except (ValueError, RecursionError):  # NaN, half of a surrogate pair, …: nothing that `seal` writes
        return None


def _signed(content: Mapping[str, Any], kind: Kind) -> bytes:
    return f"updraft {kind}\n".encode() + json_bytes(content)


def parse(schema: type[Content], content: Mapping[str, Any], place: str) -> Content:
    """Hold parsed JSON against a schema; VerificationError names `place` and the first key that does not fit."""
    try:
        return schema.model_validate(dict(content))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise VerificationError(f"{place} has no valid {key!r} ({first['msg'].lower()})") from None
