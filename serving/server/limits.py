"""What one worker takes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one worker takes: bytes of a body, seconds for it to arrive, bytes of all bodies that are here together.

    `waiting` requests that have arrived whole may wait for one of the `threads`, each so many seconds.
    """

    body: int
    body_seconds: float = 30.0
    bodies: int = 256 * 2**20
    threads: int = 4
    waiting: int = 128
    wait_seconds: float = 10.0
