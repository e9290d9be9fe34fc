"""What LightGBM makes of numbers that are almost 0."""

from __future__ import annotations

import numpy as np
import pytest

from updraft.model.compiled.booster import Booster
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
