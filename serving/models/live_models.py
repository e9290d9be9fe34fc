"""The live models: polls the registry, verifies a new version before loading a byte of it, then swaps one reference."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from serving.models.live_model import FILES, LiveModel, load
from serving.models.monitor_states import MonitorStates
from serving.models.rollouts import Refusal, Rollouts
from serving.models.version_cache import Cache
from serving.models.versions import Versions
from updraft.registry.registry import NoSuchVersion, Pointer, Registry, VerificationError
from updraft.registry.version_folder import open_folder

TRANSIENT = (BotoCoreError, ClientError, OSError)  # errors worth a retry; any other one is the version's fault
MAX_WAIT = 30.0  # seconds between two rounds while the registry fails

Listener = Callable[[str], object]  # called with a use case

log = logging.getLogger(__name__)


def _ignore(name: str) -> None:
    """Do nothing: the listener until `subscribe` is called."""


class LiveModels:
    """The production version of each use case, once it verifies, loads and reproduces its own example.

    A version that does not is refused once for each move of the pointer, and the previous one stays live. `cache` keeps
    live versions for a start without the registry; they are verified again before they serve from there. `rollouts`
    are the versions that are tried beside production.
    """

    def __init__(self, registry: Registry, cache: Cache, only: Collection[str] = ()) -> None:
        self._registry = registry
        self._cache = cache
        self._only = frozenset(only)
        self.monitors = MonitorStates(registry)
        self.versions = Versions(registry, cache, lambda: self.reachable is not False)
        self._on_swap: Listener = _ignore
        self._on_refusal: Listener = _ignore
        self._settled: dict[str, Pointer] = {}  # the pointers acted on: unchanged ones need no further work
        self._fallback_tried: set[str] = set()
        self._missing: set[str] = set()
        self._refreshing = threading.Lock()
        self._closed, self._first_round = threading.Event(), threading.Event()
        # Mappings are replaced, never changed, so that a request that reads one sees a consistent state without a lock.
        self.live: Mapping[str, LiveModel] = {}
        self.rollouts = Rollouts(self._fetch, TRANSIENT)
        self.refusals: Mapping[str, Refusal] = {}
        self.refused: frozenset[str] = frozenset()  # use cases whose pointer, or the version it names, is refused now
        self.removed: frozenset[str] = frozenset()  # use cases that were ended by a signed move
        self.pointers: Mapping[str, Pointer] = {}  # the last move of each use case, verified
        self.listed: frozenset[str] = frozenset()
        self.reachable: bool | None = None  # None before the first round
        self.reached = False

    @property
    def names(self) -> list[str]:
        """Return the known use cases, loaded or not."""
        return sorted((self.live.keys() | self.listed | self.refusals.keys()) - self.removed)

    def why_not(self, use_case: str) -> str:
        """Say why a known use case has no live model."""
        refusal = self.refusals.get(use_case)
        reason = f": {refusal.reason}" if refusal else ""
        return f"No verified model of {use_case} is loaded{reason}."

    def subscribe(self, *, on_swap: Listener, on_refusal: Listener) -> None:
        """Register listeners that are called with the use case whenever a version goes live or is refused."""
        self._on_swap, self._on_refusal = on_swap, on_refusal

    def watch(self, poll_seconds: float, timeout: float = 0.0) -> threading.Thread:
        """Start a daemon thread that refreshes every `poll_seconds`, and less often while the registry fails.

        Returns after the first round, or after `timeout` seconds: a worker that accepts requests any earlier has no
        model to respond with. Call it in the process that serves: a thread does not survive a fork.
        """
        thread = threading.Thread(target=self._watch, args=(poll_seconds,), name="registry-watch", daemon=True)
        thread.start()
        self._first_round.wait(timeout)
        return thread

    def close(self) -> None:
        """Stop watching after the current round."""
        self._closed.set()

    def refresh(self) -> bool:
        """Refresh all use cases; return False if any has to be retried."""
        with self._refreshing:
            try:
                names = self._selected(self._registry.names())
            except TRANSIENT as error:
                self._registry_failed(error)
                for name in self._selected(self._cache.names()):
                    self._fall_back(name)
                return False
            self._registry_answered(names)
            followed = [self._follow_pointer(name) for name in names]
            self.monitors.refresh(self.live)
            return all(followed)

    def _selected(self, names: list[str]) -> list[str]:
        return [name for name in names if not self._only or name in self._only]

    def _watch(self, poll_seconds: float) -> None:
        failures, wait = 0, 0.0
        while not self._closed.wait(wait):
            try:
                failures = 0 if self.refresh() else min(failures + 1, 10)
            except Exception:  # a bug of ours must not stop the thread
                log.exception("refreshing the models failed")
                failures = min(failures + 1, 10)
            self._first_round.set()
            backoff = min(poll_seconds * 2.0**failures, MAX_WAIT)
            wait = max(poll_seconds, backoff) if failures else poll_seconds

    def _follow_pointer(self, name: str) -> bool:
        """Do what the use case's pointer says; return False if that has to be retried."""
        try:
            return self._follow(name)
        except TRANSIENT as error:
            log.warning("%s: will be retried: %s", name, _one_line(error))
            self._fall_back(name)
            return False
        except Exception as error:  # the pointer is not believed; whatever it is, the other use cases go on
            if not isinstance(error, VerificationError):
                log.exception("%s: following the pointer failed", name)
            self._refuse(name, None, error)
            self.refused |= {name}
            self._settled.pop(name, None)
            self._fall_back(name)
            return isinstance(error, VerificationError)

    def _follow(self, name: str) -> bool:
        """Read the pointer and deploy the version that it names; raises what reading it raises."""
        settled = self._settled.get(name)
        pointer = self._registry.pointer(name, settled)
        if pointer is None:
            self._mark_missing(name)
            return True
        self._missing.discard(name)
        if pointer is settled:
            return True
        pointer = self._require_new_move(name, pointer)
        self.pointers = {**self.pointers, name: pointer}
        self.rollouts.end_others(name, pointer.production, pointer.rollout)
        deployed = True
        if pointer.production is None:
            self._remove(name)
        else:
            deployed = self._deploy(name, pointer.production)
        if self.rollouts.follow(name, pointer.rollout) and deployed:
            self._settled[name] = pointer  # else the registry does not have a version yet: look again
        return True

    def _require_new_move(self, name: str, pointer: Pointer) -> Pointer:
        """Return the pointer unless a later move was seen before; VerificationError: somebody put back an old one."""
        registry = str(self._registry.bucket)
        with self._cache.lock(name):
            sequence, move = self._cache.last_move(name, registry)
            if pointer.sequence < sequence:  # or another worker was faster to see the next one
                pointer = self._registry.pointer(name) or pointer
            if (pointer.sequence, pointer.move) != (sequence, move):
                self._require_later(name, pointer, sequence, self._cache.registry_id(name, registry))
                self._cache.see_move(name, registry, pointer.sequence, pointer.move)
            self._cache.see_registry(name, registry, pointer.registry_id)
            return pointer

    def _require_later(self, name: str, pointer: Pointer, sequence: int, registry_id: str) -> None:
        """Raise VerificationError for a pointer that is no later one than move `sequence` of a registry."""
        if pointer.sequence <= sequence:
            raise VerificationError(
                f"{name}: the pointer is at move {pointer.sequence}, but move {sequence} was seen before: an old "
                f"pointer was put back; after a restore run `updraft registry sign {name} --above {sequence}`"
            )
        if registry_id and pointer.registry_id != registry_id:
            options = f"--registry-id {registry_id} --above {max(sequence, pointer.sequence)}"
            raise VerificationError(
                f"{name}: the pointer is of registry {pointer.registry_id or 'none'}, but {registry_id} was seen "
                f"before: it was copied from another registry; if that is meant, run `updraft registry sign {name} "
                f"{options}`"
            )

    def _deploy(self, name: str, number: int) -> bool:
        """Make a version live unless it is already, or refuse it. Raises TRANSIENT errors, which say nothing about it.

        Returns False if the registry does not have it yet.
        """
        live = self.live.get(name)
        try:
            found = self._fetch(name, number)
            if found is not live:
                with self._cache.lock(name):
                    self._activate(found)
        except TRANSIENT:
            raise
        except Exception as error:
            self._refuse(name, number, error)
            self.refused |= {name}
            self._fall_back(name)
            return not isinstance(error, NoSuchVersion)
        self.removed -= {name}
        self._accept(name)
        return True

    def _fetch(self, name: str, number: int) -> LiveModel:
        """Download, verify and load a version, unless it is in service already."""
        with self._cache.lock(name):
            return self._load_pulled(name, number, self._registry.pull(name, number, self._cache.folder(name, number)))

    def _load_pulled(self, name: str, number: int, folder: Path) -> LiveModel:
        """Load what was just pulled, unless it is live or tried already.

        What is not as it was pulled then is somebody's who can write to the cache.
        """
        try:
            version, files = open_folder(name, number, folder, FILES, self._registry.keys)
            for known in (self.live.get(name), self.rollouts.model(name)):
                # Compare contents, not numbers: a registry that was recreated counts from 1 again.
                if known and known.manifest == version.manifest:
                    return known
            return load(version, files)
        except VerificationError as error:
            raise OSError(f"the cache was changed meanwhile: {error}") from None

    def _remove(self, name: str) -> None:
        """Stop to serve a use case that nothing is in production of, as a signed move says."""
        with self._cache.lock(name):
            self._cache.forget(name)
        if name in self.live:
            log.info("%s: nothing is in production: version %d is no longer served", name, self.live[name].version)
        self.live = {other: live for other, live in self.live.items() if other != name}
        self.removed |= {name}
        self._accept(name)

    def _accept(self, name: str) -> None:
        """Forget why a use case's version or pointer was refused: the cause is gone."""
        self.refused -= {name}
        self.refusals = {other: refusal for other, refusal in self.refusals.items() if other != name}

    def _fall_back(self, name: str) -> None:
        """Make the latest good version in the cache live if none is; tried once per use case."""
        if name in self.live or name in self._fallback_tried:
            return
        self._fallback_tried.add(name)
        for number in self._cache.recent(name):
            try:
                with self._cache.lock(name):
                    folder = self._cache.folder(name, number)
                    self._activate(load(*open_folder(name, number, folder, FILES, self._registry.keys)))
            except Exception as error:
                self._refuse(name, number, error)
            else:
                log.warning("%s: serving version %d from the cache", name, number)
                return

    def _activate(self, live: LiveModel) -> None:
        previous = self.live.get(live.use_case)
        self.live = {**self.live, live.use_case: live}
        self._on_swap(live.use_case)
        before = f"version {previous.version}" if previous else "none"
        log.info("%s: version %d is live, previous: %s", live.use_case, live.version, before)
        try:
            self._cache.record(live.use_case, live.version)
        except OSError as error:
            log.warning("%s: the cache cannot be updated: %s", live.use_case, error)

    def _refuse(self, name: str, number: int | None, error: Exception) -> None:
        refusal, previous = Refusal.of(number, error), self.refusals.get(name)
        repeated = previous and (previous.version, previous.reason) == (number, refusal.reason)
        if repeated and number not in self._cache.recent(name):
            return  # already reported, and not live since
        self.refusals = {**self.refusals, name: refusal}
        self._on_refusal(name)
        log.error("%s: %s is refused: %s", name, refusal, _one_line(error.__cause__ or error))

    def _registry_failed(self, error: Exception) -> None:
        if self.reachable is not False:
            log.warning("the registry is unreachable: %s", _one_line(error))
        self.reachable = False

    def _registry_answered(self, names: list[str]) -> None:
        if self.reachable is False:
            log.info("the registry is reachable again")
        self.reachable = self.reached = True
        self.listed = frozenset(names)
        for name in {*self.live, *self._selected(self._cache.names())} - self.listed:
            self._mark_missing(name)

    def _mark_missing(self, name: str) -> None:
        if name in self.refused:
            self._accept(name)
        self._fall_back(name)
        self._settled.pop(name, None)
        if name in self.live and name not in self._missing:
            self._missing.add(name)
            log.warning("%s: gone from the registry; version %d stays live", name, self.live[name].version)


def _one_line(error: BaseException) -> str:
    """Format an error as one line."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]
