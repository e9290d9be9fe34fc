"""MLflow: an experiment and a registered model for each use case, which follow the registry.

Each training run is a run, its candidates are runs below it; each version is a version of the registered model, whose
alias `champion` is what is in production, `challenger` what is in a rollout.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import closing

from updraft.errors import UserError
from updraft.registry.follower import Follower
from updraft.registry.registry import PointerMoved, Registry
from updraft.trackers.bounded import Result, within
from updraft.trackers.mlflow_runs import RunWriter
from updraft.trackers.mlflow_server import PASSWORD, TOKEN, VARIABLE, MlflowServer, TrackerError, read_address
from updraft.trackers.mlflow_versions import VersionWriter
from updraft.trackers.run_record import RunRecord

SECONDS = 10.0  # that a run or a person waits for the tracker at most, after a move
GRACE = 1.0  # seconds beyond that for a request to say itself that it takes too long
PAUSE = 60.0  # seconds without another try after one that failed

log = logging.getLogger(__name__)


class Tracker(Follower):
    """The MLflow server at MLFLOW_TRACKING_URI, as a follower of a registry. Whatever is wrong with it ends no run.

    `seconds` is how long it may take at a time, None for no limit.
    """

    errors = (Exception,)
    what, done = "the tracker", "recorded by the tracker"

    def __init__(self, registry: Registry, environ: Mapping[str, str], seconds: float | None = SECONDS) -> None:
        self._registry, self._environ, self._seconds = registry, dict(environ), seconds
        self._failed: tuple[float, str] | None = None

    def sync(self, name: str) -> list[int]:
        """Write what is missing of a use case, the aliases last; return the versions that were written."""
        return self._at_most(lambda server: VersionWriter(server, self._registry, name).sync())

    def follow(self, name: str) -> str | None:
        """Write what is missing; after a failure not again for PAUSE seconds, so that a run is held up once."""
        return self._once(lambda: Follower.follow(self, name))

    def record(self, name: str, describe: Callable[[], RunRecord]) -> str | None:
        """Write a run that stored no version, if possible; return why not. It is not tried again."""
        return self._once(lambda: self._record(name, describe))

    def _record(self, name: str, describe: Callable[[], RunRecord]) -> str | None:
        try:
            self._at_most(lambda server: RunWriter(server, name).write(describe()))
        except Exception as error:  # whatever is wrong with a tracker, it must end no run
            reason = self.reason(error)
            log.warning("%s: %s has no record of this run: %s", name, self.what, reason)
            return reason
        return None

    def reason(self, error: Exception) -> str:
        """Return an error in one line, without the login."""
        ours = isinstance(error, (UserError, PointerMoved, OSError))
        message = " ".join((str(error) if ours else f"{type(error).__name__}: {error}").split())
        try:
            return read_address(self._environ).redact(message)
        except UserError as error_in_address:
            return str(error_in_address)

    def _at_most(self, work: Callable[[MlflowServer], Result]) -> Result:
        address = read_address(self._environ)

        def on_server() -> Result:
            with closing(MlflowServer(address, self._seconds)) as server:
                return work(server)

        if self._seconds is None:
            return on_server()
        try:
            return within(self._seconds + GRACE, on_server)
        except TimeoutError as error:
            raise TrackerError(f"{address.url}: {error}") from None

    def _once(self, work: Callable[[], str | None]) -> str | None:
        if self._failed and time.monotonic() < self._failed[0]:
            return self._failed[1]
        reason = work()
        self._failed = (time.monotonic() + PAUSE, reason) if reason else None
        return reason


def follow_with_tracker(registry: Registry, environ: Mapping[str, str]) -> Registry:
    """Let the tracker that MLFLOW_TRACKING_URI names, if it does, follow a registry; contacts nothing."""
    if environ.get(VARIABLE):
        registry.followers.append(Tracker(registry, environ))
    return registry


def tracker_of(registry: Registry) -> Tracker | None:
    """Return the tracker that follows a registry."""
    return next((each for each in registry.followers if isinstance(each, Tracker)), None)


def secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the texts of the tracker's login that no log may hold."""
    try:
        return read_address(environ).secrets if environ.get(VARIABLE) else ()
    except UserError:  # the log says so when the registry is followed
        return tuple(filter(None, (environ.get(name, "") for name in (PASSWORD, TOKEN))))
