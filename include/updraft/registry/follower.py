"""What follows the registry: it is called after each move, and is late where it cannot follow at once."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod

log = logging.getLogger(__name__)


class Follower(ABC):
    """A place to which the registry's versions and moves are written, too.

    `what` names it in messages, `done` says what it does with a version; `errors` are what it may be late by.
    """

    errors: tuple[type[Exception], ...]
    what: str
    done: str

    @abstractmethod
    def sync(self, name: str) -> list[int]:
        """Write what is missing of a use case; return the versions that were written."""

    def follow(self, name: str) -> str | None:
        """Write what is missing of a use case, if possible; return why it is late, None if it is not. Logs both."""
        try:
            versions = self.sync(name)
        except self.errors as error:
            reason = self.reason(error)
            log.warning("%s: %s is late, and is tried again: %s", name, self.what, reason)
            return reason
        for number in versions:
            log.info("%s: version %d is %s", name, number, self.done)
        return None

    def reason(self, error: Exception) -> str:
        """Return an error in one line."""
        return " ".join(str(error).split()) or type(error).__name__
