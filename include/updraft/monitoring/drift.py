"""Drift: how far rows of today are from those that a model was trained on, column by column, as effect sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
from pydantic import Field

from updraft.monitoring.distribution import Counts, distance, psi, psi_by_chance
from updraft.monitoring.reference import TRAINING, Numbers, Part, Profile, Reference, Texts, Values
from updraft.monitoring.window import Column
from updraft.usecase.monitor_block import Limits as Limits

Verdict = Literal["stable", "drifted", "not enough rows", "not watched"]
Shift = Literal["covariate", "target", "prediction"]
SHIFTS: tuple[Shift, ...] = get_args(Shift)
MAX_EXAMPLES = 5
ROWS_OF_A_BIN = 5  # on average, as for a chi-squared test: with fewer, chance alone may reach a limit
SMALLEST = np.finfo(float).tiny
PREDICTIONS = "(predictions)"
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


class Bin(Part):
    """A range of numbers, or a value, with its share of the rows that are not null, then and now."""

    name: str
    before: float
    now: float


class ColumnDrift(Part):
    """A column then and now. A measure is None where the column's kind does not have it.

    Shares are between 0 and 1. `worst` is the largest measure as a multiple of its limit: 1 or more is drift.
    """

    name: str
    verdict: Verdict
    reasons: list[str]
    rows: int
    nulls: tuple[float, float] | None = None
    psi: float | None = None
    chance: float | None = None
    distance: float | None = None
    unseen: float | None = None
    examples: dict[str, int] = Field(default_factory=dict)
    unknown_words: tuple[float, float] | None = None
    worst: float = 0.0
    bins: list[Bin] = Field(default_factory=list)


class Drift(Part):
    """All columns, the worst first, and which distributions have shifted.

    A `schema_break` is no shift: rows that do not fit their types (`refused`), or a column that is gone. `before` is
    what the rows of then are called.
    """

    rows: int
    before: str = TRAINING
    columns: list[ColumnDrift]
    shifts: list[Shift]
    refused: int = 0
    schema_break: list[str] = Field(default_factory=list)
    target: str = ""

    def drifted(self, shift: Shift) -> list[ColumnDrift]:
        """List the columns by which a distribution has shifted, the worst first."""
        special: dict[str, Shift] = {self.target: "target", PREDICTIONS: "prediction"}
        return [
            each
            for each in self.columns
            if each.verdict == "drifted" and not _is_gone(each) and special.get(each.name, "covariate") == shift
        ]


class Window:
    """Rows and predictions of today, added batch by batch, to compare with a reference."""

    def __init__(self, reference: Reference, limits: Limits) -> None:
        self._reference, self._limits = reference, limits
        self._columns = {name: Column(profile) for name, profile in reference.columns.items()}
        self._predictions = Column(reference.predictions) if reference.predictions else None
        self._rows = self._refused = 0

    def refuse(self, rows: int) -> None:
        """Count rows that did not fit."""
        self._refused += rows

    def add(self, batch: Mapping[str, pa.Array | pa.ChunkedArray], predictions: pa.Array | None = None) -> None:
        """Count rows by column; columns that the reference does not have are left out, and the target may be absent."""
        sizes = {len(batch[name]) for name in self._columns.keys() & batch.keys()}
        self._rows += max(sizes, default=0)
        for name in self._columns.keys() & batch.keys():
            self._columns[name].add(batch[name])
        if self._predictions and predictions is not None:
            self._predictions.add(predictions)

    def drift(self) -> Drift:
        """Compare."""
        compared = partial(compare, limits=self._limits, before=self._reference.rows_of)
        columns = [compared(name, column) for name, column in self._columns.items() if column.rows]
        if self._predictions and self._predictions.rows:
            columns.append(compared(PREDICTIONS, self._predictions))
        gone = [f"{each.name} is gone: all of its values are null" for each in columns if _is_gone(each)]
        drift = Drift(
            rows=self._rows,
            before=self._reference.rows_of,
            columns=sorted(columns, key=lambda each: -each.worst),
            shifts=[],
            refused=self._refused,
            target=self._reference.target,
            schema_break=[*self._refused_share(), *gone],
        )
        return drift.model_copy(update={"shifts": [shift for shift in SHIFTS if drift.drifted(shift)]})

    def _refused_share(self) -> Iterator[str]:
        total = self._rows + self._refused
        if total >= self._limits.min_rows and self._refused / total >= self._limits.refused:
            yield f"{self._refused / total:.1%} of {total:,} rows do not fit"


def _is_gone(column: ColumnDrift) -> bool:
    return column.verdict == "drifted" and column.nulls is not None and column.nulls[1] == 1


def compare(name: str, now: Column, limits: Limits, before: str = TRAINING) -> ColumnDrift:
    """Compare a column with its reference, which is called `before`."""
    profile = now.profile
    drift: dict[str, Any] = {"name": name, "rows": now.rows, "reasons": []}
    if profile.values is None:
        return ColumnDrift(**drift | {"verdict": "not watched", "reasons": [profile.not_watched]})
    bins = list(_name_bins(profile, now))
    measures = _measure(profile, now) | {"bins": bins}
    needed = max(limits.min_rows, ROWS_OF_A_BIN * len(bins))
    if min(now.rows, profile.rows) < needed:
        reason = f"{now.rows:,} rows now and {profile.rows:,} in {before}, {needed:,} of each are needed"
        return ColumnDrift(**drift | measures | {"verdict": "not enough rows", "reasons": [reason]})
    excess = list(_excess(measures, limits, before))
    reasons = [reason for size, reason in excess if size >= 1]
    worst = max((size for size, _ in excess), default=0.0)
    verdict = "drifted" if reasons else "stable"
    return ColumnDrift(**drift | measures | {"verdict": verdict, "reasons": reasons, "worst": worst})


def _measure(profile: Profile, now: Column) -> dict[str, Any]:
    before = _reference_counts(profile)
    measures: dict[str, Any] = {"nulls": (profile.nulls / max(profile.rows, 1), now.nulls / max(now.rows, 1))}
    if before.sum() and now.counts.sum():
        measures |= {"psi": psi(before, now.counts), "chance": psi_by_chance(before, now.counts)}
    if isinstance(profile.values, Numbers):
        measures["distance"] = distance(before, now.counts) if now.counts.sum() else None
    elif isinstance(profile.values, Values) and not profile.values.others:
        measures["unseen"] = float(now.counts[-1]) / max(now.rows, 1)
        measures["examples"] = dict(now.unseen.most_common(MAX_EXAMPLES))
    elif isinstance(profile.values, Texts):
        measures["unknown_words"] = (profile.values.unknown, now.unknown_words / max(now.words, 1))
    return measures


def _excess(measures: Mapping[str, Any], limits: Limits, before: str) -> Iterator[tuple[float, str]]:
    """Yield each measure as a multiple of its limit, with a sentence that says it."""
    then, now = measures["nulls"]
    yield abs(now - then) / limits.nulls, f"{now:.1%} null, {then:.1%} in {before}"
    if (index := measures.get("psi")) is not None:
        yield (index - measures["chance"]) / limits.psi, f"PSI {index:.2f}, {measures['chance']:.2f} by chance"
    if (unseen := measures.get("unseen")) is not None:
        examples = ", ".join(map(repr, measures["examples"]))
        yield unseen / limits.unseen, f"{unseen:.1%} of the values were not in {before}: {examples}"
    if words := measures.get("unknown_words"):
        yield (words[1] - words[0]) / limits.unknown_words, f"{words[1]:.0%} unknown words, {words[0]:.0%} in {before}"


def _name_bins(profile: Profile, now: Column) -> Iterator[Bin]:
    """Yield the bins that any row is in; those of a text are its length in characters."""
    values = profile.values.lengths if isinstance(profile.values, Texts) else profile.values
    before = _reference_counts(profile)
    if isinstance(values, Values):
        names = [*values.counts, "(others)"]
    else:
        names = list(_ranges(values.edges)) if values else []
    for name, *counts in zip(names, before, now.counts, strict=True):
        if any(counts):
            then, today = int(counts[0]) / max(int(before.sum()), 1), int(counts[1]) / max(int(now.counts.sum()), 1)
            yield Bin(name=name, before=then, now=today)


def _ranges(edges: list[float]) -> Iterator[str]:
    if not edges:
        yield "any"
        return
    # An edge just above a value would be written as the value, but for the smallest number there is, just above 0.
    texts = [_edge(0.0 if abs(edge) < SMALLEST else edge) for edge in edges]
    yield f"below {texts[0]}"
    for (low, high), (first, last) in zip(pairwise(edges), pairwise(texts), strict=True):
        yield first if np.nextafter(low, np.inf) == high else f"{first} to {last}"
    yield f"above {texts[-1]}"


def _edge(value: float) -> str:
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1e15 else f"{value:.4g}"  # whole numbers, without powers of ten


def _reference_counts(profile: Profile) -> Counts:
    values = profile.values
    if isinstance(values, Values):
        return np.array([*values.counts.values(), values.others], dtype="int64")
    if isinstance(values, Texts):
        values = values.lengths
    return np.array(values.counts if values else [], dtype="int64")
