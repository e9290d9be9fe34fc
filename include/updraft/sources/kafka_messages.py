"""The messages of a topic, partition by partition, up to the ends that were noted before."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from updraft.sources.kafka_client import KafkaClient
from updraft.sources.kafka_offsets import Part, mark_of
from updraft.sources.source import BadSource

ROWS = 25_000
LONGEST_SILENCE = 60  # seconds without a message, though there are some


class Messages:
    """The messages of the parts of a topic; `anew` says how a topic that was recreated is read."""

    def __init__(self, client: KafkaClient, topic: str, parts: Sequence[Part], anew: str) -> None:
        self._client, self._topic, self._parts, self._anew = client, topic, parts, anew
        self._place = f"Kafka topic {topic!r}"

    def records(self, limit: int | None) -> Iterator[list[tuple[str, bytes]]]:
        """Yield the messages in parts, each with its place; at most `limit`."""
        left = limit
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
        with self._client.translated(self._place):
            self._client.consumer.assign([TopicPartition(self._topic, part.number, before)])
        heard = time.monotonic()
        while part.next < part.end and left != 0:
            found = self._consume(part, ROWS if left is None else min(ROWS, left + bool(part.expected)))
            heard = time.monotonic() if found else heard
            if time.monotonic() - heard > LONGEST_SILENCE:
                raise ConnectionError(
                    f"{self._place}: partition {part.number} gives nothing after offset {part.next - 1}"
                )
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

        with self._client.translated(self._place):
            found: list[Any] = self._client.consumer.consume(most, timeout=1)
        for message in found:
            if message.error() and message.error().code() != KafkaError._PARTITION_EOF:
                raise self._client.explained(self._place, message.error())
            if message.error() or message.offset() >= part.next or part.expected in (None, mark_of(message)):
                continue
            other = (
                f"{self._place}: offset {message.offset()} of partition {part.number} holds another message than it did"
            )
            raise BadSource(f"{other}: was the topic recreated? {self._anew}")
        part.expected = None if found else part.expected
        return found
