"""What every kind of destination is: a place that takes the rows of a source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from updraft.sources.source import Progress, Source


@dataclass(frozen=True)
class Destination:
    """A place that rows go to.

    `load` atomically replaces its contents with a source's rows and returns their number. `origin` says where its
    address was found: an environment variable or a connection.
    """

    name: str
    origin: str
    load: Callable[[Source, Progress | None], int]
