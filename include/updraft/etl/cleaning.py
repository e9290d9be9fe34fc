"""The rules of an ETL's `clean` block, applied to a table in their order."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from updraft.errors import BadData
from updraft.etl.compute import compute_by_row
from updraft.etl.duplicates import count_duplicates, describe_duplicates
from updraft.etl.expression import BadExpression, parse_expression
from updraft.etl.labels import texts_of_labels
from updraft.etl.outliers import handle_outliers
from updraft.etl.schema import Etl, Fill
from updraft.model.columns import quoted
from updraft.model.reading import Reading
from updraft.sources.by_column import read_by_column
from updraft.sources.rows import ARROW, RowConverter

MAX_NAMED = 5  # columns of an expression, in a reason
log = logging.getLogger(__name__)


class Cleaning:
    """The rules of one ETL, applied to its rows. `rejects` has the reason for each row that is left out, by index.

    `misfits` are those of them that no rule of the YAML quarantines: what they hold is wrong.
    """

    def __init__(self, etl: Etl, table: pa.Table) -> None:
        self.etl, self.table = etl, table
        self.rejects: dict[int, str] = {}
        self.misfits: set[int] = set()
        self.facts: dict[str, Any] = {"outliers": {}, "nulls": {}, "derived": {}, "labels": {}}

    def apply(self) -> None:
        """Apply the rules of each column: of those that were read, then of each derived one, then the labels."""
        for name in self.table.column_names:
            self._rules_of(name)
        for name, text in self.etl.clean.derive.items():
            self._derive(name, text)
            self._rules_of(name)
        for name in self.etl.clean.labels:
            self._label(name)

    def cleaned(self) -> pa.Table:
        """Return the suite's columns, in its types, of the rows that are kept; count duplicates."""
        table = self._typed([index for index in range(self.table.num_rows) if index not in self.rejects])
        self.facts |= {"quarantined": len(self.rejects), "reasons": dict(self._reasons().most_common())}
        duplicates, first = count_duplicates(table)
        self.facts |= duplicates
        return table.take(pa.array(first, pa.int64())) if self.drops_duplicates else table

    def _typed(self, indices: list[int]) -> pa.Table:
        """Return rows in the suite's types; what does not fit is rejected."""
        converter = RowConverter(self.etl.columns, Reading())
        if not indices:
            return converter.schema.empty_table()
        kept = self.table.select(converter.schema.names).take(pa.array(indices, pa.int64()))

        def placed(odd: Sequence[int]) -> list[tuple[str, dict[str, Any]]]:
            rows = kept.take(pa.array(odd, pa.int64())).to_pylist()
            # A place is an index into the rows that were read, for `rejects`.
            return [(str(indices[index]), row) for index, row in zip(odd, rows, strict=True)]

        batch = read_by_column(converter, kept.columns, placed, set(), torn=False)
        for reject in batch.rejects:
            self._reject(int(reject.place), reject.reason, misfit=True)
        return batch.table

    @property
    def drops_duplicates(self) -> bool:
        """Whether one of several equal rows is kept; rows with an id are one row in a store anyway."""
        return self.etl.clean.duplicates == "drop" or self.etl.id is not None

    def report(self, rows: int) -> None:
        """Log what each rule has done."""
        log.info("%s rows read, %s are clean", f"{self.table.num_rows:,}", f"{rows:,}")
        for name, facts in self.facts["outliers"].items():
            log.info("outliers of %s, outside of %s to %s: %s, %s", name, _edge(facts["low"]), _edge(facts["high"]),
                     f"{facts['outliers']:,}", facts["then"])  # fmt: skip
        for name, count in self.facts["nulls"].items():
            log.info("nulls of %s: %s", name, f"{count:,}")
        if self.rejects:
            worst = ", ".join(f"{reason} ({count:,})" for reason, count in self._reasons().most_common(5))
            log.warning("%s rows quarantined: %s", f"{len(self.rejects):,}", worst)
        kept = self.facts["distinct"] + self.facts["duplicates"]
        if sentence := describe_duplicates(kept, self.facts, self.drops_duplicates):
            log.warning("%s", sentence)

    def _rules_of(self, name: str) -> None:
        if rule := self.etl.clean.outliers.get(name):
            handled = handle_outliers(name, self.table[name], rule)
            self._set(name, handled.values)
            self.facts["outliers"][name] = handled.facts
            if rule.then == "quarantine":
                self._reject_where(handled.rows, f"clean.outliers.{name}")
        if filling := self.etl.clean.nulls.get(name):
            null = pc.is_null(self.table[name])
            self.facts["nulls"][name] = pc.sum(null).as_py() or 0
            if isinstance(filling, Fill):
                self._fill(name, filling)
            else:
                self._reject_where(null, f"clean.nulls.{name}")

    def _fill(self, name: str, filling: Fill) -> None:
        values = self.table[name]
        try:
            self._set(name, pc.fill_null(values, pa.scalar(filling.fill).cast(values.type)))
        except pa.ArrowException:
            raise BadData(
                f"{self.etl.dag_id}: clean.nulls.{name}: {quoted(filling.fill)} is not a value of {values.type}"
            ) from None

    def _derive(self, name: str, text: str) -> None:
        try:
            expression = parse_expression(text, self.table.column_names)
            values, failed = compute_by_row(expression, self.table)
        except BadExpression as error:
            raise BadData(f"{self.etl.dag_id}: clean.derive.{name}: {error}") from None
        rows = self.table.select(expression.names[:MAX_NAMED]).take(pa.array(failed, pa.int64())).to_pylist()
        for index, row in zip(failed, rows, strict=True):
            of = ", ".join(f"{column} = {quoted(value)}" for column, value in row.items())
            self._reject(index, f"clean.derive.{name}: {quoted(text)} has no result for {of}", misfit=True)
        self._set(name, values)
        if pa.types.is_floating(values.type):
            wrong = pc.invert(pc.is_finite(values)).fill_null(False)
            self._reject_where(wrong, f"clean.derive.{name}: not a finite number", misfit=True)
            self._set(name, pc.if_else(wrong, None, values))
        self.facts["derived"][name] = {"nulls": values.null_count}

    def _label(self, name: str) -> None:
        """Replace each text by its value; a row with another text does not fit."""
        values, encoding = self.table[name], self.etl.clean.labels[name]
        column = next(column for column in self.etl.columns if column.name == name)
        try:
            codes = texts_of_labels(encoding, values.type)
        except ValueError as error:
            raise BadData(f"{self.etl.dag_id}: clean.labels.{name}: {error}") from None
        texts = pc.cast(values, pa.string()).to_pylist()
        encoded = [None if text is None else column.convert(codes[text]) if text in codes else None for text in texts]
        unknown = [text is not None and text not in codes for text in texts]
        for index, text in enumerate(texts):
            if unknown[index]:
                self._reject(index, f"clean.labels.{name}: {quoted(text)} is not one of {', '.join(codes)}", True)
        self._set(name, pa.chunked_array([pa.array(encoded, ARROW[column.type])]))
        self.facts["labels"][name] = dict(Counter(text for text in texts if text in codes).most_common())

    def _set(self, name: str, values: pa.ChunkedArray) -> None:
        names = self.table.column_names
        if name in names:
            self.table = self.table.set_column(names.index(name), name, values)
        else:
            self.table = self.table.append_column(name, values)

    def _reject_where(self, rows: pa.ChunkedArray, reason: str, misfit: bool = False) -> None:
        for index in pc.indices_nonzero(rows).to_pylist():
            self._reject(index, reason, misfit)

    def _reject(self, index: int, reason: str, misfit: bool) -> None:
        """Leave a row out; one that a rule has quarantined already is no misfit by what follows from its values."""
        if index in self.rejects:
            return
        self.rejects[index] = reason
        if misfit:
            self.misfits.add(index)

    def _reasons(self) -> Counter[str]:
        return Counter(reason.partition(":")[0] for reason in self.rejects.values())


def _edge(bound: float | None) -> str:
    return "any" if bound is None else f"{bound:g}"
