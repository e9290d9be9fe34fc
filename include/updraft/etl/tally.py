"""What the rules of an ETL have done, counted over all rows: the facts of `clean.json`."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from updraft.etl.outliers import Bounds
from updraft.etl.schema import Etl
from updraft.model.number_format import format_number

log = logging.getLogger(__name__)


class Tally:
    """Counts by column and by reason. `misfits` are rejects that no rule of the YAML quarantines: they hold errors."""

    def __init__(self, etl: Etl) -> None:
        self._etl = etl
        self.read = self.quarantined = self.misfits = 0
        self.outliers: Counter[str] = Counter()
        self.nulls: Counter[str] = Counter()
        self.derived: Counter[str] = Counter()
        self.labels: dict[str, Counter[str]] = {name: Counter() for name in etl.clean.labels}
        self._reasons: Counter[str] = Counter()
        self._misfit_reasons: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def reject(self, reason: str, misfit: bool) -> None:
        """Count a row that is left out."""
        key = reason.partition(":")[0]
        self.quarantined += 1
        self._reasons[key] += 1
        self._examples.setdefault(key, reason)
        if misfit:
            self.misfits += 1
            self._misfit_reasons[key] += 1

    def facts(self, bounds: Mapping[str, Bounds]) -> dict[str, Any]:
        """Return the counts, by rule."""
        outliers = {name: self._outliers(name, found) for name, found in bounds.items()}
        return {
            "outliers": outliers,
            "nulls": dict(self.nulls),
            "derived": {name: {"nulls": count} for name, count in self.derived.items()},
            "labels": {name: dict(counts.most_common()) for name, counts in self.labels.items()},
            "quarantined": self.quarantined,
            "reasons": dict(self._reasons.most_common()),
        }

    def worst(self) -> str:
        """Name the most frequent reason, of misfits if there are any, with its count and an example."""
        reason, count = (self._misfit_reasons or self._reasons).most_common(1)[0]
        return f"{reason} ({count:,}), such as {self._examples[reason]}"

    def report(self, facts: Mapping[str, Any]) -> None:
        """Log what each rule has done."""
        log.info("%s rows read, %s are clean", f"{self.read:,}", f"{facts['rows']:,}")
        for name, found in facts["outliers"].items():
            log.info("outliers of %s, outside of %s to %s: %s, %s", name, _edge(found["low"]), _edge(found["high"]),
                     f"{found['outliers']:,}", found["then"])  # fmt: skip
        for name, count in self.nulls.items():
            log.info("nulls of %s: %s", name, f"{count:,}")
        if self.quarantined:
            worst = ", ".join(f"{reason} ({count:,})" for reason, count in self._reasons.most_common(5))
            log.warning("%s rows quarantined: %s", f"{self.quarantined:,}", worst)

    def _outliers(self, name: str, bounds: Bounds) -> dict[str, Any]:
        rule = self._etl.clean.outliers[name]
        ends = {end: None if math.isinf(bound) else bound for end, bound in vars(bounds).items()}
        return {"rule": rule.rule, **ends, "then": rule.then, "outliers": self.outliers[name]}


def _edge(bound: float | None) -> str:
    return "any" if bound is None else format_number(bound)
