"""What pages show of versions: read and verified once, since a version never changes."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from updraft.registry.registry import Registry

MAX_KEPT = 5_000  # versions in memory


@dataclass(frozen=True)
class VersionFacts:
    """What is shown of a version; `refused` says why its manifest is not believed.

    `choose_by` is the metric that chose it among the candidates; None in the manifests of an earlier Updraft.
    """

    number: int
    made: str = ""
    candidate: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    model_sha256: str | None = None
    choose_by: str | None = None
    refused: str = ""


class KnownVersions:
    """Versions that were verified, each of which is read once by a process."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[object, ...], VersionFacts] = OrderedDict()
        self._lock = Lock()

    def read(self, store: Registry, name: str, number: int) -> VersionFacts:
        """Return what is shown of a version. Raises what `read_verified` raises, and reads it again the next time."""
        keys = (key.public_bytes(Encoding.Raw, PublicFormat.Raw) for key in store.keys.verifying)
        place = (str(store.bucket), name, number, *keys)
        with self._lock:
            if found := self._known.get(place):
                return found
        version, _, _ = store.read_verified(name, number)
        facts = describe(number, version.manifest, version.model_sha256)
        with self._lock:
            self._known[place] = facts
            while len(self._known) > MAX_KEPT:
                self._known.popitem(last=False)
        return facts


def describe(number: int, manifest: Mapping[str, Any], model_sha256: str | None) -> VersionFacts:
    """Return what is shown of a version by its verified manifest."""
    choose_by = manifest.get("choose_by")
    return VersionFacts(
        number,
        str(manifest.get("created_at", "")),
        str(manifest.get("candidate", "")),
        dict(_finite(manifest.get("metrics"))),
        model_sha256,
        choose_by if isinstance(choose_by, str) else None,
    )


def chosen_first(metrics: Mapping[str, float], choose_by: str | None) -> dict[str, float]:
    """Return metrics with the one that chooses among candidates first, where it is known."""
    return {name: metrics[name] for name in sorted(metrics, key=lambda name: name != choose_by)}


def _finite(metrics: object) -> Iterator[tuple[str, float]]:
    for name, value in metrics.items() if isinstance(metrics, dict) else ():
        if isinstance(value, int | float) and math.isfinite(value):
            yield str(name), float(value)
