"""Where the reading of a topic begins and ends, partition by partition; what a position is held against."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from updraft.sources.kafka_client import SECONDS, KafkaClient
from updraft.sources.source import BadSource

ANEW = "`restart: {}` beside `topic` reads all that it holds anew"


@dataclass
class Part:
    """A partition: the next offset to read, the end that was noted at the start, and the mark of the last message.

    `expected` is the mark that the message before the first one had when it was read.
    """

    number: int
    next: int
    end: int
    last: str | None = None
    expected: str | None = None


def mark_of(message: Any) -> str:
    """Tell a message from that of another topic with the same name and offset: by its time and content."""
    return f"{message.timestamp()[1]}:{zlib.crc32(message.value() or b'')}"


def parts_of(client: KafkaClient, topic: str, place: str, position: Mapping[str, Any] | None, anew: str) -> list[Part]:
    """Note where each partition ends now, and where to begin: after a former read, or at its start.

    Raises BadSource where messages after the former read are gone, or the topic is another one by now.
    """
    from confluent_kafka import TopicPartition

    with client.translated(place):
        found = client.consumer.list_topics(topic, timeout=SECONDS).topics[topic]
        if found.error:
            raise client.explained(place, found.error)
        ends = {
            number: client.consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=SECONDS)
            for number in sorted(found.partitions)
        }
    offsets, marks = (position or {}).get("offsets", {}), (position or {}).get("last", {})
    if gone := sorted(set(offsets) - {str(number) for number in ends}):
        raise BadSource(f"{place}: partition {gone[0]} is no more: was the topic recreated? {anew}")
    parts = []
    for number, (low, high) in ends.items():
        former, mark = offsets.get(str(number)), marks.get(str(number))
        if former is not None:
            _check(former, low, high, f"{place}: partition {number}", anew)
        begin = low if former is None else former
        parts.append(Part(number, begin, high, mark, mark if begin > low else None))
    return parts


def _check(former: int, low: int, high: int, place: str, anew: str) -> None:
    if former > high:
        raise BadSource(f"{place} ends at offset {high}, but was read up to {former}: was the topic recreated? {anew}")
    if former < low:
        raise BadSource(f"{place}: the messages {former} to {low - 1} are gone before they were read; {anew}")
