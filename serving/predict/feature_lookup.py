"""Looks up columns in feature stores for requests: counted, and with a pause after failures."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from urllib.parse import urlsplit

from werkzeug.exceptions import BadGateway, ServiceUnavailable

from serving.body.stored_columns import Found, Key
from serving.metrics import Metrics
from serving.predict.feature_client import FeatureClient, StoreFailed
from updraft.model.feature_store import FeatureStore
from updraft.model.signature import Signature

FAILURES = 3  # in a row, before a store is left alone
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds; each is twice as long as the one before
TRANSIENT = {"unreachable", "timeout", "failed"}  # kinds of failures that may be gone in a moment

log = logging.getLogger(__name__)


class Pause:
    """When a store may be asked: always, until it fails FAILURES times in a row; then once after each pause."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures, self._until = 0, 0.0

    def wait(self) -> float:
        """Return 0 where the store may be asked now, else for how many seconds it may not."""
        with self._lock:
            now = time.monotonic()
            if self._failures < FAILURES:
                return 0.0
            if now < self._until:
                return self._until - now
            self._until = now + FIRST_PAUSE  # for all others, while this one tries
            return 0.0

    def failed(self) -> None:
        """Note that the store gave no answer."""
        with self._lock:
            self._failures += 1
            pause = min(FIRST_PAUSE * 2.0 ** min(max(self._failures - FAILURES, 0), 10), LONGEST_PAUSE)
            self._until = time.monotonic() + pause

    def answered(self) -> bool:
        """Note that the store answered; return whether it had failed before."""
        with self._lock:
            before, self._failures = self._failures, 0
            return before > 0


class FeatureLookup:
    """Asks feature stores; for one worker."""

    def __init__(self, metrics: Metrics, token: str | None = None) -> None:
        self._metrics, self._client = metrics, FeatureClient(token)
        self._pauses: defaultdict[str, Pause] = defaultdict(Pause)

    def ask(self, signature: Signature, store: FeatureStore, keys: Sequence[Key], columns: Sequence[str]) -> Found:
        """Return the columns of each key that the store knows.

        Raises ServiceUnavailable where it does not answer, or did not a moment ago; BadGateway where it has no usable
        answer. Neither names its address, nor any value.
        """
        name, pause = signature.use_case, self._pauses[store.url]
        what = f"The feature store of {name}, which was asked for {', '.join(columns)}"
        if seconds := pause.wait():
            self._metrics.count_lookup(name, "paused", 0)
            raise ServiceUnavailable(f"{what}, did not respond a moment ago.", retry_after=math.ceil(seconds))
        started = time.perf_counter()
        try:
            found = self._client.fetch(store, keys, columns)
        except StoreFailed as error:
            self._metrics.observe_lookup(name, time.perf_counter() - started)
            self._metrics.count_lookup(name, error.kind, 0)
            log.warning("%s: the feature store at %s: %s: %s", name, _host(store), error.kind, error)
            if error.kind not in TRANSIENT:
                pause.answered()
                raise BadGateway(f"{what}, gave no usable answer: {error}.") from None
            pause.failed()
            raise ServiceUnavailable(f"{what}, did not respond: {error}.", retry_after=math.ceil(FIRST_PAUSE)) from None
        except BaseException:  # whatever it was, the next request may try
            pause.answered()
            raise
        self._metrics.observe_lookup(name, time.perf_counter() - started)
        self._metrics.count_lookup(name, "ok" if len(found) == len(keys) else "unknown_entity", len(found))
        if pause.answered():
            log.info("%s: the feature store at %s responds again", name, _host(store))
        return found


def _host(store: FeatureStore) -> str:
    return urlsplit(store.url).netloc
