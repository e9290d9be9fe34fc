"""A broker of Kafka for the tests: librdkafka's mock cluster, which speaks the protocol on a port of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from updraft.local_stack.kafka import start_broker


class Broker:
    """A broker with topics of four partitions; what it holds ends with it."""

    def __init__(self) -> None:
        self._producer, host, port = start_broker()
        self.url = f"kafka://{host}:{port}"

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
