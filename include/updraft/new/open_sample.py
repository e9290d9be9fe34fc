"""The first rows of any place that rows lie at, as a file on this machine; and the `source` block that leads there."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from updraft.addresses import Address, Connections
from updraft.new.sample_json import messages_of, page_of
from updraft.sources.files import find_files
from updraft.sources.format import LocalFile
from updraft.sources.scratch import scratch_file
from updraft.sources.source import BadSource
from updraft.sources.urls import shown
from updraft.usecase import file_source

FIRST_PAGE = (
    "source: the first page was profiled, and only that is read: add `pages` where there are more, and `connection` "
    "for a login."
)
MAX_ROWS = 500_000  # that are profiled
DATABASES = ("postgresql", "postgres", "mysql", "mariadb", "sqlite")


@dataclass(frozen=True)
class SampledPlace:
    """A file with the first rows, the YAML's `source` where it is not the usual one, and notes on both."""

    file: LocalFile
    source: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)


@contextmanager
def open_sample(data: str, connections: Connections) -> Iterator[SampledPlace]:
    """Give the rows of a path, a folder, a pattern or a URI: s3://, http(s)://, or a database's with #table at its end.

    Of a topic that is kafka://host:9092#topic; an answer in JSON on the web is the first page of an API, whose rows are
    at the JSON Pointer after #, or in its first list of objects.

    Raises UserError where they cannot be read.
    """
    url, _, name = data.partition("#")
    scheme = url.partition("://")[0].lower().partition("+")[0] if "://" in url else ""
    if scheme in (*DATABASES, "mongodb"):
        if not name:
            raise BadSource(f"{shown(url)}: expected the name of a {_what(scheme)} at its end, such as …#customers")
        rows = _documents(url, name) if scheme == "mongodb" else _rows(url, name)
        with _json_lines(rows, f"{shown(url)}#{name}") as file:
            yield _of_database(file, scheme, name)
        return
    if scheme == "kafka":
        if not name:
            raise BadSource(f"{shown(url)}: expected the name of a topic at its end, such as …#orders")
        with _json_lines(messages_of(url, name), f"{shown(url)}#{name}") as file:
            note = f"source: KAFKA_URL leads to the rows: set it to the URL that you gave, without #{name}."
            yield SampledPlace(file, {"kafka": {"topic": name}}, [note])
        return
    if scheme in ("http", "https") and (page := page_of(url, name, connections)):
        with _json_lines(page.rows, f"{shown(url)}#{page.pointer}") as file:
            yield SampledPlace(file, {"rest": {"url": url, "rows": page.pointer}}, [FIRST_PAGE])
        return
    found = find_files(settings := file_source(data), connections)
    filled = next((file for file in found if file.size != 0), found[0])
    several = [f"only the first of {len(found)} files was profiled: {filled.label}."] if len(found) > 1 else []
    with filled.local() as local:
        is_here = scheme in ("", "file")
        path = str(Path(settings.path).absolute()) if is_here else data
        is_usual = is_here and local.path == Path(settings.path)
        yield SampledPlace(local, None if is_usual else {"file": {"path": path}}, several)


def _of_database(file: LocalFile, scheme: str, name: str) -> SampledPlace:
    is_mongodb = scheme == "mongodb"
    source = {"mongodb": {"collection": name}} if is_mongodb else {"sql": {"table": name}}
    variable = "MONGODB_URL" if is_mongodb else "SQL_URL"
    note = f"source: {variable} leads to the rows: set it to the URL that you gave, without #{name}."
    return SampledPlace(file, source, [note])


def _what(scheme: str) -> str:
    return "collection" if scheme == "mongodb" else "table"


def _rows(url: str, table: str) -> Iterator[Mapping[str, Any]]:
    import sqlalchemy as sa

    from updraft.sources.sql_snapshot import snapshot
    from updraft.sql_engine import place_of, sql_engine, translated

    schema, _, name = table.rpartition(".")
    select = sa.select(sa.text("*")).select_from(sa.table(name, schema=schema or None)).limit(MAX_ROWS)
    with (
        sql_engine(Address("--data", url), reads_only=True) as engine,
        translated(f"{place_of(engine)}#{table}"),
        snapshot(engine) as connection,
    ):
        yield from map(dict, connection.execute(select).mappings())


def _documents(url: str, collection: str) -> Iterator[Mapping[str, Any]]:
    from updraft.sources.documents import flat_document
    from updraft.sources.mongodb import database, translated

    with database(Address("--data", url)) as opened, translated(opened[collection]):
        yield from (flat_document(document, ()) for document in opened[collection].find(limit=MAX_ROWS))


@contextmanager
def _json_lines(rows: Iterable[Mapping[str, Any]], name: str) -> Iterator[LocalFile]:
    with scratch_file() as (file, path):
        for row in islice(rows, MAX_ROWS):
            file.write(json.dumps({key: _plain(value) for key, value in row.items()}, default=str).encode() + b"\n")
        file.flush()
        yield LocalFile(path, name, "rows.jsonl")


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        whole = value.is_finite() and value == value.to_integral_value()
        return math.nan if value.is_nan() else int(value) if whole else float(value)
    return value.isoformat() if isinstance(value, date) else value
