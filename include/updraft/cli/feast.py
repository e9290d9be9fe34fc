"""`updraft feast NAME`: a Feast feature repository over the dataset of a version, or of a run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from updraft.cli.feast_definitions import SETTINGS_TEXT, Keys, definitions
from updraft.errors import UserError
from updraft.model.columns import DATE, Column
from updraft.usecase import UseCase
from updraft.usecase.blocks import TimeSplit
from updraft.usecase.features_rules import KEYS

ROWS, SETTINGS, DEFINITIONS = Path("data", "rows.parquet"), "feature_store.yaml", "definitions.py"
EVENT_TIMESTAMP = "event_timestamp"
BATCH = 50_000  # rows in memory at once


@dataclass(frozen=True)
class Dataset:
    """A dataset's file, what to call it, when it was made, and what Feast is to remember of it."""

    file: Path
    origin: str
    at: datetime
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Exported:
    """What was written: rows, and how many were left out as they have no key or no date."""

    rows: int
    without_entity: int
    without_timestamp: int
    keys: Keys
    origin: str

    def __str__(self) -> str:
        left_out = {self.keys.entity.name: self.without_entity, self.keys.timestamp: self.without_timestamp}
        losses = [f"{count:,} left out without {name!r}" for name, count in left_out.items() if count]
        when = f"dated by {self.keys.timestamp!r}" if self.keys.timestamp else "all of the time of their dataset"
        keyed = f"by {self.keys.entity.name!r}, {when}"
        return "; ".join([f"{self.rows:,} rows of {self.origin}, {keyed}", *losses])


def find_keys(case: UseCase, entity: str | None = None, timestamp: str | None = None) -> Keys:
    """Return the key columns: those that are named, else the YAML's, else the id and the column that rows are split by.

    Raises UserError where there is none, or one that Feast does not take.
    """
    block = case.features
    entity = entity or (block.entity if block else case.id)
    by_time = case.split.column if isinstance(case.split, TimeSplit) else None
    timestamp = timestamp or (block.timestamp if block else None) or by_time
    if entity is None:
        raise UserError(f"{case.name}: no entity; expected --entity COLUMN, features: {{entity: COLUMN}} or an id")
    column = _column(case, "entity", entity)
    if column.type not in KEYS or entity == case.target:
        what = "the target" if entity == case.target else column.type
        raise UserError(f"entity: column {entity!r} is {what}, expected a key of type {' or '.join(KEYS)}")
    if timestamp is not None and (type_ := _column(case, "timestamp", timestamp).type) != DATE:
        raise UserError(f"timestamp: column {timestamp!r} is {type_} in the suite, expected {DATE}")
    return Keys(column, timestamp)


def export(case: UseCase, dataset: Dataset, folder: Path, keys: Keys) -> Exported:
    """Write the repository; what was written before is replaced, but for its settings."""
    stored = set(case.stored_columns) or set(case.feature_names)
    columns = [column for column in case.feature_columns if column.name in stored and column.name != keys.entity.name]
    if not columns:
        raise UserError(f"{case.name}: no feature is left beside the entity {keys.entity.name!r}")
    names = [keys.entity.name, *(column.name for column in columns)]
    timestamp = EVENT_TIMESTAMP
    while timestamp in names:
        timestamp = f"updraft_{timestamp}"
    texts = _dates_with_fractions(dataset.file, columns)
    (folder / ROWS).parent.mkdir(parents=True, exist_ok=True)
    (folder / ROWS.parent / ".gitignore").write_text("*\n", encoding="utf-8")
    exported = _write_rows(dataset, folder / ROWS, names, timestamp, keys, texts)
    (folder / DEFINITIONS).write_text(
        definitions(case, keys, columns, timestamp, texts, str(ROWS), dataset.tags), encoding="utf-8"
    )
    if not (folder / SETTINGS).exists():
        (folder / SETTINGS).write_text(SETTINGS_TEXT.format(name=case.name), encoding="utf-8")
    return exported


