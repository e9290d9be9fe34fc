"""Add newly read rows to those of the last validated dataset; of rows with the same id, the latest one stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROWS = 25_000


@dataclass(frozen=True)
class Merged:
    """How many rows there are, and how many gave way to a later one with the same id."""

    rows: int
    replaced: int


def merge(kept: Path | None, new: Path, key: str | None, out: Path, *, is_log: bool) -> Merged:
    """Write the rows of `kept` and then those of `new` to `out`, in `new`'s schema and with its metadata.

    With `key`, the name of an id column, a row of `kept` that `new` has the id of is left out, and in a log also a row
    of `new` that a later one has the id of; rows without an id all stay. A column that only `new` has is null in the
    rows of `kept`. Memory grows with the ids alone.
    """
    reader = pq.ParquetFile(new)
    ids = _ids(new, key)
    masks = [_last_of_each(ids if is_log else pa.chunked_array([pa.nulls(len(ids))]))]
    if kept:
        masks.insert(0, pc.invert(pc.is_in(_ids(kept, key), value_set=ids, skip_nulls=True)))
    rows = 0
    with pq.ParquetWriter(out, reader.schema_arrow, compression="zstd") as parquet:
        for path, mask in zip([kept, new] if kept else [new], masks, strict=True):
            for table in _filtered(path, mask, reader.schema_arrow):
                parquet.write_table(table)
                rows += table.num_rows
        parquet.add_key_value_metadata(_metadata(reader))
    return Merged(rows, sum(map(len, masks)) - rows)


def _ids(path: Path, key: str | None) -> pa.ChunkedArray:
    """Return a file's ids; nulls where there is no key."""
    parquet = pq.ParquetFile(path)
    if key is None or key not in parquet.schema_arrow.names:
        return pa.chunked_array([pa.nulls(parquet.metadata.num_rows)])
    return parquet.read([key])[key]


def _last_of_each(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a mask of the rows whose id no later row has."""
    series = ids.to_pandas()
    superseded = (series.duplicated(keep="last") & series.notna()).to_numpy(dtype=bool)
    return pa.chunked_array([pa.array(np.logical_not(superseded))])


def _filtered(path: Path | None, mask: pa.ChunkedArray, schema: pa.Schema) -> Iterator[pa.Table]:
    parquet = pq.ParquetFile(path)
    names = [name for name in schema.names if name in parquet.schema_arrow.names]
    start = 0
    for batch in parquet.iter_batches(ROWS, columns=names):
        table = pa.Table.from_batches([batch]).filter(mask.slice(start, len(batch)))
        start += len(batch)
        columns = [
            table[field.name] if field.name in names else pa.nulls(table.num_rows, field.type) for field in schema
        ]
        yield pa.table(columns, schema=schema)


def _metadata(reader: pq.ParquetFile) -> dict[str, str]:
    """Return what the file says beside its schema, as `add_key_value_metadata` writes it."""
    own = reader.schema_arrow.metadata or {}
    everything = reader.metadata.metadata or {}
    return {k.decode(): v.decode() for k, v in everything.items() if k not in own and k != b"ARROW:schema"}
