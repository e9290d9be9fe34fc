"""The drift report: one self-contained HTML page, the columns that changed most first and as pictures."""

from __future__ import annotations

from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING

from updraft.learning.figures import render
from updraft.monitoring.drift import VERDICTS, ColumnDrift, Drift

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_PLOTS, MAX_BARS, MAX_NAME = 6, 14, 22
THEN, NOW = "#9aa7b5", "#c4501b"


def render_page(title: str, model: str, rows: str, drift: Drift) -> str:
    """Render the page: `model` names the version, `rows` says which rows were compared with its training data."""
    import jinja2

    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        files("updraft.monitoring").joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    plots = [
        (column.name, render(partial(_draw, column=column))) for column in drift.columns[:MAX_PLOTS] if column.bins
    ]
    return template.render(title=title, model=model, rows=rows, drift=drift, plots=plots)


def summarize(drift: Drift) -> str:
    """Say in one sentence what has shifted, and what could not be compared."""
    names = {verdict: [each.name for each in drift.columns if each.verdict == verdict] for verdict in VERDICTS}
    shifted = f"{' and '.join(drift.shifts)} shift: {', '.join(names['drifted'])}"
    few = names["not enough rows"]
    if few and len(few) == len(drift.columns) - len(names["not watched"]):
        return "not enough rows to say anything"
    return (shifted if drift.shifts else "no drift") + (f"; not enough rows for {', '.join(few)}" if few else "")


def _draw(axes: Axes, column: ColumnDrift) -> None:
    """Draw the shares of the bins then and now: those with the largest difference, in their order."""
    largest = sorted(column.bins, key=lambda each: -abs(each.now - each.before))[:MAX_BARS]
    bins = [each for each in column.bins if each in largest][::-1]
    places = range(len(bins))
    axes.barh([place + 0.2 for place in places], [each.before for each in bins], 0.4, color=THEN, label="training")
    axes.barh([place - 0.2 for place in places], [each.now for each in bins], 0.4, color=NOW, label="now")
    axes.set_yticks(list(places), [_short(each.name) for each in bins])
    axes.set(xlabel="share of the rows")
    axes.legend(frameon=False)


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"
