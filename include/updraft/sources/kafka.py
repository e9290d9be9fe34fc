"""Messages of a Kafka topic as rows, up to its end at the start of the read, from where the last dataset ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from updraft.addresses import Address, Connections, variable_of
from updraft.sources.json_rows import JsonRows
from updraft.sources.kafka_client import KafkaClient, kafka_client
from updraft.sources.kafka_offsets import ANEW, Part, mark_of, parts_of
from updraft.sources.source import BadSource, Batch, Extent
from updraft.usecase.rows_definition import RowsDefinition
from updraft.usecase.source_blocks import KafkaSource

ROWS = 25_000
LONGEST_SILENCE = 60  # seconds without a message, though there are some
log = logging.getLogger(__name__)


@contextmanager
def open_kafka(
    settings: KafkaSource, case: RowsDefinition, connections: Connections, extent: Extent
) -> Iterator[KafkaRows]:
    """Open a topic as a source of rows; nothing is committed, and no group is joined."""
    with kafka_client(_address_of(settings, connections)) as client:
        yield KafkaRows(client, settings, case, extent)


def count_messages(settings: KafkaSource, connections: Connections) -> int:
    """Count the messages that a topic has ever had, those included that are gone by now."""
    with kafka_client(_address_of(settings, connections)) as client:
        return sum(part.end for part in parts_of(client, settings.topic, f"Kafka topic {settings.topic!r}", None, ""))


def _address_of(settings: KafkaSource, connections: Connections) -> Address:
    is_default = settings.connection == KafkaSource.model_fields["connection"].default
    return connections(settings.connection, "KAFKA_URL" if is_default else variable_of(settings.connection))


class KafkaRows:
    """The messages of a topic, partition by partition, so that the same messages are the same rows in the same order.

    Raises BadSource when there is no such topic, nothing in it, or the former read's messages are not those that it
    holds; ConnectionError when no broker answers.
    """

    is_log = True

    def __init__(self, client: KafkaClient, settings: KafkaSource, case: RowsDefinition, extent: Extent) -> None:
        self._client, self._topic, self._limit = client, settings.topic, extent.limit
        self._anew = ANEW.format(settings.restart + 1)
        self._parts = parts_of(client, settings.topic, str(self), extent.position, self._anew)
        self._begin = {str(part.number): part.next for part in self._parts}
        there = sum(part.end - part.next for part in self._parts)
        if not there and not extent.position:
            raise BadSource(f"{self}: the topic is empty")
        self.total: int | None = there if extent.limit is None else min(there, extent.limit)
        self._rows = JsonRows(self, case, self._records(), is_part=extent.position is not None)
        self.columns, self.absent, self.others = self._rows.columns, self._rows.absent, self._rows.others

    def __str__(self) -> str:
        return f"Kafka topic {self._topic!r}"

    def provenance(self) -> dict[str, Any]:
        offsets = {str(part.number): [self._begin[str(part.number)], part.next] for part in self._parts}
        return {"kind": "kafka", "topic": self._topic, "offsets": offsets}

    def position(self) -> dict[str, Any] | None:
        """Return the next offset of each partition, and what tells its last message from another topic's."""
        offsets = {str(part.number): part.next for part in self._parts}
        return {"offsets": offsets, "last": {str(part.number): part.last for part in self._parts if part.last}}

    def batches(self) -> Iterator[Batch]:
        """Yield batches; a row's place is its partition and offset."""
        return self._rows.batches()

    def _records(self) -> Iterator[list[tuple[str, bytes]]]:
        """Yield the messages in parts, each with its place."""
        left = self._limit
        for part in self._parts:
            for messages in self._messages(part, left):
                if messages:
                    yield [(f"partition {part.number}, offset {m.offset()}", m.value() or b"") for m in messages]
                left = None if left is None else left - len(messages)
                if left == 0:
                    return

    def _messages(self, part: Part, left: int | None) -> Iterator[list[Any]]:
        """Yield the messages of a partition up to its end, at most `left`; `part.next` is behind those that were."""
        from confluent_kafka import TopicPartition

        if part.next >= part.end:
            return
        before = part.next - 1 if part.expected else part.next
        with self._client.translated(str(self)):
            self._client.consumer.assign([TopicPartition(self._topic, part.number, before)])
        heard = time.monotonic()
        while part.next < part.end and left != 0:
            found = self._consume(part, ROWS if left is None else min(ROWS, left + bool(part.expected)))
            heard = time.monotonic() if found else heard
            if time.monotonic() - heard > LONGEST_SILENCE:
                raise ConnectionError(f"{self}: partition {part.number} gives nothing after offset {part.next - 1}")
            fresh = [m for m in found if not m.error() and part.next <= m.offset() < part.end][:left]
            left = None if left is None else left - len(fresh)
            if fresh:
                part.last, part.next = mark_of(fresh[-1]), fresh[-1].offset() + 1
            if left != 0 and any(m.error() or m.offset() >= part.end for m in found):
                part.next = part.end  # what is between has been compacted, or is the end of a transaction
            yield fresh

    def _consume(self, part: Part, most: int) -> list[Any]:
        """Take messages; an error among them is the end of the partition."""
        from confluent_kafka import KafkaError

        with self._client.translated(str(self)):
            found: list[Any] = self._client.consumer.consume(most, timeout=1)
        for message in found:
            if message.error() and message.error().code() != KafkaError._PARTITION_EOF:
                raise self._client.explained(str(self), message.error())
            if message.error() or message.offset() >= part.next or part.expected in (None, mark_of(message)):
                continue
            other = f"{self}: offset {message.offset()} of partition {part.number} holds another message than it did"
            raise BadSource(f"{other}: was the topic recreated? {self._anew}")
        part.expected = None if found else part.expected
        return found
