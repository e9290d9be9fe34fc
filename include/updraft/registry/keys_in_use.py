"""Which key has signed what: what a person looks at before an old key is dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from updraft.registry.claims import version_folder
from updraft.registry.judgements import JUDGED_AGAIN
from updraft.registry.manifest import MAX_MANIFEST, MAX_SIGNATURE
from updraft.registry.monitor_state import MONITOR
from updraft.registry.moves import HISTORY, POINTER
from updraft.registry.registry import Registry
from updraft.registry.s3 import VerificationError, key_for
from updraft.registry.signed_json import Kind, signer

UNKNOWN = "none of these"


def keys_in_use(registry: Registry, name: str) -> Counter[str]:
    """Count the signatures of a use case by the id of the key, and those that no key here verifies as UNKNOWN."""
    sealed = (_signer(registry, key, kind) for key, kind in _sealed(registry, name))
    manifests = (_manifest_signer(registry, name, number) for number in registry.numbers(name))
    return Counter(each for each in (*manifests, *sealed) if each)


def _manifest_signer(registry: Registry, name: str, number: int) -> str:
    folder = version_folder(name, number)
    manifest = registry.bucket.get(f"{folder}/manifest.json", limit=MAX_MANIFEST)
    signature = registry.bucket.get(f"{folder}/manifest.sig", limit=MAX_SIGNATURE)
    by = registry.keys.signer(manifest[0], signature[0].strip()) if manifest and signature else None
    return by or UNKNOWN


def _sealed(registry: Registry, name: str) -> Iterator[tuple[str, Kind]]:
    yield key_for(name, POINTER), "move"
    for sequence in registry.moves(name).sequences():
        yield key_for(name, f"{HISTORY}{sequence:06d}.json"), "move"
    for number in registry.numbers(name):
        yield f"{version_folder(name, number)}/{JUDGED_AGAIN}", "judgement"
    yield key_for(name, MONITOR), "monitor"


def _signer(registry: Registry, key: str, kind: Kind) -> str | None:
    """Return who signed an object; None if it is not there."""
    try:
        answer = registry.bucket.get(key)
        return (signer(answer[0], registry.keys, key, kind) or UNKNOWN) if answer else None
    except VerificationError:  # too large, or no JSON
        return UNKNOWN
