"""Unicode's NFC of texts that nobody writes, as Python has it."""

from __future__ import annotations

import random
import sys
import unicodedata

import pytest

from updraft.model.composed import LONG, MARKS, composed

ODD = ("\u0344", "\u0f73", "\u0f75", "\u0f81")  # marks that consist of marks; three of them do not count as one
LETTERS = ("a", "e", "ü", "\u1e69", "가", "\u1100", "\u1161", "\u0958", "\u2adc", "\ufb1d")


def test_it_is_what_python_composes() -> None:
    draw = random.Random(1)
    marks = [char for char in map(chr, range(sys.maxunicode + 1)) if unicodedata.combining(char)]
    for _ in range(1000):
        few = draw.sample(marks, 3)
        text = "".join(
            draw.choice([*few, *ODD, draw.choice(marks)] if draw.random() < 0.98 else LETTERS)
            for _ in range(draw.randint(1, 8 * LONG))
        )
        assert composed(text) == unicodedata.normalize("NFC", text)


def test_no_mark_stands_outside_of_their_range() -> None:
    outside = (chr(code) for code in range(sys.maxunicode + 1) if code not in MARKS)
    assert not [char for char in outside if unicodedata.combining(unicodedata.normalize("NFD", char)[0])]


@pytest.mark.usefixtures("takes_long")
@pytest.mark.parametrize("marks", ["\u0300\u0316", *(mark + "\u0316" for mark in ODD), "\u0f75"])
def test_a_million_marks_come_to_an_end(marks: str) -> None:
    """Sorted by insertion, they would take hours."""
    text = composed("a" + marks * (1_000_000 // len(marks)))
    assert unicodedata.is_normalized("NFC", text)
