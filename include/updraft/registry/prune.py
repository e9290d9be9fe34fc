"""Delete old versions: only stored ones, and in an order that a run which pushes or a person who promotes cannot upset.

A signed move names the versions first. Whoever read the pointer before it moves it no more, and whoever reads it
afterwards promotes none of them. Only then are they deleted; their numbers stay taken.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from updraft.registry import claims
from updraft.registry.registry import NoSuchVersion, Registry, Version
from updraft.registry.s3 import BadRegistry, VerificationError

log = logging.getLogger(__name__)

MOST = 1_000  # versions that one move names


def prunable(registry: Registry, name: str, keep: int) -> list[Version]:
    """List the versions that `prune` deletes, oldest first: those of state `stored` but for the latest `keep`.

    A version that does not verify is not among them: who knows what it is.
    """
    if keep < 1:
        raise BadRegistry(f"{name}: keep {keep}: expected 1 or more")
    states, stored = registry.states(name), list[Version]()
    for number in registry.numbers(name):
        try:
            version, _, _ = registry.read_verified(name, number)
        except (VerificationError, NoSuchVersion) as error:
            log.warning("stays: %s", error)
            continue
        if states.of(number, version.model_sha256) == "stored":
            stored.append(version)
    return stored[:-keep][:MOST]


def prune(registry: Registry, name: str, versions: Iterable[Version], *, keep: int, who: str, why: str) -> list[int]:
    """Delete those of `versions` that are still prunable, and what an interrupted call left; return all numbers.

    Raises PointerMoved when something else moved the pointer at the same moment; nothing is deleted then.
    """
    registry.keys.require_signing()
    moves = registry.moves(name)
    now = moves.pointer()
    wanted = {version.number for version in versions}
    doomed = [version for version in prunable(registry, name, keep) if version.number in wanted]
    if doomed:
        production, rollout = (now.production, now.rollout) if now else (None, None)
        numbers = [version.number for version in doomed]
        moves.move(now, "prune", production, who, why, versions=numbers, rollout=rollout)
    return [number for number in sorted(registry.states(name).pruned) if _delete(registry, name, number)]


def _delete(registry: Registry, name: str, number: int) -> bool:
    """Delete a version's files, its manifest first; return whether there were any. Its number stays claimed."""
    bucket, folder = registry.bucket, claims.version_folder(name, number)
    keys = sorted(bucket.keys(f"{folder}/"), key=lambda key: key != "manifest.json")
    files = [key for key in keys if key != claims.CLAIM]
    if files:
        claims.release(bucket, name, number)
    for key in files:
        bucket.delete(f"{folder}/{key}")
    return bool(files)
