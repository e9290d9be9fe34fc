"""Tasks that are repeated anyway and may fail for a while, as on a full disk."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable

from serving.prediction_log.store import CorruptDatabase

log = logging.getLogger(__name__)


class RepeatedTask:
    """A task that logs its first failure and its recovery, not the many failures between them."""

    def __init__(
        self, failure: str, recovery: str, expected: tuple[type[Exception], ...] = (OSError, sqlite3.Error)
    ) -> None:
        self.failures = 0  # in a row
        self._expected = (*expected, CorruptDatabase)  # all others are bugs, and logged with a traceback
        self._failure, self._recovery = failure, recovery

    def run(self, task: Callable[[], object]) -> None:
        """Run the task once; raises nothing."""
        try:
            task()
        except Exception as error:
            self.failures += 1
            if self.failures == 1:
                log.error("%s: %s", self._failure, error, exc_info=not isinstance(error, self._expected))
            return
        if self.failures:
            log.warning(self._recovery)
        self.failures = 0
