"""How the quarantine falls on the labels: rows that are set aside unevenly bend what a model learns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc

from updraft.model.signature import Label
from updraft.sources.source import Batch
from updraft.usecase import UseCase
from updraft.usecase.rows_definition import RowsDefinition

# Uneven is a label of which this much more is set aside than of another, by difference and by factor, in rows that
# are no handful.
DIFFERENCE, FACTOR, MIN_ROWS = 0.03, 2.0, 20


@dataclass
class QuarantinedLabels:
    """Count the rows that fit and those that are quarantined, by label, where there are labels."""

    case: RowsDefinition
    fit: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)

    @property
    def _labels(self) -> tuple[Label, ...]:
        return self.case.labels if isinstance(self.case, UseCase) else ()

    @property
    def _target(self) -> str:
        return self.case.target if isinstance(self.case, UseCase) else ""

    def add(self, batch: Batch) -> None:
        """Count a batch."""
        if not self._labels:
            return
        target = self._target
        if target in batch.table.column_names:
            for each in pc.value_counts(batch.table[target].combine_chunks()).to_pylist():
                self.fit[str(each["values"])] += each["counts"]
        names = [theirs for theirs, ours in self.case.read.rename.items() if ours == target]
        for reject in batch.rejects:
            label = next((reject.row[name] for name in (*names, target) if name in reject.row), None)
            self.quarantined[str(label).strip()] += 1

    def shares(self) -> dict[str, dict[str, Any]]:
        """Return rows and share quarantined of each label of the YAML, the highest share first."""
        counts = {}
        for label in (str(label.value) for label in self._labels):
            if rows := self.fit[label] + self.quarantined[label]:
                part = self.quarantined[label]
                counts[label] = {"rows": rows, "quarantined": part, "share": round(part / rows, 4)}
        return dict(sorted(counts.items(), key=lambda item: -item[1]["share"]))

    def unevenness(self) -> str:
        """Say that one label loses far more of its rows than another; empty where none does."""
        shares = self.shares()
        if len(shares) < 2:
            return ""
        (most, high), (least, low) = next(iter(shares.items())), list(shares.items())[-1]
        gap = high["share"] - low["share"]
        if high["quarantined"] < MIN_ROWS or gap < DIFFERENCE or high["share"] < FACTOR * low["share"]:
            return ""
        return (
            f"rows are quarantined unevenly by {self._target}: {high['share']:.1%} of {most!r} "
            f"({high['quarantined']:,} of {high['rows']:,}), {low['share']:.1%} of {least!r} "
            f"({low['quarantined']:,} of {low['rows']:,})"
        )
