"""The count of values that a body is refused by, against the parsers that it protects."""

from __future__ import annotations

import csv
import io
import json
import random
import tracemalloc
from collections.abc import Callable

import pytest
from werkzeug.exceptions import RequestEntityTooLarge

from serving.body import json_body
from serving.body.value_count import CHUNK, count_csv_separators, count_json_separators

NO_LIMIT = 1 << 40
MB = 1 << 20
COUNTS = {"json": count_json_separators, "csv": count_csv_separators}
LARGE = {
    "one text of commas": b'{"message": "' + b"a," * 8_000_000 + b'"}',
    "objects after an escaped backslash": b'{"a": "\\\\", "b": [' + b"{}," * 5_500_000 + b"{}]}",
    "backslashes": b'{"a": "' + b"\\" * 15_000_000 + b'", "b": [' + b"," * 1_000_000,
    "quotes": b'"' * 16_000_000 + b"," * 200_000,
    "line ends in text": b'"\n' * 8_000_000 + b"," * 200_000,
}


def separators(value: object) -> int:
    """Count the commas that JSON writes between values."""
    if isinstance(value, list | dict):
        inner = value.values() if isinstance(value, dict) else value
        return max(len(value) - 1, 0) + sum(map(separators, inner))
    return 0


@pytest.mark.parametrize("seed", range(40))
def test_json_separators_are_counted_as_the_parser_finds_them(seed: int) -> None:
    draw = random.Random(seed)

    def text() -> str:
        return "".join(draw.choices(',"\\\n\u00e9x', k=draw.randrange(40)))

    value = [{text(): [text() for _ in range(draw.randrange(4))], text(): draw.random()} for _ in range(200)]
    padding = " " * (CHUNK - draw.randrange(2000))  # texts, escapes and quotes cross the end of the first chunk
    raw = (padding + json.dumps(value, ensure_ascii=draw.random() < 0.5)).encode()
    assert count_json_separators(raw, NO_LIMIT) == separators(json.loads(raw))


@pytest.mark.parametrize("seed", range(40))
def test_csv_separators_are_counted_as_the_parser_finds_them(seed: int) -> None:
    draw = random.Random(seed)
    rows = [
        ["".join(draw.choices(',"\n\rx', k=draw.randrange(9))) for _ in range(draw.randrange(1, 6))] for _ in range(900)
    ]
    sink = io.StringIO()
    csv.writer(sink, quoting=draw.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])).writerows([["x" * (CHUNK - 3000)], *rows])
    raw = (b"\xef\xbb\xbf" if draw.random() < 0.3 else b"") + sink.getvalue().encode()
    assert count_csv_separators(raw, NO_LIMIT) == sum(len(row) - 1 for row in rows)


@pytest.mark.parametrize(
    ("raw", "count"),
    [
        (b'{"a": "x\n{"b": [{},{},{}]}', 2),
        (b'"\n[{},{},{}]\n"[,"\n{},{}', 3),
        (b'"a\\"b,c", 1, 2', 2),
        (b'"a\\\\", 1, 2', 2),
        (b"", 0),
    ],
)
def test_a_string_ends_at_its_line_so_that_nothing_hides_behind_a_quote(raw: bytes, count: int) -> None:
    assert count_json_separators(raw, NO_LIMIT) == count


def test_a_quote_within_a_field_hides_nothing_in_csv() -> None:
    header = b'x"' + b"," * 300_000
    assert count_csv_separators(header, NO_LIMIT) == 300_000
    assert len(next(csv.reader(io.StringIO(header.decode()), strict=True))) == 300_001


@pytest.mark.parametrize("count", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize("raw", LARGE.values(), ids=LARGE)
def test_counting_takes_few_megabytes_whatever_the_body_holds(raw: bytes, count: Callable[[bytes, int], int]) -> None:
    tracemalloc.start()
    try:
        count(raw, NO_LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * MB


def test_a_text_of_many_commas_is_one_value_and_many_objects_are_many() -> None:
    for raw in (LARGE["one text of commas"], b'{"note": "a\\nb' + b"," * 120_000 + b'"}'):
        json_body.check_value_count(raw, 100_000)
    with pytest.raises(RequestEntityTooLarge, match="more than 100000 values"):
        json_body.check_value_count(LARGE["objects after an escaped backslash"], 100_000)


def test_the_count_ends_soon_after_the_limit() -> None:
    assert 10 < count_json_separators(b"," * (100 * CHUNK), 10) <= CHUNK
