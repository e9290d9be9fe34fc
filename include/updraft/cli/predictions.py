"""`updraft predictions`: what the services have predicted, with the labels that came back; and its erasure."""

from __future__ import annotations

import json
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.table import Table

from updraft.cli.parameters import next_step
from updraft.cli.registry_access import console
from updraft.cli.store_access import require_running
from updraft.errors import UserError
from updraft.predictions import erase, erasures, reading
from updraft.predictions.erasure import Erasure, new
from updraft.predictions.layout import VARIABLE, open_bucket
from updraft.predictions.reading import Period
from updraft.predictions.schema import JOINED
from updraft.registry.s3 import Bucket

ID = re.compile(r"[0-9a-f]{32}\.(0|[1-9][0-9]{0,8})")
POLL_SECONDS = 1.0


@contextmanager
def open_predictions() -> Iterator[Bucket]:
    """Open the place that SERVING_PREDICTIONS names, with the operator's own login."""
    require_running("s3")
    own = {name: value for name, value in os.environ.items() if not name.startswith(f"{VARIABLE}_")}
    bucket = open_bucket(own)
    if bucket is None:
        raise UserError(f"{VARIABLE}: not set; expected s3://bucket or s3://bucket/prefix, where services ship to")
    try:
        yield bucket
    finally:
        bucket.client.close()


def show(name: str, period: Period, out: Path | None, *, as_json: bool) -> None:
    """Write the predictions of a period to a file, to stdout as JSON lines, or count them by version."""
    with open_predictions() as bucket:
        batches = reading.read(bucket, name, period)
        if out:
            rows = _write(batches, out)
            typer.echo(f"{rows:,} predictions of {name} are in {out}")
        elif as_json:
            _json_lines(batches, typer.get_text_stream("stdout"))
        else:
            _count(name, batches)


def show_one(name: str, prediction_id: str) -> None:
    """Print a prediction as JSON."""
    if not ID.fullmatch(prediction_id):
        raise UserError(f"--id: {prediction_id!r}, expected 32 hex digits, a dot and a row index, as in prediction_ids")
    with open_predictions() as bucket:
        found = reading.find(bucket, name, prediction_id)
        if found is None:
            raise UserError(f"{name}: no prediction {prediction_id} in {bucket}; a new one is shipped within a minute")
    typer.echo(json.dumps(_plain(found), indent=2, ensure_ascii=False))


def parse_period(since: str | None, until: str | None) -> Period:
    """Parse the ends of a period: dates or times, UTC where they name no zone. Raises UserError."""
    period = Period(_parse_time("--since", since), _parse_time("--until", until))
    if period.since and period.until and period.since >= period.until:
        raise UserError(f"--until: {until!r} is not after --since {since!r}")
    return period


@dataclass(frozen=True)
class Request:
    """What a person asks to have erased: of a use case, rows whose column has a value."""

    name: str
    column: str
    value: str


def parse_erasure(name: str, text: str) -> Request:
    """Parse COLUMN=VALUE. Raises UserError."""
    column, equals, value = text.partition("=")
    if not (column and equals and value):
        raise UserError(f"--erase: {text!r}, expected COLUMN=VALUE")
    return Request(name, column, value)


def erase_rows(wanted: Request, seconds: float, *, yes: bool) -> None:
    """Erase rows from S3 and, through the shippers, from the services' logs; without `yes` only count them.

    The order is stored first: from then on no shipper uploads a matching row, once it has acknowledged. What was under
    way meanwhile is found by a second pass, when all have.
    """
    with open_predictions() as bucket:
        erasure = new(wanted.name, wanted.column, wanted.value)
        found = erase.find(bucket, erasure)
        if not yes:
            labels = erase.count_labels(bucket, erasure, found)
            typer.echo(f"would be erased: {len(found.ids):,} predictions and {labels:,} labels, in {bucket}")
            typer.echo("and what the services' own logs have of them, which is counted when it is erased")
            next_step(f"updraft predictions {wanted.name} --erase {wanted.column}=… --yes")
            return
        erasures.create(bucket, erasure)
        counts = [erase.erase(bucket, erasure, found)]
        waiting = _wait(bucket, erasure, seconds)
        if not waiting:
            counts.append(erase.erase(bucket, erasure, erase.find(bucket, erasure)))
        _report(bucket, erasure, counts, waiting)


