"""Per-worker limits."""

from __future__ import annotations

from dataclasses import dataclass


def in_words(count: int) -> str:
    """Return a number of bytes as people and SERVING_MAX_BODY_MB state it."""
    return f"{count} bytes" if count % 2**20 else f"{count // 2**20} MB"


@dataclass(frozen=True)
class Limits:
    """Per-worker limits: body size in bytes, body timeout in seconds, total size of all bodies held in memory.

    Up to `queue_size` complete requests wait for one of the `threads`, each for at most `queue_timeout` seconds.
    """

    body_bytes: int
    body_timeout: float = 30.0
    total_bytes: int = 256 * 2**20
    threads: int = 4
    queue_size: int = 128
    queue_timeout: float = 10.0
