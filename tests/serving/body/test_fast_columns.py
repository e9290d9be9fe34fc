"""The fast way to rows of text against the slow one: the same rows, or none where that one refuses."""

from __future__ import annotations

import random
from typing import Any

import pytest

from serving.body import fast_columns
from tests.serving.body.test_fast_json import ODD, SIGNATURES, same
from tests.support.all_kinds import GOOD
from updraft.model.signature import BadRow, Rows, Signature, row_pointer

TEXTS = [
    *(str(value) for value in ODD),
    "-0",
    "0",
    "0.0",
    "-0.0",
    "+44",
    "044",
    " 44 ",
    "1e1",
    "inf",
    "true",
    "TRUE",
    "a" * 300,
]


def read(header: list[str], lines: list[list[str]], signature: Signature) -> Rows | None:
    return fast_columns.read(fast_columns.of_lines(header, lines), signature, textual=True)


def slow(header: list[str], lines: list[list[str]], signature: Signature) -> Rows | None:
    try:
        return signature.check((dict(zip(header, cells, strict=True)) for cells in lines), row_pointer, textual=True)
    except BadRow:
        return None


def assert_agrees(header: list[str], lines: list[list[str]]) -> int:
    """Compare both ways, with reading rules and without; return how often the fast way gave rows."""
    matches = 0
    for signature in SIGNATURES.values():
        found, expected = read(header, lines, signature), slow(header, lines, signature)
        assert (found is None) == (expected is None), (header, lines)
        if found is not None and expected is not None:
            assert same(found, expected), (header, lines)
            matches += 1
    return matches


def cells(row: dict[str, Any]) -> list[str]:
    return [str(value) for value in row.values()]


@pytest.mark.parametrize("seed", range(4))
def test_both_ways_agree_on_odd_texts(seed: int) -> None:
    draw = random.Random(seed)
    matches = 0
    for _ in range(1500):
        row = GOOD | {"rough": draw.choice([3, 3, 11]), "new kind": draw.choice("aabz")}
        header = [*row, *draw.sample(["id", "y", ""], draw.choice([0, 0, 1, 2]))]
        lines = [[*cells(row), *["7"] * (len(header) - len(row))] for _ in range(draw.randint(1, 4))]
        for _ in range(draw.choice([0, 1, 1, 2])):
            draw.choice(lines)[draw.randrange(len(header))] = draw.choice(TEXTS)
        if draw.random() < 0.3:
            order = draw.sample(range(len(header)), len(header))
            header, lines = [header[at] for at in order], [[line[at] for at in order] for line in lines]
        matches += assert_agrees(header, lines)
    assert 500 < matches < 2900


def test_the_first_hundred_warnings_are_those_of_the_first_rows() -> None:
    rows = [GOOD | {"rough": 20 + number % 3, "new kind": "xyz"[number % 3]} for number in range(300)]
    lines = [cells(row) for row in rows]
    assert assert_agrees([*GOOD], lines)
    found = read([*GOOD], lines, SIGNATURES["plain"])
    assert found is not None
    assert [each["pointer"] for each in found.warnings[-2:]] == ["/rows/49/new kind", "/rows/49/rough"]
