from __future__ import annotations

from typing import Any

import pytest

from tests.support.small_cases import integer, small_case, text
from updraft.sources.json_records import parse_record
from updraft.sources.json_rows import JsonRows
from updraft.sources.source import BadSource, Reject

RECORDS = [{"a": number, "inside": {"t": "x"}, "more": 1} for number in range(9)]


def rows_of(path: str, *, is_part: bool = False, size: int = 3) -> JsonRows:
    case = small_case([integer("a"), text("t")], read={"rename": {path: "t"}})
    places: list[tuple[str, Any]] = [(f"row {number}", dict(record)) for number, record in enumerate(RECORDS)]
    parts = [places[start : start + size] for start in range(0, len(places), size)]
    return JsonRows("the API", case, parts, is_part=is_part)


def test_a_name_that_comes_twice_is_of_a_row_that_does_not_fit() -> None:
    reject = parse_record("row 1", b'{"a": 1, "b": {"c": 1, "c": 2}}')
    assert isinstance(reject, Reject) and reject.reason == "not JSON: 'c' comes twice in an object"


def test_a_path_leads_into_objects_and_what_it_starts_from_is_no_other_column() -> None:
    rows = rows_of("inside.t")
    assert rows.others == ["more"]
    assert {value for batch in rows.batches() for value in batch.table["t"].to_pylist()} == {"x"}


def test_a_path_that_leads_nowhere_stops_a_read_of_many_parts() -> None:
    """Not a column of nulls, though one that may be null may come late."""
    with pytest.raises(BadSource, match=r"^the API: no record has 't'; its other fields: 'inside', 'more'$"):
        list(rows_of("insde.t").batches())
    assert rows_of("insde.t", size=9).absent == ["t"]
    assert len(list(rows_of("insde.t", is_part=True).batches())) == 3
