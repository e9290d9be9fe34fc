"""Rows that equal another in every column: how many there are, and whether all rows are there several times."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

ROW, COUNT = "row number", "how often"


def count_duplicates(table: pa.Table) -> tuple[dict[str, Any], list[int]]:
    """Return what `clean.json` says of duplicates, and the index of the first of each set of equal rows, in order."""
    if not table.num_rows:
        return {"distinct": 0, "duplicates": 0, "repeated": 1}, []
    plain = [f"{index}" for index in range(table.num_columns)]  # no column is called as ours are
    numbered = table.rename_columns(plain).append_column(ROW, pa.array(range(table.num_rows)))
    groups = numbered.group_by(plain, use_threads=False).aggregate([(ROW, "min"), (ROW, "count")])
    counts = groups[f"{ROW}_count"].to_pylist()
    first = pc.sort_indices(groups[f"{ROW}_min"])
    facts = {
        "distinct": len(counts),
        "duplicates": table.num_rows - len(counts),
        "repeated": math.gcd(*counts),
    }
    return facts, groups[f"{ROW}_min"].take(first).to_pylist()


def describe_duplicates(rows: int, facts: dict[str, Any], dropped: bool) -> str:
    """Say in a sentence how rows repeat, and what becomes of them; empty where none does."""
    if not facts["duplicates"]:
        return ""
    done = "one of each is kept" if dropped else "all are kept, as `clean: {duplicates: keep}` says"
    equal = f"{facts['duplicates']:,} of {rows:,} rows equal an earlier one; {done}"
    if facts["repeated"] == 1:
        return equal
    return f"each of {rows // facts['repeated']:,} rows is there {facts['repeated']} times; {equal}"
