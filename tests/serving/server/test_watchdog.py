"""A time limit for many tasks, in real time."""

from __future__ import annotations

import asyncio
import time

import pytest

from serving.server.watchdog import Watchdog


async def take(watchdog: Watchdog, seconds: float) -> str:
    try:
        with watchdog.limit():
            await asyncio.sleep(seconds)
    except TimeoutError:
        return "late"
    await asyncio.sleep(0.3)  # what follows has no limit
    return "in time"


def test_what_takes_too_long_is_cut_and_nothing_else() -> None:
    async def run() -> list[str]:
        watchdog = Watchdog(0.2)
        first = asyncio.gather(*(take(watchdog, seconds) for seconds in (0, 0.05, 5, 0.1, 5)))
        await asyncio.sleep(0.1)
        second = asyncio.gather(*(take(watchdog, seconds) for seconds in (5, 0)))
        found = [*await first, *await second]
        return [*found, await take(watchdog, 5), await take(watchdog, 0)]  # after all was done once

    began = time.monotonic()
    late, good = "late", "in time"
    assert asyncio.run(run()) == [good, good, late, good, late, late, good, late, good]
    assert time.monotonic() - began < 3


def test_each_has_its_own_time() -> None:
    async def run() -> list[float]:
        watchdog, ends = Watchdog(0.3), list[float]()

        async def late(start: float) -> None:
            await asyncio.sleep(start)
            began = time.monotonic()
            assert await take(watchdog, 5) == "late"
            ends.append(time.monotonic() - began)

        await asyncio.gather(*(late(number / 20) for number in range(10)))
        return ends

    ends = asyncio.run(run())
    assert len(ends) == 10
    assert all(0.29 <= seconds < 2 for seconds in ends), ends


def test_who_is_cancelled_by_others_is_cancelled() -> None:
    async def run() -> None:
        task = asyncio.create_task(take(Watchdog(5), 5))
        await asyncio.sleep(0.05)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