def _wait(bucket: Bucket, erasure: Erasure, seconds: float) -> list[str]:
    """Wait for all instances to acknowledge; return those that have not."""
    end = time.monotonic() + seconds
    while (waiting := erasures.unaware(bucket, erasure)) and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    return waiting


def _report(bucket: Bucket, erasure: Erasure, counts: list[tuple[int, int]], waiting: list[str]) -> None:
    predictions, labels = (sum(each) for each in zip(*counts, strict=True))
    typer.echo(f"erased: {predictions:,} predictions and {labels:,} labels, in {bucket}")
    for instance, rows in sorted(erasures.acknowledged(bucket, erasure).items()):
        typer.echo(f"erased: {rows:,} predictions in the log of {instance}")
    if waiting:
        raise UserError(
            f"{len(waiting)} services have not acknowledged erasure {erasure.id}: {', '.join(waiting)}; their logs "
            "still have the rows, which none of them ships from now on; repeat this command when they run"
        )


def _count(name: str, batches: Iterable[pa.RecordBatch]) -> None:
    """Print the number of predictions and labels by version, and from when to when they are."""
    counts: dict[int | None, list[Any]] = defaultdict(lambda: [0, 0, None, None])
    for batch in batches:
        for version, at, truth in zip(*(batch[each].to_pylist() for each in ("version", "at", "truth")), strict=True):
            entry = counts[version]
            entry[0] += 1
            entry[1] += truth is not None
            entry[2], entry[3] = min(entry[2] or at, at), max(entry[3] or at, at)
    if not counts:
        raise UserError(f"{name}: no predictions in this period")
    table = Table("version", "predictions", "with a label", "first", "last")
    for version in sorted(counts, key=lambda each: each or 0):
        rows, truths, first, last = counts[version]
        times = [f"{each:%Y-%m-%d %H:%M:%S}" for each in (first, last)]
        table.add_row(str(version or "none"), f"{rows:,}", f"{truths:,}", *times)
    console().print(table)
    next_step(f"updraft predictions {name} --out predictions.parquet")


def _write(batches: Iterable[pa.RecordBatch], out: Path) -> int:
    """Write a .parquet or .jsonl, whole or not at all; return its rows."""
    if out.suffix not in (".parquet", ".jsonl"):
        raise UserError(f"--out: {str(out)!r}, expected a .parquet or a .jsonl")
    if not out.absolute().parent.is_dir():
        raise UserError(f"--out: there is no folder {str(out.absolute().parent)!r}")
    draft = out.with_name(f".{out.name}.part")
    try:
        if out.suffix == ".parquet":
            rows = 0
            with pq.ParquetWriter(draft, JOINED, compression="zstd") as writer:
                for batch in batches:
                    writer.write_batch(batch)
                    rows += batch.num_rows
        else:
            with draft.open("w", encoding="utf-8") as file:
                rows = _json_lines(batches, file)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return rows


def _json_lines(batches: Iterable[pa.RecordBatch], file: IO[str]) -> int:
    rows = 0
    for batch in batches:
        for row in batch.to_pylist():
            file.write(json.dumps(_plain(row), ensure_ascii=False) + "\n")
        rows += batch.num_rows
    return rows


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Write times as texts, and open up what is JSON in a text."""
    plain = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}
    texts = ("prediction", "probabilities", "features", "truth")
    return plain | {name: None if row[name] is None else json.loads(row[name]) for name in texts}


def _parse_time(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time_ = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"{option}: {text!r}, expected a date or time such as 2026-11-29 or 2026-11-29T08:00") from None
    return time_ if time_.tzinfo else time_.replace(tzinfo=UTC)
