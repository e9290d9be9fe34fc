"""What is tried over and over, and fails for a while: a full disk, a lock."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable

from serving.prediction_log.store import Spoilt

log = logging.getLogger(__name__)


class Attempts:
    """Attempts at one thing: says once that it does, and once that it goes well again."""

    def __init__(self, fails: str, again: str) -> None:
        self.failed = 0  # times in a row
        self._fails, self._again = fails, again

    def make(self, attempt: Callable[[], object]) -> None:
        """Make one; raises nothing."""
        try:
            attempt()
        except Exception as error:
            self.failed += 1
            if self.failed == 1:
                known = isinstance(error, (OSError, sqlite3.Error, Spoilt))
                log.error("%s: %s", self._fails, error, exc_info=not known)
            return
        if self.failed:
            log.warning(self._again)
        self.failed = 0
