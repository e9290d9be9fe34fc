"""An evaluation as people read it: in a task's log, and as Markdown in the question whether to promote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from updraft.model.number_format import format_difference, format_metric, format_number

MAX_NAME = 40  # characters of a model or of a slice, so that a row stays on a line
MARKDOWN = str.maketrans({char: f"\\{char}" for char in "\\`*_{}[]()<>#+-.!|~&@:"} | dict.fromkeys("\r\n", " "))


@dataclass(frozen=True)
class Table:
    """Rows of texts below a heading; the first column is of names, the others are of numbers."""

    heading: Sequence[str]
    rows: Sequence[Sequence[str]]

    def lines(self) -> list[str]:
        """Return it as lines of equal columns."""
        rows = [self.heading, *self.rows]
        widths = [max(len(row[column]) for row in rows) for column in range(len(self.heading))]
        return [
            "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ]

    def markdown(self) -> str:
        """Return it as a table of Markdown; what is in it is text, whatever it looks like."""
        rules = ["---", *["---:"] * (len(self.heading) - 1)]
        cells = [[escape(cell) for cell in row] for row in (self.heading, *self.rows)]
        return "\n".join(f"| {' | '.join(row)} |" for row in (cells[0], rules, *cells[1:]))


def escape(text: object) -> str:
    """Return a text as it stands in Markdown: values of columns and people's words are no links and no HTML."""
    return str(text).translate(MARKDOWN)


def models(evaluation: Mapping[str, Any]) -> Table:
    """Return the metrics of the candidates and of the champion, on the same held-out rows."""
    names, champion = list(evaluation["metrics"]), evaluation["champion"] or {}
    chosen = evaluation["chosen"]
    rows = [_row(f"{chosen} (chosen)", evaluation["candidates"][chosen], names)]
    rows += [_row(name, metrics, names) for name, metrics in evaluation["candidates"].items() if name != chosen]
    if "metrics" in champion:
        rows.append(_row(f"champion, version {champion['version']}", champion["metrics"], names))
    return Table([f"{evaluation['rows']:,} held-out rows", *names], rows)


def validation(training: Mapping[str, Any]) -> Table:
    """Return the metrics of one candidate on the training rows: in folds, or on a holdout."""
    metrics, rows = training["validation"], f"{training['rows']:,} rows"
    folds = training["folds"]
    how = f"{folds} folds of {rows}" if folds else f"holdout of {training['validated_rows']:,} of {rows}"
    return Table([how, *metrics], [_row(training["candidate"], metrics, list(metrics))])


def comparison(evaluation: Mapping[str, Any]) -> str:
    """Return in a sentence by how much the challenger is better than the champion, with the interval."""
    champion = evaluation["champion"]
    if not champion:
        return "there is no champion yet"
    if "error" in champion:
        return f"the champion, version {champion['version']}, cannot score these rows ({champion['error']})"
    low, high = map(format_difference, champion["interval"])
    gate = evaluation["gate"]
    wanted = "it has to be better by" if gate["rule"] == "better" else "it may be worse by less than"
    return (
        f"{gate['metric']}: {format_metric(champion['challenger'])} against {format_metric(champion['champion'])} "
        f"of the champion, version {champion['version']}: {format_difference(champion['gain'])} "
        f"(95 % {low} to {high}); {wanted} {format_number(gate['margin'])}"
    )


def floors(evaluation: Mapping[str, Any]) -> Table:
    """Return the floors, and what the chosen model has."""
    metrics = evaluation["metrics"]
    rows = [[name, format_metric(metrics[name]), format_number(floor)] for name, floor in evaluation["floors"].items()]
    return Table(["metric with a floor", "model", "at least"], rows)


def slices(evaluation: Mapping[str, Any], count: int = 12) -> Table:
    """Return the values of columns on which the model is worst, by the gate's metric."""
    from updraft.learning.metrics import gain

    metric = evaluation["gate"]["metric"]
    parts = [
        (_shortened(f"{column} = {value}"), part["rows"], part["metrics"][metric])
        for column, values in evaluation["slices"].items()
        for value, part in values.items()
        if metric in part["metrics"]
    ]
    parts.sort(key=lambda part: gain(metric, part[2], 0.0))
    return Table(["slice, worst first", "rows", metric], [[n, f"{r:,}", format_metric(v)] for n, r, v in parts[:count]])


def _row(title: str, metrics: Mapping[str, float], names: Sequence[str]) -> list[str]:
    return [_shortened(title), *(format_metric(metrics[name]) if name in metrics else "-" for name in names)]


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 1]}…"
