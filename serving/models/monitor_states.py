"""What the monitor found of each model, as its signed `monitor.json` beside the pointer says."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Mapping

from updraft.registry import monitor_state
from updraft.registry.monitor_state import PAGE, MonitorState
from updraft.registry.registry import Registry

SECONDS = 30.0  # between two looks: a monitor runs every few minutes at most
MAX_PAGE = 16 << 20  # bytes

log = logging.getLogger(__name__)


class MonitorStates:
    """The last state of each use case that has one. What is not believed is logged once and not shown."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._next = 0.0
        self._warned: dict[str, str] = {}
        self.states: Mapping[str, MonitorState] = {}  # replaced, never changed: read without a lock

    def refresh(self, names: Iterable[str]) -> None:
        """Read the states again if SECONDS have passed; never raises, since models do not depend on it."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SECONDS
        found = {name: self._read(name) for name in names}
        self.states = {name: state for name, state in found.items() if state}

    def page(self, name: str) -> bytes | None:
        """Return the last report's page; None if there is none, or it is not the one that the state names."""
        state = self.states.get(name)
        if state is None:
            return None
        bucket = self._registry.bucket
        answer = bucket.get(f"{monitor_state.report_folder(name, state.report)}/{PAGE}", limit=MAX_PAGE)
        if answer is None or hashlib.sha256(answer[0]).hexdigest() != state.page_sha256:
            return None
        return answer[0]

    def _read(self, name: str) -> MonitorState | None:
        try:
            state = monitor_state.read(self._registry.bucket, self._registry.keys, name)
        except Exception as error:  # S3 fails, or the object is not believed: the last state is better than none
            if self._warned.get(name) != str(error):
                log.warning("%s: what the monitor found cannot be read: %s", name, error)
            self._warned[name] = str(error)
            return self.states.get(name)
        self._warned.pop(name, None)
        return state
