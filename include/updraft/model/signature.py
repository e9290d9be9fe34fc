"""`Signature`: a model's inputs and outputs, and the validation of raw rows against it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from updraft.model.columns import Column, Type, Value, ViolationKind, quoted
from updraft.model.feature_store import IN_STORE, FeatureStore, read_stored
from updraft.model.field_names import FieldNames, Layout
from updraft.model.reading import Reading, read_value
from updraft.model.task import Task as Task

if TYPE_CHECKING:
    import pandas as pd

MAX_ERRORS, MAX_KEY_LENGTH = 100, 200  # keeps a response small, whatever the request holds

NOTHING_STORED: Mapping[int, Mapping[str, Any]] = {}

FieldError = dict[str, str]  # `pointer` (a JSON Pointer) and `detail` (a sentence)
Cell = Value | datetime | None
MakePointer = Callable[[int, str | None], str]  # from a row's index and a field's name, None for the row itself


def row_pointer(index: int, name: str | None) -> str:
    """Return the JSON Pointer into a body with a list of `rows`, or into CSV or JSON lines; rows count from 0."""
    return f"/rows/{index}" if name is None else f"/rows/{index}/{escape_pointer(name)}"


def single_row_pointer(index: int, name: str | None) -> str:
    """Return the JSON Pointer into a body that is one row."""
    return "" if name is None else f"/{escape_pointer(name)}"


def column_pointer(index: int, name: str | None) -> str:
    """Return the JSON Pointer into a body whose `columns` holds a list for each column."""
    return "/columns" if name is None else f"/columns/{escape_pointer(name)}/{index}"


class BadRow(ValueError):
    """Rows that do not match the signature; `errors` lists up to MAX_ERRORS faults."""

    def __init__(self, errors: list[FieldError]) -> None:
        self.errors = errors
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(f"{first['pointer']}: {first['detail']}{more}")


@dataclass(frozen=True)
class Rows:
    """Validated rows, column by column in the signature's order, and up to MAX_ERRORS `warnings`.

    `ids` are the rows' own, as they were sent; None where no row has one.
    """

    names: tuple[str, ...]
    columns: Sequence[Sequence[Cell]]
    types: tuple[str, ...]
    warnings: list[FieldError]
    ids: list[Any] | None = None

    def __len__(self) -> int:
        return len(self.columns[0])

    def frame(self) -> pd.DataFrame:
        """Build the model's input: a frame with a column per feature, in the suite's dtypes."""
        import numpy as np
        import pandas as pd

        arrays = {
            name: pd.array(values, dtype="str") if type_ == "str" else np.array(values, dtype=type_)  # type: ignore[call-overload]
            for name, values, type_ in zip(self.names, self.columns, self.types, strict=True)
        }  # arrays, not Series: a fifth of the time for a single row
        return pd.DataFrame(arrays)


class Label(BaseModel):
    """A value of the target and its name for people."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: int | str
    name: str


class ValueName(BaseModel):
    """A value of a feature and its name for people."""

    model_config = ConfigDict(frozen=True)

    value: Value
    name: str


