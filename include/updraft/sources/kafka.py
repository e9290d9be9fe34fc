"""Messages of a Kafka topic as rows, up to its end at the start of the read, from where the last dataset ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from updraft.addresses import Address, Connections, variable_of
from updraft.sources.json_rows import JsonRows
from updraft.sources.kafka_client import KafkaClient, kafka_client
from updraft.sources.kafka_messages import Messages
from updraft.sources.kafka_offsets import ANEW, parts_of
from updraft.sources.source import BadSource, Batch, Extent
from updraft.usecase.rows_definition import RowsDefinition
from updraft.usecase.source_blocks import KafkaSource


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
        self._topic = settings.topic
        anew = ANEW.format(settings.restart + 1)
        self._parts = parts_of(client, settings.topic, str(self), extent.position, anew)
        messages = Messages(client, settings.topic, self._parts, anew)
        self._begin = {str(part.number): part.next for part in self._parts}
        there = sum(part.end - part.next for part in self._parts)
        if not there and not extent.position:
            raise BadSource(f"{self}: the topic is empty")
        self.total: int | None = there if extent.limit is None else min(there, extent.limit)
        self._rows = JsonRows(self, case, messages.records(extent.limit), is_part=extent.position is not None)
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
