"""Bodies as streams of Arrow: the rows that JSON gives, a clear refusal of what is odd, and answers as streams."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from flask.testing import FlaskClient
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge

from serving.body import arrow_body, fast_columns
from serving.body.request_rows import ARROW
from tests.serving.body.test_fast_json import ODD, SIGNATURES, same
from tests.support.all_kinds import GOOD
from tests.support.arrow_streams import arrow_stream
from tests.support.service import PREDICT, problem
from tests.support.small_models import OTHER, ROW
from updraft.model.signature import BadRow

OFFSETS = pa.timestamp("ns", "Europe/Berlin")
PLAIN = SIGNATURES["plain"]


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.table({name: [row[name] for row in rows] for name in rows[0]})


def read(raw: bytes, max_rows: int = 10, max_values: int = 1000) -> dict[str, list[Any]]:
    return dict(arrow_body.read(raw, max_rows, max_values))


def test_a_stream_is_answered_as_json_is(client: FlaskClient) -> None:
    rows = [ROW, OTHER, ROW]
    expected = client.post(PREDICT, json={"rows": rows}).get_json()
    found = client.post(PREDICT, data=arrow_stream(table(*rows)), content_type=ARROW)
    assert found.status_code == 200, found.text
    assert found.get_json()["probabilities"] == expected["probabilities"]
    answer = client.post(PREDICT, data=arrow_stream(table(*rows)), content_type=ARROW, headers={"Accept": ARROW})
    assert (answer.content_type, answer.headers["X-Model-Version"], answer.headers["X-Warnings"]) == (ARROW, "1", "0")
    columns = pa.ipc.open_stream(answer.data).read_all().to_pydict()
    assert columns["prediction"] == expected["predictions"]
    assert columns["label"] == expected["labels"]
    assert columns["probability"] == expected["probabilities"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([1, None], "int8"), [1, None]),
        (pa.array([2**64 - 1], "uint64"), [2**64 - 1]),
        (pa.array([1.5, None], "float16"), [1.5, None]),
        (pa.array([0.1], "float32"), [0.10000000149011612]),
        (pa.array([True, None]), [True, None]),
        (pa.nulls(2), [None, None]),
        (pa.array(["ü", None], "large_string"), ["ü", None]),
        (pa.array(["more than twelve bytes", None], "string_view"), ["more than twelve bytes", None]),
        (pa.array(["x", None, "y", "x"]).dictionary_encode(), ["x", None, "y", "x"]),
        (pa.array([date(2026, 1, 31)], "date32"), [date(2026, 1, 31)]),
        (pa.array([date(2026, 1, 31)], "date64"), [date(2026, 1, 31)]),
        (pa.array([1_000_000_001], pa.timestamp("ns")), [datetime(1970, 1, 1, 0, 0, 1)]),
        (pa.array([datetime(2026, 7, 1, 12, tzinfo=UTC), None], OFFSETS), [datetime(2026, 7, 1, 12), None]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)  # fmt: skip
def test_each_scalar_type_is_read(values: pa.Array, expected: list[Any]) -> None:
    assert read(arrow_stream(pa.table({"a": values})))["a"] == expected


def test_columns_of_values_agree_with_the_slow_path() -> None:
    draw, matches = random.Random(5), 0
    for _ in range(1500):
        rows = [GOOD | {"rough": draw.choice([3, 11])} for _ in range(draw.randint(1, 3))]
        for _ in range(draw.choice([0, 1, 2])):
            draw.choice(rows)[draw.choice([*GOOD])] = draw.choice([
                odd for odd in ODD if not isinstance(odd, list | dict)
            ])
        columns = {name: [row[name] for row in rows] for name in GOOD}
        for signature in SIGNATURES.values():
            found = fast_columns.read(columns, signature)
            try:
                expected = signature.check(rows)
            except BadRow:
                expected = None
            assert (found is None) == (expected is None), rows
            assert found is None or expected is None or same(found, expected), rows
            matches += found is not None
    assert matches > 500


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: b"", BadRequest, "Arrow stream"),
        (lambda: b"a,b\n1,2\n", BadRequest, "not an Arrow stream, or not all of it"),
        (lambda: arrow_stream(table(ROW))[:-60], BadRequest, "not all of it"),
        (lambda: arrow_stream(table(ROW), compression="zstd"), BadRequest, "without compression"),
        (lambda: arrow_stream(table(ROW), compression="lz4"), BadRequest, "without compression"),
        (lambda: arrow_stream(pa.table({"a": [[1]]})), BadRequest, "'a' is of Arrow's type list<item: int64>"),
        (lambda: arrow_stream(pa.table({"a": [b"x"]})), BadRequest, "'a' is of Arrow's type binary"),
        (lambda: arrow_stream(pa.table({"a": range(11)})), RequestEntityTooLarge, "More than 10 rows"),
        (lambda: _nulls(10**9), RequestEntityTooLarge, "More than 10 rows"),
        (lambda: arrow_stream(pa.table({f"c{at}": [1] for at in range(1001)})), RequestEntityTooLarge, "1000 values"),
        (lambda: arrow_stream(pa.table({"a": _long_dictionary()})), RequestEntityTooLarge, "1000 values"),
    ],
    ids=["nothing", "csv", "cut off", "zstd", "lz4", "lists", "bytes", "rows", "nulls", "columns", "dictionary"],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_name(make: Callable[[], bytes], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        read(make())
    assert isinstance(caught.value, HTTPException)
    assert words in str(caught.value.description)


def test_rows_that_do_not_fit_are_named(client: FlaskClient) -> None:
    rows = arrow_stream(table(ROW, OTHER).drop_columns("Gender").append_column("new", [[1, 2]]))
    found = client.post(PREDICT, data=rows, content_type=ARROW)
    assert {each["pointer"] for each in problem(found, 422)["errors"]} == {"/Gender", "/new"}
    rows = arrow_stream(table(*({**ROW, "Age": value} for value in ("old", "44"))))
    found = client.post(PREDICT, data=rows, content_type=ARROW)
    assert [each["pointer"] for each in problem(found, 422)["errors"]] == ["/rows/0/Age", "/rows/1/Age"]


def test_streams_spoiled_at_random_are_read_or_refused() -> None:
    rows = table(*([GOOD] * 3)).append_column("code", pa.array(["x", "y", "x"]).dictionary_encode())
    whole, draw, refused = arrow_stream(rows), random.Random(7), 0
    for _ in range(4000):
        raw = bytearray(whole)
        for _ in range(draw.choice([1, 1, 2, 4])):
            at = draw.randrange(len(raw) - 8)
            odd = draw.choice([b"\xff" * 8, b"\0" * 8, (2**40).to_bytes(8, "little"), b"\x7f", b"\x01", b"\x80"])
            raw[at : at + len(odd)] = odd
        try:
            read(bytes(raw))
        except HTTPException as error:
            refused += 1
            assert error.code in (400, 413)
    assert 1000 < refused < 4000


def _nulls(count: int) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, pa.schema({"a": pa.null()})) as writer:
        writer.write_table(pa.table({"a": pa.nulls(count)}))
    return sink.getvalue()


def _long_dictionary() -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([str(number) for number in range(1001)]))
