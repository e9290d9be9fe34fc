"""What a process of its own does to a rate limit; imports little, because each process pays for it."""

from __future__ import annotations

from pathlib import Path

from werkzeug.exceptions import TooManyRequests

from serving.training.rate_limit import RateLimiter


def let_in(file: Path, tries: int) -> int:
    rates, count = RateLimiter(file), 0
    for _ in range(tries):
        try:
            rates.hit("all", 25)
        except TooManyRequests:
            continue
        count += 1
    return count
