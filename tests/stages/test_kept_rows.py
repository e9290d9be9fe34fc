from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from updraft.stages.kept_rows import Merged, merge


def parquet(path: Path, rows: list[dict[str, Any]], schema: pa.Schema, **metadata: str) -> Path:
    with pq.ParquetWriter(path, schema) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=schema))
        writer.add_key_value_metadata(metadata)
    return path


SCHEMA = pa.schema([("id", pa.int64()), ("x", pa.string())], {"columns": "[]"})


def test_changed_rows_take_the_place_of_their_former_selves(tmp_path: Path) -> None:
    kept = parquet(tmp_path / "kept", [{"id": 1, "x": "a"}, {"id": 2, "x": "b"}, {"id": None, "x": "c"}], SCHEMA)
    changed = [{"id": 2, "x": "B"}, {"id": 3, "x": "d"}, {"id": 3, "x": "D"}, {"id": None, "x": "e"}]
    new = parquet(tmp_path / "new", changed, SCHEMA, uneven="no")
    assert merge(kept, new, "id", tmp_path / "out", is_log=True) == Merged(rows=5, replaced=2)
    table = pq.read_table(tmp_path / "out")
    assert table["x"].to_pylist() == ["a", "c", "B", "D", "e"]
    assert pq.read_metadata(tmp_path / "out").metadata[b"uneven"] == b"no"
    assert table.schema.metadata[b"columns"] == b"[]"


def test_without_an_id_rows_are_added(tmp_path: Path) -> None:
    kept = parquet(tmp_path / "kept", [{"id": 1, "x": "a"}], SCHEMA)
    assert merge(kept, kept, None, tmp_path / "out", is_log=True) == Merged(rows=2, replaced=0)


def test_nothing_new_leaves_the_same_bytes(tmp_path: Path) -> None:
    rows = [{"id": number, "x": str(number)} for number in range(60_000)]
    first = parquet(tmp_path / "first", rows, SCHEMA)
    merge(None, first, "id", tmp_path / "kept", is_log=True)
    empty = parquet(tmp_path / "empty", [], SCHEMA)
    merge(tmp_path / "kept", empty, "id", tmp_path / "again", is_log=True)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "kept").read_bytes()


def test_a_column_that_came_later_is_null_in_earlier_rows(tmp_path: Path) -> None:
    kept = parquet(tmp_path / "kept", [{"id": 1}], pa.schema([("id", pa.int64())]))
    new = parquet(tmp_path / "new", [{"id": 2, "x": "b"}], SCHEMA)
    merge(kept, new, "id", tmp_path / "out", is_log=True)
    assert pq.read_table(tmp_path / "out").to_pylist() == [{"id": 1, "x": None}, {"id": 2, "x": "b"}]


def test_ids_of_text_and_ids_in_many_batches(tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.string()), ("x", pa.int64())])
    kept = parquet(tmp_path / "kept", [{"id": f"ü{n}", "x": 0} for n in range(80_000)], schema)
    new = parquet(tmp_path / "new", [{"id": f"ü{n}", "x": 1} for n in range(70_000, 130_000)], schema)
    assert merge(kept, new, "id", tmp_path / "out", is_log=True) == Merged(rows=130_000, replaced=10_000)
    table = pq.read_table(tmp_path / "out")
    assert sum(table["x"].to_pylist()) == 60_000 and len(set(table["id"].to_pylist())) == 130_000
