"""The report: one self-contained HTML page, the columns that changed most as pictures, the metric over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from updraft.learning.figures import render
from updraft.model.number_format import format_metric
from updraft.monitoring.drift import PREDICTIONS, VERDICTS, ColumnDrift, Drift
from updraft.monitoring.performance import Performance
from updraft.monitoring.reference import Part
from updraft.registry.monitor_state import FOLLOWS, SIGNALS, DriftState

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_PLOTS, MAX_BARS, MAX_NAME = 6, 14, 22
THEN, NOW = "#9aa7b5", "#c4501b"


class Point(Part):
    """What a former report said: when, of which version, and the metric with its interval where there were labels."""

    at: str
    version: int
    rows: int
    labels: int
    refused: int = 0
    metric: str
    value: float | None = None
    interval: tuple[float, float] | None = None
    promised: float | None = None
    signals: list[str] = Field(default_factory=list)
    worst: dict[str, float] = Field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What a page shows: `model` names the version, `rows` says which rows were compared with its training data.

    `titles` are what people call columns. `found` are pairs of a signal that was found and what follows; `history` are
    former reports, the oldest first, and this one.
    """

    title: str
    titles: Mapping[str, str]
    model: str
    rows: str
    drift: Drift
    performance: Performance
    found: Sequence[tuple[str, str]]
    history: Sequence[Point]

    def caption(self, name: str) -> str:
        """Name a column as people call it, and in brackets as the tables do."""
        if name == PREDICTIONS:
            return "Predictions"
        return f"{self.titles[name]} ({name})" if self.titles.get(name, name) != name else name


def render_page(report: Report) -> str:
    """Render the page."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["metric"] = format_metric
    template = environment.from_string(
        files("updraft.monitoring").joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    columns = report.drift.columns[:MAX_PLOTS]
    draw = partial(_draw, before=report.drift.before)
    plots = [(report.caption(column.name), render(partial(draw, column=column))) for column in columns if column.bins]
    measured = [point for point in report.history if point.value is not None]
    over_time = [
        (title, render(partial(draw, history=points)))
        for title, draw, points in (
            (f"{report.performance.metric} over time", _draw_metric, measured),
            ("Rows", _draw_counts, report.history),
        )
        if points and len(report.history) > 1
    ]
    found = [(SIGNALS.get(signal, signal), FOLLOWS.get(action, action)) for signal, action in report.found]
    moved = [
        (shift, [column.name for column in report.drift.drifted(shift) if column.name != PREDICTIONS])
        for shift in report.drift.shifts
    ]
    return template.render(
        report=report, drift=report.drift, found=found, moved=moved, plots=plots, over_time=over_time
    )


def state_of(drift: Drift) -> DriftState:
    """Say whether anything has shifted or broken; unknown where no column had enough rows to be compared."""
    if not drift.rows and not drift.refused:
        return "unknown"
    if drift.schema_break:  # is known of few rows, too
        return "found"
    watched = [column.verdict for column in drift.columns if column.verdict != "not watched"]
    if watched and all(verdict == "not enough rows" for verdict in watched):
        return "unknown"
    return "found" if drift.shifts else "none"


def summarize(drift: Drift) -> str:
    """Say in one sentence what has shifted, and what could not be compared."""
    names = {verdict: [each.name for each in drift.columns if each.verdict == verdict] for verdict in VERDICTS}
    moved = [column.name for shift in drift.shifts for column in drift.drifted(shift)]
    shifted = f"{' and '.join(drift.shifts)} shift: {', '.join(moved)}"
    few = names["not enough rows"]
    state = state_of(drift)
    if state == "unknown":
        return "not enough rows to say anything" if drift.rows or drift.refused else "no rows to compare"
    broken = f"schema break: {'; '.join(drift.schema_break)}"
    found = "; ".join([broken] * bool(drift.schema_break) + [shifted] * bool(drift.shifts))
    return ("no drift" if state == "none" else found) + (f"; not enough rows for {', '.join(few)}" if few else "")


def _draw(axes: Axes, column: ColumnDrift, before: str) -> None:
    """Draw the shares of the bins then and now: those with the largest difference, in their order."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    largest = sorted(column.bins, key=lambda each: -abs(each.now - each.before))[:MAX_BARS]
    bins = [each for each in column.bins if each in largest][::-1]
    places = range(len(bins))
    axes.barh([place + 0.2 for place in places], [each.before for each in bins], 0.4, color=THEN, label=before)
    axes.barh([place - 0.2 for place in places], [each.now for each in bins], 0.4, color=NOW, label="now")
    axes.set_yticks(list(places), [_short(each.name) for each in bins])
    axes.set(xlabel="share of the rows")
    axes.xaxis.set_major_locator(MaxNLocator(5))  # more would touch each other
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)  # above the bars, which fill the plot


def _draw_metric(axes: Axes, history: Sequence[Point]) -> None:
    """Draw the metric with its interval, and what the evaluation of each version promised; all points have a value."""
    times, values = _times(history), [point.value or 0.0 for point in history]
    ends = [point.interval or (value, value) for value, point in zip(values, history, strict=True)]
    below = [max(value - low, 0.0) for value, (low, _) in zip(values, ends, strict=True)]
    above = [max(high - value, 0.0) for value, (_, high) in zip(values, ends, strict=True)]
    axes.errorbar(times, values, [below, above], fmt="o", markersize=3, color=NOW, label="now, 95 % interval")
    promised = [float("nan") if point.promised is None else point.promised for point in history]
    axes.step(times, promised, where="post", color=THEN, label="promised by the evaluation")
    axes.legend(frameon=False)
    axes.tick_params(axis="x", rotation=30)


def _times(points: Sequence[Point]) -> Any:
    """Return the times of points in UTC, as matplotlib takes them."""
    return np.array([point.at[:19] for point in points], dtype="datetime64[s]")


def _draw_counts(axes: Axes, history: Sequence[Point]) -> None:
    """Draw how many rows and labels each report had."""
    times = _times(history)
    axes.plot(times, [point.rows for point in history], marker=".", color=THEN, label="rows")
    axes.plot(times, [point.labels for point in history], marker=".", color=NOW, label="labels")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.tick_params(axis="x", rotation=30)


def _short(name: str) -> str:
    name = name.removesuffix(".0")  # a category that is a number
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"
