"""Two ways to the same values: a column at a time by Arrow, and cell by cell by `read_value`."""

from __future__ import annotations

import random
import unicodedata
from typing import Any

import pyarrow as pa
import pytest

from updraft.model.columns import TYPES, Column, Type
from updraft.model.reading import Reading, read_value
from updraft.sources.rows import RowConverter

ODD = """0x1F 0X1f 1_000 +5 5. 5.0 .5 -.5 1e5 1E5 1e 0x 1f 1.0f 00012 -0 -0.0 1e400 1e-400 inf -inf Infinity nan NaN NAN
    None 9007199254740993 -9007199254740993 9223372036854775807 9223372036854775808 12345678901234567890123 True TRUE
    tRuE t yes false 2026-01-01 2026-01-01T10:00:00Z 2026-01-01T10:00:00+02:00 20260101 2026-1-1 2026-01-01T10
    2026-W01-1 NAN -nan nan(1)
    2026-02-30 2026-01-01T10:00:00.1234567 0000-01-01 9999-12-31 -0001-01-01 2026-01-01T24:00:00 2026-01-01t10:00:00
    31.01.2026 NA n/a 12,5 1.234,5 1,234.5 £8,000 5% 23.4kmpl \u00c5NGSTR\u00d6M e\u0301 \u212b \ufb01 \u0661
    \u65e5\u672c""".split()  # noqa: SIM905
ODD += ["1 ", "\t1", " 1", "1\n", "2026-01-01 10:00", " Manual ", "a  b", "\u00a0", " "]
LETTERS = "0159+-.eExX_ ,infNaTrueFLS\u0301\u00e9"
RANDOM = random.Random(0)
TEXTS = [*ODD, *("".join(RANDOM.choices(LETTERS, k=length)) for length in (1, 2, 3, 4) for _ in range(400))]
RULES: list[dict[str, Any]] = [
    {},
    {"nulls": ["NA", "n/a", "-0"]},
    {"casts": {"c": ["strip", "lower"]}},
    {"casts": {"c": "number_from_text"}},
    {"casts": {"c": "decimal_comma"}},
    {"casts": {"c": "boolean_from_text"}},
    {"dates": {"c": "%d.%m.%Y"}},
]


@pytest.mark.parametrize("textual", [True, False], ids=["text", "json"])
@pytest.mark.parametrize("rules", RULES, ids=str)
@pytest.mark.parametrize("type_", TYPES)
def test_the_fast_way_returns_nothing_else_than_the_rules_for_a_cell(
    type_: Type, rules: dict[str, Any], textual: bool
) -> None:
    column, reading = Column(name="c", type=type_), Reading.model_validate(rules)
    converter = RowConverter([column], reading, textual)
    fast = 0
    for text in TEXTS:
        if textual and text in reading.nulls:
            continue  # the reader of delimited text has made it null
        values = converter.convert_column(column, pa.chunked_array([[text]]))
        if values is not None:
            fast += 1
            assert values[0].as_py() == read_value(column, text, reading, textual=textual), text
    assert fast > 0 or not textual


def test_a_text_is_the_same_in_each_spelling() -> None:
    column = Column(name="c", type="str")
    composed, apart = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    assert len(apart) == 2
    for textual in (True, False):
        texts = pa.chunked_array([[composed, apart, "nan", "e"]])
        values = RowConverter([column], Reading(), textual).convert_column(column, texts)
        assert values is not None
        assert values.to_pylist() == [composed, composed, None, "e"]
        assert read_value(column, apart, Reading(), textual=textual) == composed
