"""What is counted a moment later: nothing lost, nothing twice, and as if it had been counted at once."""

from __future__ import annotations

import math
import random
import threading
import time

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from serving.metrics import SECONDS
from serving.server.tally import FLUSH_SECONDS, Tally


def test_durations_are_observed_as_prometheus_client_does_one_by_one() -> None:
    """`_sum`, `_buckets` and `_upper_bounds` are its private names: an update that renames them fails here."""
    drawn = random.Random(1)
    seconds = [*SECONDS, 0.0, *map(math.nextafter, SECONDS, [math.inf] * len(SECONDS)), 11.0, 1e9]
    seconds += [drawn.expovariate(20) for _ in range(1000)]
    once, later = CollectorRegistry(), CollectorRegistry()
    at_once = Histogram("t", "t", ["endpoint"], buckets=SECONDS, registry=once).labels("a")
    tallied = Histogram("t", "t", ["endpoint"], buckets=SECONDS, registry=later).labels("a")
    tally = Tally()
    for each in seconds:
        at_once.observe(each)
        tally.observe(tallied, each)
    tally.flush()
    assert _buckets(later) == _buckets(once)
    assert later.get_sample_value("t_count", {"endpoint": "a"}) == len(seconds)
    found = later.get_sample_value("t_sum", {"endpoint": "a"})
    assert found is not None
    assert math.isclose(found, math.fsum(seconds), rel_tol=1e-12)


def test_counts_of_many_threads_arrive_by_themselves_and_once() -> None:
    registry, tally = CollectorRegistry(), Tally()
    counter = Counter("t", "t", ["label"], registry=registry).labels("0")

    def count() -> None:
        for number in range(2000):
            tally.add(counter, number % 3)
            if number % 100 == 0:
                tally.flush()

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = 8 * sum(number % 3 for number in range(2000))
    until = time.monotonic() + 30
    while (found := registry.get_sample_value("t_total", {"label": "0"})) != expected and time.monotonic() < until:
        time.sleep(FLUSH_SECONDS)
    assert found == expected
    tally.flush()
    assert registry.get_sample_value("t_total", {"label": "0"}) == expected


def _buckets(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if line.startswith("t_bucket")]
