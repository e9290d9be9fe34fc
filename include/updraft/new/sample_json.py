"""The first rows of what speaks JSON: the messages of a Kafka topic, and the first page of an API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from updraft.addresses import Address, Connections
from updraft.sources.file_formats import ending_of
from updraft.sources.http_client import HttpServer
from updraft.sources.json_page import read_document, resolve
from updraft.sources.source import BadSource
from updraft.sources.urls import parsed, shown

if TYPE_CHECKING:
    import requests

DEEPEST = 4  # objects around a list of rows


@dataclass(frozen=True)
class SampledPage:
    """The rows of a page, and the JSON Pointer that leads to them."""

    rows: list[Mapping[str, Any]]
    pointer: str


def messages_of(url: str, topic: str) -> Iterator[Mapping[str, Any]]:
    """Yield the messages of a topic that are JSON objects, from its start."""
    from updraft.sources.json_records import parse_record
    from updraft.sources.kafka_client import kafka_client
    from updraft.sources.kafka_messages import Messages
    from updraft.sources.kafka_offsets import parts_of

    place = f"Kafka topic {topic!r}"
    with kafka_client(Address("--data", url)) as client:
        for part in Messages(client, topic, parts_of(client, topic, place, None, ""), "").records(None):
            found = (parse_record(where, value) for where, value in part)
            yield from (row for row in found if isinstance(row, dict))


def page_of(url: str, pointer: str, connections: Connections) -> SampledPage | None:
    """Return the rows of an answer in JSON; None where a URL gives a file of rows."""
    if not pointer and ending_of(unquote(parsed(url).path)):
        return None

    def document(response: requests.Response) -> Any:
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        is_json = pointer or kind == "application/json" or kind.endswith("+json")
        return (read_document(response, shown(url))[0],) if is_json else None

    with closing(HttpServer(url, None, connections)) as server:
        found = server.read(url, document)
    if found is None:
        return None
    rows = resolve(found[0], pointer) if pointer else None
    leads = [(rows, pointer)] if pointer else list(_lists(found[0], "", DEEPEST))
    for each, place in leads:
        if isinstance(each, list) and any(isinstance(row, dict) for row in each):
            return SampledPage([row for row in each if isinstance(row, dict)], place)
    raise BadSource(f"{shown(url)}: no list of objects {f'at {pointer!r}' if pointer else 'in it'}")


def _lists(value: Any, pointer: str, depth: int) -> Iterator[tuple[Any, str]]:
    """Yield the lists in a document with what leads to each, the nearest first."""
    if isinstance(value, list):
        yield value, pointer
    if isinstance(value, dict) and depth:
        inside = [_lists(each, f"{pointer}/{_token(name)}", depth - 1) for name, each in value.items()]
        found = [each for lists in inside for each in lists]
        yield from sorted(found, key=lambda each: each[1].count("/"))


def _token(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