class Signature(BaseModel):
    """A model's inputs and outputs; stored beside it as `signature.json`, so that serving needs no configuration.

    `columns` are the features. A binary model has two `labels`, a `positive` one, and a `threshold`: the lowest
    probability that is called positive. A multiclass model has only labels, a regression none of these. `example` is a
    valid raw row, as JSON. A value outside the value set or the range is an error, unless `warn_unseen` or
    `warn_out_of_range` names its column. Columns in `private` are not stored with predictions.

    Rows are read by `reading`, the rules by which the training data was read. `left_out` are the columns that the
    training data had beside the features, the target and the id: a row may have them, too.

    `titles` are what people call a column, the target's too, and `value_names` what they call values of a feature:
    forms and pages show them, requests do not know them.

    `store` is the feature store in which a service looks up columns that a row leaves out.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    use_case: str
    title: str
    task: Task = "binary"
    candidate: str
    columns: tuple[Column, ...]
    text: tuple[str, ...] = ()
    id: str | None
    id_type: Type = "str"
    target: str
    labels: tuple[Label, ...] = ()
    positive: int | str | None = None
    threshold: float | None = None
    split: dict[str, Any]
    versions: dict[str, str]
    example: dict[str, Any]
    warn_unseen: tuple[str, ...] = ()
    warn_out_of_range: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    reading: Reading = Reading()
    left_out: tuple[str, ...] = ()
    titles: dict[str, str] = Field(default_factory=dict)
    value_names: dict[str, tuple[ValueName, ...]] = Field(default_factory=dict)
    store: FeatureStore | None = None

    def frame(self, rows: Sequence[Any]) -> pd.DataFrame:
        """Validate rows in the suite's names and types, and build the model's input. Raises BadRow."""
        return self.check(rows, plain=True).frame()

    def check(
        self,
        rows: Iterable[Any],
        pointer: MakePointer = row_pointer,
        *,
        textual: bool = False,
        plain: bool = False,
        stored: Mapping[int, Mapping[str, Any]] = NOTHING_STORED,
    ) -> Rows:
        """Read and validate rows: JSON objects or, if `textual`, objects whose values are all text.

        `plain` rows are in the suite's names and types, and are not read by the rules of `reading`. The id is optional.
        `stored` has, by the row's index, the values of a feature store for columns that the row leaves out.
        Raises BadRow with every fault.
        """
        errors: list[FieldError] = []
        warnings: list[FieldError] = []
        columns: list[list[Cell]] = [[] for _ in self.columns]
        ids: list[Any] = []
        left_out: dict[str, None] = {}
        reading = Reading() if plain else self.reading
        for index, row in enumerate(rows):
            if not isinstance(row, dict):
                errors.append({"pointer": pointer(index, None), "detail": f"expected an object, found {quoted(row)}"})
            else:
                layout = self.layout(row)
                ids.append(row.get(layout.id))
                left_out |= dict.fromkeys(layout.left_out)
                values = stored.get(index, {})
                for (name, message), is_warning in self._faults(row, layout, columns, reading, values, textual=textual):
                    faults = warnings if is_warning else errors
                    if len(faults) < MAX_ERRORS:
                        faults.append({"pointer": pointer(index, name), "detail": message})
            if len(errors) >= MAX_ERRORS:
                break
        if errors:
            raise BadRow(errors)
        found = self.rows(columns, self.left_out_warning(left_out) + warnings)
        return replace(found, ids=ids) if any(id_ is not None for id_ in ids) else found

    def rows(self, columns: Sequence[Sequence[Cell]], warnings: Sequence[FieldError] = ()) -> Rows:
        """Build rows from values that were validated, columns in the signature's order."""
        return Rows(self.names, columns, self._types, list(warnings)[:MAX_ERRORS])

    def left_out_warning(self, names: Iterable[str]) -> list[FieldError]:
        """Return the warning that says, once for all rows, which of their fields are not used."""
        known = [f"{quoted(name)}{' (what is predicted)' if name == self.target else ''}" for name in names]
        return [{"pointer": "", "detail": f"not used: {', '.join(known[:MAX_ERRORS])}"}] if known else []

    def _faults(
        self,
        row: dict[Any, Any],
        layout: Layout,
        into: list[list[Cell]],
        reading: Reading,
        stored: Mapping[str, Any],
        *,
        textual: bool,
    ) -> Iterator[tuple[tuple[str | None, str], bool]]:
        """Append a row's values to the columns `into`; yield each fault's field and message, and if it is a warning."""
        for column, key, values in zip(self.columns, layout.columns, into, strict=True):
            is_stored = key is None and column.name in stored
            if key is None and not is_stored and (textual or not column.nullable):
                yield (column.name, "required and missing"), False
                continue
            try:
                if key is None:
                    value = read_stored(column, stored[column.name]) if is_stored else None
                else:
                    value = read_value(column, row[key], reading, textual=textual, iso_dates=True)
            except ValueError as error:
                yield (key or column.name, f"{error}{IN_STORE if is_stored else ''}"), False
                continue
            values.append(value)
            for violation in column.violations(value):
                message = f"{violation}{IN_STORE if is_stored else ''}"
                yield (key or column.name, message), self.only_warns(column, violation.kind)
        yield from ((fault, False) for fault in self._unknown(layout))

    def only_warns(self, column: Column, kind: ViolationKind) -> bool:
        """Whether a value with this violation gets a prediction and a warning, not an error."""
        columns = {"unseen": self.warn_unseen, "out_of_range": self.warn_out_of_range}.get(kind, ())
        return column.name in columns

    def name_errors(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield a pointer and a message for each feature missing from `names`, and for each unknown name.

        What the feature store has may be missing, but not the key by which it is looked up.
        """
        missing = list(self.missing(names))
        absent = [name for name in missing if self.store and name in self.store.columns]
        if self.store and absent and self.layout(names).entity is None:
            yield f"/{escape_pointer(self.store.entity.name)}", key_missing(absent)
        for name in (name for name in missing if name not in absent):
            yield f"/{escape_pointer(name)}", "required and missing"
        for unknown, message in self._unknown(self.layout(names)):
            yield ("" if unknown is None else f"/{escape_pointer(unknown)}"), message

    def title_of(self, name: str) -> str:
        """Return what people call a column: its title, else its name."""
        return self.titles.get(name, name)

    def names_of(self, name: str) -> dict[Any, str]:
        """Return what people call the values of a feature, of those that have a name."""
        return {each.value: each.name for each in self.value_names.get(name, ())}

    def missing(self, names: Sequence[str]) -> Iterator[str]:
        """Yield the features that `names` lack."""
        layout = self.layout(names)
        yield from (name for name, key in zip(self.names, layout.columns, strict=True) if key is None)

    def layout(self, names: Iterable[str]) -> Layout:
        """Return what the keys of a row, or of a header, stand for."""
        return self._fields.layout(tuple(names))

    def uses(self, names: Sequence[str]) -> set[str | None]:
        """Return those of `names` that are a feature, the id or the key of a feature store."""
        layout = self.layout(names)
        return {*layout.columns, layout.id, layout.entity}

    def _unknown(self, layout: Layout) -> Iterator[tuple[str | None, str]]:
        for key in layout.unknown[:MAX_ERRORS]:
            if len(key) > MAX_KEY_LENGTH:  # too long to repeat in a response
                yield None, f"unknown field {quoted(key)}"
                continue
            yield key, f"unknown field; known: {', '.join([*self.names, *([self.id] if self.id else [])])}"

    @cached_property
    def _fields(self) -> FieldNames:
        entity = self.store.entity.name if self.store else None
        return FieldNames(self.names, self.id, (self.target, *self.left_out), self.reading, entity)

    # Computed once: a single row is read in less time than these take.
    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the features."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def public(self) -> tuple[int, ...]:
        """Places of the features that may be stored with predictions."""
        return tuple(place for place, name in enumerate(self.names) if name not in self.private)

    @cached_property
    def public_names(self) -> list[str]:
        """Names of the features that may be stored with predictions."""
        return [self.names[place] for place in self.public]

    @cached_property
    def negative_first(self) -> tuple[Label, ...]:
        """The labels, of which a binary model's positive one is the last."""
        return tuple(sorted(self.labels, key=lambda label: label.value == self.positive))

    @cached_property
    def _types(self) -> tuple[Type, ...]:
        return tuple(column.type for column in self.columns)


def key_missing(columns: Sequence[str]) -> str:
    """Return the message for a row that has neither these columns nor the key by which they are looked up."""
    return f"required and missing: by it the feature store is asked for {', '.join(columns)}"


def escape_pointer(key: object) -> str:
    """Escape a key for a JSON Pointer (RFC 6901)."""
    return str(key).replace("~", "~0").replace("/", "~1")
