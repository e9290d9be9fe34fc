"""A broker of Kafka for the tests: librdkafka's mock cluster, which speaks the protocol on a port of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Producer


class Broker:
    """A broker with topics of four partitions; what it holds ends with it."""

    def __init__(self) -> None:
        settings: dict[str, Any] = {"test.mock.num.brokers": 1, "log_level": 0}
        self._producer = Producer(settings, logger=logging.getLogger("tests.kafka"))
        (broker,) = self._producer.list_topics(timeout=30).brokers.values()
        self.url = f"kafka://{broker.host}:{broker.port}"

    def send(self, topic: str, *values: bytes | None, partition: int = 0) -> None:
        """Send messages, and wait until they are there."""
        for value in values:
            self._producer.produce(topic, value, partition=partition)
            self._producer.poll(0)
        assert self._producer.flush(60) == 0


@contextmanager
def kafka_broker() -> Iterator[Broker]:
    """Run a broker until the block ends."""
    yield Broker()
