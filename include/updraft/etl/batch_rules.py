"""The rules of an ETL's `clean` block, applied to a batch of rows in their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from updraft.errors import BadData
from updraft.etl.compute import compute_by_row
from updraft.etl.expression import BadExpression, parse_expression
from updraft.etl.labels import texts_of_labels
from updraft.etl.outliers import Bounds, handle_outliers
from updraft.etl.schema import Etl, Fill
from updraft.etl.tally import Tally
from updraft.model.columns import quoted
from updraft.model.reading import Reading
from updraft.sources.by_column import read_by_column
from updraft.sources.rows import ARROW, RowConverter

MAX_NAMED = 5  # columns of an expression, in a reason


class BatchRules:
    """The rules of one ETL, applied to some of its rows: `table`. `bounds` are those of the whole columns' outliers."""

    def __init__(self, etl: Etl, bounds: Mapping[str, Bounds], tally: Tally, table: pa.Table) -> None:
        self._etl, self._bounds, self._tally, self.table = etl, bounds, tally, table
        self._reasons: dict[int, str] = {}  # by index, of the rows that are left out

    def apply(self, until: str | None = None) -> None:
        """Apply the rules of each column: of those that were read, then of each derived one, then the labels.

        With `until`, end with that derived column, before its own rules.
        """
        for name in self.table.column_names:
            self._rules_of(name)
        for name, text in self._etl.clean.derive.items():
            self._derive(name, text)
            if name == until:
                return
            self._rules_of(name)
        for name in self._etl.clean.labels:
            self._label(name)

    def typed(self) -> pa.Table:
        """Return the suite's columns of the rows that are kept, in its types; what does not fit is rejected."""
        converter = RowConverter(self._etl.columns, Reading())
        indices = np.setdiff1d(np.arange(self.table.num_rows), np.fromiter(self._reasons, np.int64))
        if not len(indices):
            return converter.schema.empty_table()
        kept = self.table.select(converter.schema.names).take(pa.array(indices))

        def placed(odd: Sequence[int]) -> list[tuple[str, dict[str, Any]]]:
            rows = kept.take(pa.array(odd, pa.int64())).to_pylist()
            # A place is an index into the batch.
            return [(str(indices[index]), row) for index, row in zip(odd, rows, strict=True)]

        batch = read_by_column(converter, kept.columns, placed, set(), torn=False)
        for reject in batch.rejects:
            self._reject(int(reject.place), reject.reason, misfit=True)
        return batch.table

    def rejected(self) -> Iterator[tuple[int, dict[str, Any], str]]:
        """Yield the rows that are left out, as the rules have left them, with their indices and reasons."""
        indices = sorted(self._reasons)
        rows = self.table.take(pa.array(indices, pa.int64())).to_pylist()
        for index, row in zip(indices, rows, strict=True):
            yield index, row, self._reasons[index]

    def _rules_of(self, name: str) -> None:
        if rule := self._etl.clean.outliers.get(name):
            outside = self._bounds[name].outside(self.table[name])
            self._tally.outliers[name] += pc.sum(outside).as_py() or 0
            self._set(name, handle_outliers(self.table[name], outside, self._bounds[name], rule))
            if rule.then == "quarantine":
                self._reject_where(outside, f"clean.outliers.{name}")
        if filling := self._etl.clean.nulls.get(name):
            null = pc.is_null(self.table[name])
            self._tally.nulls[name] += pc.sum(null).as_py() or 0
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
                f"{self._etl.dag_id}: clean.nulls.{name}: {quoted(filling.fill)} is not a value of {values.type}"
            ) from None

    def _derive(self, name: str, text: str) -> None:
        try:
            expression = parse_expression(text, self.table.column_names)
            values, failed = compute_by_row(expression, self.table)
        except BadExpression as error:
            raise BadData(f"{self._etl.dag_id}: clean.derive.{name}: {error}") from None
        rows = self.table.select(expression.names[:MAX_NAMED]).take(pa.array(failed, pa.int64())).to_pylist()
        for index, row in zip(failed, rows, strict=True):
            of = ", ".join(f"{column} = {quoted(value)}" for column, value in row.items())
            self._reject(index, f"clean.derive.{name}: {quoted(text)} has no result for {of}", misfit=True)
        self._set(name, values)
        if pa.types.is_floating(values.type):
            wrong = pc.invert(pc.is_finite(values)).fill_null(False)
            self._reject_where(wrong, f"clean.derive.{name}: not a finite number", misfit=True)
            self._set(name, pc.if_else(wrong, None, values))
        self._tally.derived[name] += values.null_count

    def _label(self, name: str) -> None:
        """Replace each text by its value; a row with another text does not fit."""
        values = self.table[name]
        column = next(column for column in self._etl.columns if column.name == name)
        try:
            codes = texts_of_labels(self._etl.clean.labels[name], values.type)
        except ValueError as error:
            raise BadData(f"{self._etl.dag_id}: clean.labels.{name}: {error}") from None
        texts = pc.cast(values, pa.string()).combine_chunks().dictionary_encode()
        distinct = texts.dictionary.to_pylist()
        encoded = [column.convert(codes[text]) if text in codes else None for text in distinct]
        unknown = pa.array([text not in codes for text in distinct], pa.bool_()).take(texts.indices).fill_null(False)
        for index in pc.indices_nonzero(unknown).to_pylist():
            text = distinct[texts.indices[index].as_py()]
            self._reject(index, f"clean.labels.{name}: {quoted(text)} is not one of {', '.join(codes)}", misfit=True)
        self._set(name, pa.chunked_array([pa.array(encoded, ARROW[column.type]).take(texts.indices)]))
        counts = {each["values"]: each["counts"] for each in pc.value_counts(texts.indices).to_pylist()}
        known = {distinct[code]: count for code, count in counts.items() if code is not None}
        self._tally.labels[name].update({text: count for text, count in known.items() if text in codes})

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
        if index not in self._reasons:
            self._reasons[index] = reason
            self._tally.reject(reason, misfit)
