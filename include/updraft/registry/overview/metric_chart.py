"""A metric over time as an SVG: where each point lies, in percent of the width and in pixels of the height.

Lengths in percent let the chart be as wide as the page while its texts and lines keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from updraft.model.number_format import format_metric
from updraft.registry.monitor_state import MonitorState
from updraft.registry.overview.known_versions import VersionFacts

LEFT, RIGHT, MARGIN = 12.0, 95.0, 14.0  # percent, percent, pixels
TICKS = 3


@dataclass(frozen=True)
class Dot:
    """A point: `x` in percent, `y` in pixels; `kind` is a version's state, or "measured" by the monitor."""

    x: float
    y: float
    kind: str
    label: str


@dataclass(frozen=True)
class Chart:
    """What the template draws; `lines` join the dots of versions, `measured` are the monitor's."""

    height: int
    dots: Sequence[Dot]
    measured: Sequence[Dot]
    ticks: Sequence[tuple[float, str]]
    first: str
    last: str
    text: str

    @property
    def lines(self) -> Iterator[tuple[Dot, Dot]]:
        """Pairs of dots that follow each other."""
        yield from zip(self.dots, self.dots[1:], strict=False)


@dataclass(frozen=True)
class _Point:
    time: datetime
    value: float
    kind: str
    label: str


def draw(
    metric: str | None, versions: Iterable[tuple[VersionFacts, str]], monitor: MonitorState | None, height: int
) -> Chart | None:
    """Draw the metric of versions, each with its state, by when they were made, and what was measured of it since."""
    points = sorted(_versions(metric, versions), key=lambda point: point.time)
    if not points:
        return None
    since = sorted(_measured(metric, monitor), key=lambda point: point.time)
    both = [*points, *since]
    start, end = min(point.time for point in both), max(point.time for point in both)
    low, high = _range([point.value for point in both])
    seconds = (end - start).total_seconds()

    def place(point: _Point) -> Dot:
        share = (point.time - start).total_seconds() / seconds if seconds else 0.5
        y = height - MARGIN - (point.value - low) / (high - low) * (height - 2 * MARGIN)
        return Dot(round(LEFT + share * (RIGHT - LEFT), 2), round(y, 1), point.kind, point.label)

    step = _step(high - low)
    values = [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
    digits = max(0, -math.floor(math.log10(step)))
    ticks = [(place(_Point(start, value, "", "")).y, f"{value:,.{digits}f}") for value in values]
    text = f"{metric} by version: {', '.join(point.label for point in points)}"
    return Chart(
        height, [*map(place, points)], [*map(place, since)], ticks, f"{start:%Y-%m-%d}", f"{end:%Y-%m-%d}", text
    )


def _versions(metric: str | None, versions: Iterable[tuple[VersionFacts, str]]) -> Iterator[_Point]:
    for version, state in versions:
        time, value = _time(version.made), version.metrics.get(metric or "")
        if time and value is not None:
            yield _Point(time, value, state, f"version {version.number} ({state}) {format_metric(value)}")


def _measured(metric: str | None, monitor: MonitorState | None) -> Iterator[_Point]:
    for point in monitor.history if monitor else ():
        time, value = _time(str(point.get("at"))), point.get("value")
        if time and point.get("metric") == metric and isinstance(value, float) and math.isfinite(value):
            label = f"{format_metric(value)} measured of version {point.get('version')} on {time:%Y-%m-%d %H:%M}"
            yield _Point(time, value, "measured", label)


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the axis: a little more than the values take, and never nothing."""
    low, high = min(values), max(values)
    room = 0.15 * (high - low) or 0.05 * abs(high) or 0.05
    return low - room, high + room


def _step(span: float) -> float:
    """Return a round number, of which about TICKS fit into a span."""
    power = 10.0 ** math.floor(math.log10(span / TICKS))
    return next((power * each for each in (1, 2, 5) if power * each * (TICKS + 1) > span), power * 10)
