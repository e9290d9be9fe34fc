"""What LightGBM makes of numbers that are almost 0."""

from __future__ import annotations

import numpy as np
import pytest

from updraft.model.compiled.booster import SORTED_BY, SORTED_ROWS, Booster
from updraft.model.compiled.nodes import NODE, WORDS, Nodes, lightgbm_text

SMALLEST = np.finfo(np.float32).smallest_subnormal
EDGE = float(np.float32(1e-35))  # up to which LightGBM reads a number as 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_smallest_numbers_are_above_0(dtype: str) -> None:
    node = np.array([(0, -1, -2, -1, 0.0, 0)], dtype=NODE)
    text = lightgbm_text(Nodes(node, np.empty((0, WORDS), "uint32"), np.array([[0.0], [1.0]])), [2], [0], 0, 1)
    booster = Booster(text, 1, dtype)
    positive = [
        float(SMALLEST),
        1e-36,
        1e-35,
        EDGE,
        np.nextafter(EDGE, 1),
        np.nextafter(EDGE, 0),
        1.5e-35,
        2e-35,
        1e-34,
    ]
    numbers = [0.0, -0.0, *positive, *(-number for number in positive)]
    expected = [float(number > 0) for number in numbers]
    assert booster.many(booster.prepare(np.array(numbers)[:, None])).tolist() == expected
    assert [booster.one(booster.buffer([number])) for number in numbers] == expected


@pytest.mark.parametrize("rows", [1, SORTED_ROWS - 1, SORTED_ROWS, 3000])
@pytest.mark.parametrize("width", [1, 3, SORTED_BY + 5])
def test_each_of_many_rows_gets_its_own_score(rows: int, width: int) -> None:
    """Rows are scored in another order: columns of one value, of few, of many and with gaps must not mix them up."""
    draw = np.random.default_rng(rows + width)
    last = width - 1
    nodes = np.array([(0, 1, -1, -1, 0.5, 0), (last, -2, -3, -1, 0.1, 1)], dtype=NODE)
    values = np.array([[1.0], [2.0], [4.0]])
    booster = Booster(
        lightgbm_text(Nodes(nodes, np.empty((0, WORDS), "uint32"), values), [3], [0], 0, width), width, "float64"
    )
    matrix = np.round(draw.random((rows, width)), 2)
    matrix[:, width // 2] = draw.choice([0.0, 1.0, np.nan], rows)
    if width > 3:
        matrix[:, 4] = 7.0
    matrix = np.asfortranarray(matrix)
    singly = [booster.one(booster.buffer(row)) for row in matrix.tolist()]
    assert booster.many(booster.prepare(matrix)).tolist() == singly
    assert rows < 3000 or len(set(singly)) == 3 or width == 1


def test_rows_that_are_all_alike_are_scored() -> None:
    node = np.array([(0, -1, -2, -1, 0.0, 0)], dtype=NODE)
    text = lightgbm_text(Nodes(node, np.empty((0, WORDS), "uint32"), np.array([[0.0], [1.0]])), [2], [0], 0, 2)
    booster = Booster(text, 2, "float32")
    assert booster.many(booster.prepare(np.full((1000, 2), 3.0))).tolist() == [1.0] * 1000
