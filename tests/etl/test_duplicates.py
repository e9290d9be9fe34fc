"""Equal rows are counted by their hashes."""

from __future__ import annotations

import random

import pytest

from updraft.etl import duplicates
from updraft.etl.duplicates import RowHashes


@pytest.mark.parametrize("part", [3, 2**18])
def test_the_first_of_equal_rows_is_told_from_the_others(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "PART", part)
    lines = [b"%d" % number for number in range(50)] * 4
    random.Random(0).shuffle(lines)
    hashes = RowHashes(most=300)
    for start in (0, 60, 61):
        hashes.add(lines[start : {0: 60, 60: 61, 61: 200}[start]])
    facts, first = hashes.count_duplicates()
    assert facts == {"distinct": 50, "duplicates": 150, "repeated": 4}
    assert first.tolist() == [line not in lines[:index] for index, line in enumerate(lines)]
    assert hashes.occurrences().tolist() == [lines[:index].count(line) for index, line in enumerate(lines)]


def test_of_no_rows_none_is_a_duplicate() -> None:
    facts, first = RowHashes(most=5).count_duplicates()
    assert facts == {"distinct": 0, "duplicates": 0, "repeated": 1} and first.tolist() == []
    assert RowHashes(most=5).occurrences().tolist() == []
