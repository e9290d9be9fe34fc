"""What each column adds to the score of one row, as bars on the form page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.predict.predictor import PredictionResult
from updraft.model.compiled.explain import Explanation
from updraft.model.number_format import format_number
from updraft.model.signature import Rows, Signature

MAX_BARS, MAX_VALUE = 12, 40  # columns that have a bar of their own; characters of a value
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Bar:
    """A column's contribution: a bar from `left`, `width` wide, both in percent of the picture."""

    name: str
    value: str
    contribution: str
    left: float
    width: float
    raises: bool


@dataclass(frozen=True)
class Why:
    """The contributions, largest first, and what they start from and add up to."""

    scale: str
    method: str
    reference: str
    baseline: str
    score: str
    middle: float
    bars: list[Bar]


def to_view(result: PredictionResult) -> Why | None:
    """Convert the explanation of a single row for the page; None without one."""
    if (explanation := result.explanation) is None:
        return None
    signature, numbers = result.live.model.signature, explanation.contributions[0]
    order = np.argsort(-np.abs(numbers), kind="stable").tolist()
    names = [signature.title_of(name) for name in signature.names]
    parts = [(names[place], _value(signature, result.rows, place), float(numbers[place])) for place in order]
    if len(parts) > MAX_BARS:
        rest = parts[MAX_BARS - 1 :]
        parts = [*parts[: MAX_BARS - 1], (f"{len(rest)} others", "", sum(number for _, _, number in rest))]
    low, high = min(0.0, *(part[2] for part in parts)), max(0.0, *(part[2] for part in parts))
    span = high - low or 1.0
    return Why(
        scale=_scale(explanation),
        method=explanation.method,
        reference=explanation.reference,
        baseline=_signed(float(explanation.baselines[0]), plus=""),
        score=_signed(float(explanation.scores[0]), plus=""),
        middle=100 * -low / span,
        bars=[_bar(*part, low, span) for part in parts],
    )


def _scale(explanation: Explanation) -> str:
    """Say what is explained; of a multiclass model for the label that was predicted."""
    return explanation.scale.replace("the label", explanation.labels[0]) if explanation.labels else explanation.scale


def _bar(name: str, value: str, number: float, low: float, span: float) -> Bar:
    left, width = 100 * (min(number, 0.0) - low) / span, 100 * abs(number) / span
    return Bar(name, value, _signed(number), left, width, number > 0)


def _value(signature: Signature, rows: Rows, place: int) -> str:
    """Return a value as the bar's name has it: that of a private column is not shown, nor much of a long text."""
    value = rows.columns[place][0]
    if signature.names[place] in signature.private:
        return "private"
    if value is None:
        return "none"
    if name := signature.names_of(signature.names[place]).get(value):
        return name
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = format_number(value) if isinstance(value, int | float) else str(value)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"


def _signed(number: float, plus: str = "+") -> str:
    """Format a number with three significant digits, and with all of them before the point."""
    size = abs(number)
    text = f"{size:,.0f}" if size >= 100 else f"{size:.3g}"
    return f"{MINUS if number < 0 else plus if number > 0 else ''}{text}"