def _dates_with_fractions(dataset: Path, columns: list[Column]) -> set[str]:
    """Return the dates that Feast, which has whole seconds, would cut: they are exported as text in ISO 8601."""
    dates = {column.name for column in columns if column.type == DATE}
    return {
        name
        for table in (_tables(dataset, dates) if dates else ())
        for name in dates
        if pc.any(pc.not_equal(pc.subsecond(table[name].cast(pa.timestamp("us"))), 0)).as_py()
    }


def _write_rows(dataset: Dataset, out: Path, names: list[str], timestamp: str, keys: Keys, texts: set[str]) -> Exported:
    """Write the columns of a dataset with a time for each row, a batch at a time, and replace what was there."""
    rows = without_entity = without_timestamp = 0
    utc = pa.timestamp("us", tz="UTC")
    draft = out.with_name(f".{out.name}.part")
    try:
        writer: pq.ParquetWriter | None = None
        for table in _tables(dataset.file, {*names, *([keys.timestamp] if keys.timestamp else [])}):
            keyed = table.filter(pc.is_valid(table[keys.entity.name]))
            if keys.timestamp:
                times = keyed[keys.timestamp].cast(pa.timestamp("us")).cast(utc)
            else:
                times = pa.repeat(pa.scalar(dataset.at, utc), len(keyed))
            dated = keyed.select(names).append_column(timestamp, times)
            dated = dated.filter(pc.is_valid(dated[timestamp]))
            for name in texts:
                iso = pc.strftime(dated[name].cast(pa.timestamp("us")), "%Y-%m-%dT%H:%M:%S")
                dated = dated.set_column(dated.column_names.index(name), name, iso)
            without_entity += len(table) - len(keyed)
            without_timestamp += len(keyed) - len(dated)
            rows += len(dated)
            writer = writer or pq.ParquetWriter(draft, dated.schema)
            writer.write_table(dated)
        if writer is None or not rows:
            needed = " and ".join(repr(name) for name in (keys.entity.name, keys.timestamp) if name)
            raise UserError(f"{dataset.origin}: no row has a value in {needed}")
        writer.close()
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return Exported(rows, without_entity, without_timestamp, keys, dataset.origin)


def _tables(dataset: Path, names: set[str]) -> Iterator[pa.Table]:
    try:
        file = pq.ParquetFile(dataset)
    except (OSError, pa.ArrowInvalid):
        raise UserError(f"{dataset}: expected the dataset of a run, a Parquet file") from None
    with file:
        if missing := sorted(names - set(file.schema_arrow.names)):
            raise UserError(f"{dataset}: it has no column {', '.join(map(repr, missing))}")
        for batch in file.iter_batches(BATCH, columns=sorted(names)):
            yield pa.Table.from_batches([batch])


def _column(case: UseCase, what: str, name: str) -> Column:
    column = next((column for column in case.columns if column.name == name), None)
    if column is None:
        raise UserError(f"{what}: no column {name!r} in the suite of {case.name}")
    return column


def export_version(case: UseCase, number: int | None, folder: Path, keys: Keys) -> Exported:
    """Export the rows that a version was trained on, without a number those of the version in production."""
    from updraft.cli.dataset_access import open_store, pull_rows
    from updraft.cli.registry_access import one_line_errors, open_from_environment

    with one_line_errors(), open_from_environment() as registry, tempfile.TemporaryDirectory() as scratch:
        number = number or registry.production(case.name)
        if number is None:
            raise UserError(f"{case.name}: no version is in production; expected --version N or --dataset FILE")
        rows = Path(scratch) / "dataset.parquet"
        pull_rows(open_store(registry), registry, case.name, number, rows, force=False)
        manifest = registry.read_verified(case.name, number)[0].manifest
        tags = {"updraft.version": str(number), "updraft.data_sha256": str(manifest["data_sha256"])}
        at = datetime.fromisoformat(str(manifest["created_at"])).astimezone(UTC)
        return export(case, Dataset(rows, f"version {number}", at, tags), folder, keys)


def export_file(case: UseCase, file: Path, folder: Path, keys: Keys) -> Exported:
    """Export the rows of a run's dataset.parquet."""
    if not file.is_file():
        raise UserError(f"{file}: no such file; expected a run's ingest/dataset.parquet")
    return export(case, Dataset(file, str(file), datetime.fromtimestamp(file.stat().st_mtime, UTC)), folder, keys)
