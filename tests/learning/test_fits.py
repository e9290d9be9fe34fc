import pytest

from updraft.learning.fits import Threads


@pytest.mark.parametrize(
    ("fits", "threads", "expected"),
    [
        (1, 1, [1]),
        (1, 8, [8]),
        (3, 1, [1, 1, 1]),
        (3, 2, [1, 1, 2]),
        (3, 8, [2, 3, 3]),
        (4, 2, [1, 1, 1, 1]),
        (10, 4, [1, 1, 1, 1, 1, 1, 1, 1, 2, 2]),
    ],
)
def test_no_core_is_idle_while_the_last_forests_grow(fits: int, threads: int, expected: list[int]) -> None:
    assert Threads(threads).tree_threads(fits) == expected
