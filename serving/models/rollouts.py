"""The versions that are tried beside production: each verified and loaded like the one in production, or not tried."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from serving.models.live_model import LiveModel, UnusableVersion
from updraft.registry.moves import Rollout
from updraft.registry.registry import NoSuchVersion, VerificationError

HASHES = 2**64  # that a key may have

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """Why a use case's version is refused. `version` is None if its pointer is refused."""

    version: int | None
    reason: str
    at: datetime

    @classmethod
    def of(cls, version: int | None, error: Exception) -> Refusal:
        """Return a refusal because of an error; only errors about the version itself are told in their own words."""
        known = isinstance(error, (VerificationError, UnusableVersion))
        return cls(version, str(error) if known else f"cannot be fetched: {type(error).__name__}", datetime.now(UTC))

    def __str__(self) -> str:
        return "the pointer" if self.version is None else f"version {self.version}"


@dataclass(frozen=True)
class LiveRollout:
    """A version that is tried: a canary answers its share of the requests, a shadow scores copies of all."""

    rollout: Rollout
    live: LiveModel

    @property
    def is_shadow(self) -> bool:
        return self.rollout.mode == "shadow"

    def takes(self, key: bytes) -> bool:
        """Whether the canary answers the requests of this key."""
        return takes(self.live.version, self.rollout.percent or 0.0, key)


def takes(version: int, percent: float, key: bytes) -> bool:
    """Whether a canary answers the requests of a key: of the same keys as long as it is tried, in every worker.

    The hash also depends on the version, so that it is not the same callers who meet every new version first.
    """
    digest = hashlib.blake2b(b"%d %b" % (version, key), digest_size=8).digest()
    return int.from_bytes(digest) < HASHES * percent / 100


class Rollouts:
    """The version that is tried of each use case; `fetch` verifies and loads one.

    One that cannot be verified or loaded is refused once for each move of the pointer; production then answers alone.
    """

    def __init__(self, fetch: Callable[[str, int], LiveModel], transient: tuple[type[Exception], ...]) -> None:
        self._fetch, self._transient = fetch, transient
        # Replaced, never changed: see LiveModels.
        self.live: Mapping[str, LiveRollout] = {}
        self.refusals: Mapping[str, Refusal] = {}

    def model(self, name: str) -> LiveModel | None:
        """Return the model that is tried, if any."""
        tried = self.live.get(name)
        return tried.live if tried else None

    def end_others(self, name: str, production: int | None, rollout: Rollout | None) -> None:
        """Stop to try a version that is neither in the rollout nor about to become the one in production."""
        tried = self.live.get(name)
        if tried and tried.live.version not in (production, rollout.version if rollout else None):
            self._drop(name)

    def follow(self, name: str, rollout: Rollout | None) -> bool:
        """Try what the pointer says, or nothing; return False if the registry does not have the version yet.

        Raises transient errors, which say nothing about the version.
        """
        if rollout is None:
            self._drop(name)
            self._accept(name)
            return True
        try:
            live = self._fetch(name, rollout.version)
        except self._transient:
            raise
        except Exception as error:
            self._drop(name)
            self._refuse(name, rollout, error)
            return not isinstance(error, NoSuchVersion)
        tried = LiveRollout(rollout, live)
        known = self.live.get(name)
        self._accept(name)
        if known and known.rollout == rollout and known.live is live:
            return True
        self.live = {**self.live, name: tried}
        log.info("%s: version %d is tried beside production: %s", name, live.version, rollout)
        return True

    def _drop(self, name: str) -> None:
        if tried := self.live.get(name):
            self.live = {other: each for other, each in self.live.items() if other != name}
            log.info("%s: version %d is no longer tried", name, tried.live.version)

    def _accept(self, name: str) -> None:
        self.refusals = {other: each for other, each in self.refusals.items() if other != name}

    def _refuse(self, name: str, rollout: Rollout, error: Exception) -> None:
        refusal, previous = Refusal.of(rollout.version, error), self.refusals.get(name)
        if previous and (previous.version, previous.reason) == (refusal.version, refusal.reason):
            return
        self.refusals = {**self.refusals, name: refusal}
        log.error("%s: %s is not tried, production answers alone: %s", name, refusal, error.__cause__ or error)
