"""The fast way to rows against the slow one: what it gives is the same, and it gives up where that one refuses."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.exceptions import HTTPException

from serving.body import json_body, request_rows
from serving.body.fast_json import Decoder
from tests.support.all_kinds import GOOD, SIGNATURE
from updraft.model.reading import Reading
from updraft.model.signature import BadRow, Rows, Signature

READ = {
    "nulls": ["NA", "a"],
    "casts": {"kind": ["strip"], "free": ["strip", "lower"], "rough": "number_from_text", "small": "decimal_comma"},
    "dates": {"on": "%d.%m.%Y"},
    "rename": {"a.small": "small"},
}
SIGNATURES = {"plain": SIGNATURE, "by rules": SIGNATURE.model_copy(update={"reading": Reading.model_validate(READ)})}
DECODERS = {name: Decoder(signature) for name, signature in SIGNATURES.items()}
DECODER = DECODERS["plain"]
MAX_ROWS = 20
ODD = [
    None, True, False, 0, 1, -1, 17, 18, 85, 86, 44.0, 44.5, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63, -(2**63),
    10**30, 1e15, 1e16, 1e300, -0.0, 0.1, 0.5, 0.4999999999999999, 1e6, 1000000.1, 28, 2.5, 152, "", " ", "Yes", "yes",
    "No\0", "Ada", "ada", "A", "Adaline", "Ädä", "🚗🚗", "a", "z", "2024-02-29", "2019-12-31",
    "2026-01-01T00:00:00+00:00", "2026-01-01T01:00:00+01:00",
    "31.12.2024", "nan", "NaN", "NA", " NA", "e\u0301",
    "\ufffd", " Yes ", "12,5", "5 km", 'quo"te', "back\\slash", "new\nline", "é", [], {}, [1], {"a": 1},
]  # fmt: skip
RAW = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1E400", "01", "1.", ".5", "+1", "0x10", "9" * 30, "9" * 5000,
       "1e5", "44e0", "4.4e1", "123456789012345678901234567890.0", "0.1000000000000000055511151231257827", "-0", "tru",
       '"\\ud800"', '"\\u0041da"', "'x'", "nul", "[[[[]]]]", "1 2", '"a" "b"']  # fmt: skip


def slow(raw: bytes, signature: Signature = SIGNATURE) -> Rows | None:
    try:
        return request_rows._json(raw, signature, MAX_ROWS, None)
    except (BadRow, HTTPException):
        return None


def same(fast: Rows, slow_rows: Rows) -> bool:
    """Compare rows to the bit and the type, the pointer and words of each warning too."""

    def exact(rows: Rows) -> list[list[tuple[type, str]]]:
        return [[(type(value), repr(value)) for value in values] for values in rows.columns]

    return exact(fast) == exact(slow_rows) and fast.warnings == slow_rows.warnings and fast.ids == slow_rows.ids


def assert_agrees(raw: bytes) -> bool:
    """Compare both ways, with reading rules and without; return whether the fast way gave rows without."""
    given = {}
    for name, signature in SIGNATURES.items():
        found = given[name] = DECODERS[name].decode(raw, MAX_ROWS)
        if found is not None:
            slow_rows = slow(raw, signature)
            assert slow_rows is not None, raw[:2000]
            assert same(found, slow_rows), raw[:2000]
    return given["plain"] is not None


def dress(rows: list[dict[str, Any]], draw: random.Random) -> bytes:
    """Write rows in one of the three ways, with separators of some kind."""
    separators = draw.choice([None, (",", ":"), (" , ", " : "), (",\n", ":\t")])
    escaped = draw.random() < 0.5
    way = draw.randrange(3)
    if way == 0:
        value: Any = rows[0]
    elif way == 1:
        value = {"rows": rows}
    else:
        value = {"columns": {name: [row.get(name) for row in rows] for name in rows[0]}}
    return json.dumps(value, separators=separators, ensure_ascii=escaped).encode()


@pytest.mark.parametrize("rows", [1, 3])
def test_valid_rows_are_decoded(rows: int) -> None:
    for value in (GOOD, {"rows": [GOOD] * rows}, {"columns": {name: [cell] * rows for name, cell in GOOD.items()}}):
        assert assert_agrees(json.dumps(value, ensure_ascii=False).encode())


def test_its_warnings_equal_those_of_the_slow_path() -> None:
    rows = [GOOD | {"new kind": "z"}, GOOD, GOOD | {"rough": 11, "new kind": "y"}]
    found = DECODER.decode(json.dumps({"rows": rows}, ensure_ascii=False).encode(), MAX_ROWS)
    assert found is not None
    assert [each["pointer"] for each in found.warnings] == ["/rows/0/new kind", "/rows/2/new kind", "/rows/2/rough"]
    assert assert_agrees(json.dumps({"rows": rows}, ensure_ascii=False).encode())


@pytest.mark.parametrize("seed", range(4))
def test_both_ways_agree_on_odd_values(seed: int) -> None:
    """Values of every kind in every column, in all three dresses; also with an id, a name too many, one too few."""
    draw = random.Random(seed)
    matches = 0
    for _ in range(2500):
        rows = [dict(GOOD) for _ in range(draw.randint(1, 3))]
        for _ in range(draw.randint(0, 2)):
            draw.choice(rows)[draw.choice([*GOOD, "id"])] = draw.choice(ODD)
        if draw.random() < 0.05:
            draw.choice(rows).pop(draw.choice(list(GOOD)), None)
        if draw.random() < 0.05:
            draw.choice(rows)[draw.choice(["y", "colour", "rows", "columns"])] = draw.choice(ODD)
        matches += assert_agrees(dress(rows, draw))
    assert matches > 300


@pytest.mark.parametrize("seed", range(4))
def test_both_ways_agree_on_spoiled_bytes(seed: int) -> None:
    """What json.dumps would not write: raw literals, bytes changed, cut, doubled, a key twice, a byte order mark."""
    draw = random.Random(100 + seed)
    for _ in range(2500):
        raw = bytearray(dress([dict(GOOD) for _ in range(draw.randint(1, 2))], draw))
        match draw.randrange(6):
            case 0:
                raw = bytearray(raw.replace(b"44", draw.choice(RAW).encode(), 1))
            case 1:
                raw[draw.randrange(len(raw))] = draw.randrange(256)
            case 2:
                del raw[draw.randrange(len(raw)) :]
            case 3:
                at = draw.randrange(len(raw))
                raw[at:at] = raw[at : at + draw.randrange(40)]
            case 4:
                pair = json.dumps({draw.choice(list(GOOD)): draw.choice(ODD)}, separators=(",", ":"))[1:-1]
                raw[1:1] = f"{pair},".encode()
            case 5:
                raw[0:0] = draw.choice([b"\xef\xbb\xbf", b" ", b"\n", b"\0", b"\xff\xfe", b"//"])
        assert_agrees(bytes(raw))


@settings(max_examples=300, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**64), 2**64), st.text(max_size=12))
def test_both_ways_agree_on_any_number_and_text(number: float, whole: int, word: str) -> None:
    row = GOOD | {"any real": number, "any whole": whole, "free": word}
    assert_agrees(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    assert_agrees(json.dumps(row).encode())


def test_a_duplicate_key_is_never_accepted() -> None:
    """msgspec takes the last one without a word, and spaces before colons hide keys from a count of '":'."""
    raw = json.dumps(GOOD, separators=(",", ":"), ensure_ascii=False).encode()
    twice = raw[:-1] + b',"flag":false}'
    assert msgspec_takes(twice)
    assert DECODER.decode(twice, MAX_ROWS) is None
    assert DECODER.decode(twice.replace(b'"small":', b'"small" :'), MAX_ROWS) is None
    assert DECODER.decode(b'{"rows":[],"rows":[' + raw + b"]}", MAX_ROWS) is None
    with pytest.raises(HTTPException, match="twice"):
        json_body.parse(twice)


def msgspec_takes(raw: bytes) -> bool:
    return DECODER._row.decode(raw).c10 is False


def test_rows_beyond_the_limit_and_none_at_all_are_left_to_the_slow_way() -> None:
    for rows in (0, MAX_ROWS + 1):
        assert DECODER.decode(json.dumps({"rows": [GOOD] * rows}).encode(), MAX_ROWS) is None
        columns = {name: [cell] * rows for name, cell in GOOD.items()}
        assert DECODER.decode(json.dumps({"columns": columns}).encode(), MAX_ROWS) is None


def test_nothing_that_is_not_finite_comes_through() -> None:
    for literal in ("1e999", "-1e999", "NaN", "Infinity"):
        raw = json.dumps(GOOD, ensure_ascii=False).replace("12.25", literal).encode()
        found = DECODER.decode(raw, MAX_ROWS)
        assert found is None or all(math.isfinite(value) for value in found.columns[4])  # type: ignore[arg-type]
