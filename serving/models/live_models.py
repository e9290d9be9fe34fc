"""The live models: polls the registry, verifies what is new before a byte of it is loaded, swaps one reference."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from threadpoolctl import threadpool_limits

from serving.body.fast_json import Decoder
from serving.models.version_cache import Cache
from updraft.model import golden
from updraft.model.model import Model, OutdatedModel
from updraft.registry.registry import NoSuchVersion, Pointer, Registry, VerificationError

AGAIN = (BotoCoreError, ClientError, OSError)  # what passes by itself; anything else is the version's own fault
LONGEST_WAIT = 30.0

Told = Callable[[str], object]  # called with a use case

log = logging.getLogger(__name__)


def _nobody(name: str) -> None:
    """Tell nobody."""


class Unfit(Exception):
    """Refuse a version that is signed and whole but does not load, or fails on its own example."""


@dataclass(frozen=True)
class Live:
    """A model in service. A request takes it once, so that its answer is wholly of the version it names."""

    use_case: str
    version: int
    model: Model
    decoder: Decoder
    manifest: Mapping[str, Any]
    loaded_at: datetime


@dataclass(frozen=True)
class Refusal:
    """The last version of a use case that was not let in; none when it is the pointer that is not believed."""

    version: int | None
    reason: str
    at: datetime


class Shelf:
    """The production version of each use case, as far as it verifies, loads and answers its own example.

    A version that does not is refused once for each move of the pointer, and the one before it stays. What was live
    lies in `cache` and is verified anew when it serves after a start at which the registry gives nothing better.
    """

    def __init__(self, registry: Registry, cache: Cache, only: Collection[str] = ()) -> None:
        self._registry = registry
        self._cache = cache
        self._only = frozenset(only)
        self._swapped: Told = _nobody
        self._refused: Told = _nobody
        self._judged: dict[str, Pointer] = {}
        self._restored: set[str] = set()
        self._missing: set[str] = set()
        self._round = threading.Lock()
        self._closed, self._looked = threading.Event(), threading.Event()
        self.live: Mapping[str, Live] = {}  # replaced, never changed: whoever reads it once sees one state
        self.refusals: Mapping[str, Refusal] = {}
        self.refused: frozenset[str] = frozenset()  # use cases whose pointer, or the version it names, is not let in
        self.listed: frozenset[str] = frozenset()
        self.reachable: bool | None = None  # None: not asked yet
        self.reached = False

    @property
    def names(self) -> list[str]:
        """Name the known use cases, loaded or not."""
        return sorted(self.live.keys() | self.listed | self.refusals.keys())

    def tell(self, *, swapped: Told, refused: Told) -> None:
        """Have these called whenever a version of a use case goes into service, or is not let in."""
        self._swapped, self._refused = swapped, refused

    def watch(self, seconds: float, patience: float = 0.0) -> threading.Thread:
        """Refresh in a daemon thread, now and then every so many seconds; more seldom while the registry fails.

        Returns after the first round, or when `patience` (seconds) is at its end: a worker that takes requests earlier
        has nothing to answer with. To be called in the process that serves: a thread does not survive a fork.
        """
        thread = threading.Thread(target=self._watch, args=(seconds,), name="shelf", daemon=True)
        thread.start()
        self._looked.wait(patience)
        return thread

    def close(self) -> None:
        """End watching after the round that runs."""
        self._closed.set()

    def refresh(self) -> bool:
        """Do one round over all use cases; return whether none has to be tried again."""
        with self._round:
            try:
                names = self._wanted(self._registry.names())
            except AGAIN as error:
                self._note_failure(error)
                for name in self._wanted(self._cache.names()):
                    self._restore(name)
                return False
            self._note_answer(names)
            followed = [self._follow(name) for name in names]
            return all(followed)

    def _wanted(self, names: list[str]) -> list[str]:
        return [name for name in names if not self._only or name in self._only]

    def _watch(self, seconds: float) -> None:
        failures, wait = 0, 0.0
        while not self._closed.wait(wait):
            try:
                failures = 0 if self.refresh() else min(failures + 1, 10)
            except Exception:  # a fault of ours must not end the watch
                log.exception("a round over the registry failed")
                failures = min(failures + 1, 10)
            self._looked.set()
            wait = max(seconds, min(seconds * 2.0**failures, LONGEST_WAIT)) if failures else seconds

    def _follow(self, name: str) -> bool:
        """Bring a use case to the version its pointer names; return False when that is to be tried again."""
        judged = self._judged.get(name)
        try:
            pointer = self._registry.pointer(name, judged)
            settled = pointer is None or pointer is judged or self._bring(name, pointer.production)
        except AGAIN as error:
            log.warning("%s: to be tried again: %s", name, _line(error))
            self._restore(name)
            return False
        except VerificationError as error:  # the pointer itself
            self._refuse(name, None, error)
            self.refused |= {name}
            self._judged.pop(name, None)
            self._restore(name)
            return True
        if pointer is None:
            self._miss(name)
            return True
        self._missing.discard(name)
        if settled:
            self._judged[name] = pointer
        return True

    def _bring(self, name: str, number: int) -> bool:
        """Put a version into service unless it is there, or refuse it; what passes by itself (AGAIN) is raised.

        Returns False when it is not there yet: that is looked for again, though the pointer does not move.
        """
        live = self.live.get(name)
        try:
            with self._cache.alone(name):
                folder = self._registry.pull(name, number, self._cache.folder(name, number))
                # By its content, not by its number: a registry may have been made anew.
                if live is None or live.manifest != read_manifest(folder):
                    self._serve(load(name, number, folder))
        except AGAIN:
            raise
        except Exception as error:
            self._refuse(name, number, error)
            self.refused |= {name}
            self._restore(name)
            return not isinstance(error, NoSuchVersion)
        self.refused -= {name}
        return True

    def _restore(self, name: str) -> None:
        """Put the last good version out of the cache into service, where none is; tried once."""
        if name in self.live or name in self._restored:
            return
        self._restored.add(name)
        for number in self._cache.kept(name):
            try:
                with self._cache.alone(name):
                    folder = self._cache.folder(name, number)
                    self._registry.verify_folder(name, number, folder)
                    self._serve(load(name, number, folder))
            except Exception as error:
                self._refuse(name, number, error)
            else:
                log.warning("%s: version %d serves out of the cache", name, number)
                return

    def _serve(self, live: Live) -> None:
        before = self.live.get(live.use_case)
        self.live = {**self.live, live.use_case: live}
        refusal = self.refusals.get(live.use_case)
        if refusal and refusal.version in (None, live.version):
            self.refusals = {name: each for name, each in self.refusals.items() if name != live.use_case}
        self._swapped(live.use_case)
        log.info("%s: version %d is live, before it: %s", live.use_case, live.version, before and before.version)
        try:
            self._cache.keep(live.use_case, live.version)
        except OSError as error:
            log.warning("%s: the cache cannot be kept: %s", live.use_case, error)

    def _refuse(self, name: str, number: int | None, error: Exception) -> None:
        reason = (
            str(error)
            if isinstance(error, (VerificationError, Unfit))
            else f"cannot be fetched: {type(error).__name__}"
        )
        before = self.refusals.get(name)
        if before and (before.version, before.reason) == (number, reason) and number not in self._cache.kept(name):
            return  # it was told
        self.refusals = {**self.refusals, name: Refusal(number, reason, datetime.now(UTC))}
        self._refused(name)
        log.error("%s: version %s is refused: %s", name, number, _line(error.__cause__ or error))

    def _note_failure(self, error: Exception) -> None:
        if self.reachable is not False:
            log.warning("the registry cannot be reached: %s", _line(error))
        self.reachable = False

    def _note_answer(self, names: list[str]) -> None:
        if self.reachable is False:
            log.info("the registry can be reached again")
        self.reachable = self.reached = True
        self.listed = frozenset(names)
        for name in {*self.live, *self._wanted(self._cache.names())} - self.listed:
            self._miss(name)

    def _miss(self, name: str) -> None:
        self._restore(name)
        self.refused -= {name}
        self._judged.pop(name, None)
        if name in self.live and name not in self._missing:
            self._missing.add(name)
            log.warning("%s: gone from the registry; version %d keeps serving", name, self.live[name].version)


def load(name: str, number: int, folder: Path) -> Live:
    """Load a VERIFIED folder and have it answer its example and its golden rows, as it did in training; or Unfit."""
    try:
        model = Model.load(folder)
        if model.signature.use_case != name:
            raise Unfit(f"{name} version {number}: the model is of {model.signature.use_case!r}")
        decoder = Decoder(model.signature)
        model.predict(model.signature.frame([model.signature.example]))
        golden.replay(model, folder)
        threadpool_limits(limits=1)  # for good: requests run side by side as it is, and one row needs no threads
        manifest = read_manifest(folder)
    except Unfit:
        raise
    except (golden.NotReproduced, OutdatedModel) as error:
        raise Unfit(f"{name} version {number}: {error}") from None
    except Exception as error:
        raise Unfit(f"{name} version {number}: does not load ({type(error).__name__})") from error
    return Live(name, number, model, decoder, manifest, datetime.now(UTC))


def read_manifest(folder: Path) -> Mapping[str, Any]:
    """Read what was signed of a version: its files, metrics, run."""
    manifest: Mapping[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    return manifest


def _line(error: BaseException) -> str:
    """Say an error in one line."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]
