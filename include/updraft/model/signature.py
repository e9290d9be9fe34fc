"""`Signature`: what a model takes and answers, and the check of raw rows against it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from updraft.model.columns import Column, Value, ViolationKind, quoted
from updraft.model.task import Task as Task

if TYPE_CHECKING:
    import pandas as pd

MAX_ERRORS, MAX_KEY_LENGTH = 100, 200

Fault = dict[str, str]  # a JSON Pointer and a sentence
Cell = Value | datetime | None
MakePointer = Callable[[int, str | None], str]  # the JSON Pointer of a row, or of one of its fields, by its name


def row_pointer(index: int, name: str | None) -> str:
    """Point into a body whose `rows` is a list, or into the rows of a CSV or of JSON lines, counted from 0."""
    return f"/rows/{index}" if name is None else f"/rows/{index}/{escape_pointer(name)}"


def single_row_pointer(index: int, name: str | None) -> str:
    """Point into a body that is one row."""
    return "" if name is None else f"/{escape_pointer(name)}"


def column_pointer(index: int, name: str | None) -> str:
    """Point into a body whose `columns` holds a list for each column."""
    return "/columns" if name is None else f"/columns/{escape_pointer(name)}/{index}"


class BadRow(ValueError):
    """Rows that do not fit the signature: `errors` holds a JSON Pointer and a sentence for each fault, 100 at most."""

    def __init__(self, errors: list[Fault]) -> None:
        self.errors = errors
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(f"{first['pointer']}: {first['detail']}{more}")


@dataclass(frozen=True)
class Rows:
    """Rows that a model takes: the values of each feature, in the signature's order, and what they were let pass with.

    There are 100 `warnings` at most.
    """

    names: tuple[str, ...]
    columns: Sequence[Sequence[Cell]]
    types: tuple[str, ...]
    warnings: list[Fault]

    def __len__(self) -> int:
        return len(self.columns[0])

    def frame(self) -> pd.DataFrame:
        """Make the frame that the model takes: one column each feature, dtypes of the suite."""
        import numpy as np
        import pandas as pd

        arrays = {
            name: pd.array(values, dtype="str") if type_ == "str" else np.array(values, dtype=type_)  # type: ignore[call-overload]
            for name, values, type_ in zip(self.names, self.columns, self.types, strict=True)
        }  # arrays, not series: one row costs a fifth of the time
        return pd.DataFrame(arrays)


class Label(BaseModel):
    """A value of the target and what people call it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: int | str
    name: str


class Signature(BaseModel):
    """What a model takes and answers; travels with it as `signature.json`, so that serving reads no configuration.

    `columns` are the features. A binary model has two `labels`, a `positive` one, and a `threshold`: the least
    probability at which it is answered. A multiclass model has labels alone, a regression none of these. `example` is a
    raw row that the model takes, as JSON has it. A value that is not allowed, or out of the range, is refused unless
    `warn_unseen` or `warn_out_of_range` names its column. What `private` names is not stored with predictions.
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

    def frame(self, rows: Sequence[Any]) -> pd.DataFrame:
        """Check raw rows and make the frame that the model takes. Raises BadRow."""
        return self.check(rows).frame()

    def check(self, rows: Iterable[Any], where: MakePointer = row_pointer, *, textual: bool = False) -> Rows:
        """Check raw rows, objects of JSON or, `textual`, of texts.

        The id may be given and is passed over. Raises BadRow with every fault.
        """
        errors: list[Fault] = []
        warnings: list[Fault] = []
        checked: list[list[Cell]] = [[] for _ in self.columns]
        for index, row in enumerate(rows):
            if not isinstance(row, dict):
                errors.append({"pointer": where(index, None), "detail": f"expected an object, found {quoted(row)}"})
            else:
                for (name, message), fits in self._faults(row, checked, textual):
                    kept = warnings if fits else errors
                    if len(kept) < MAX_ERRORS:
                        kept.append({"pointer": where(index, name), "detail": message})
            if len(errors) >= MAX_ERRORS:
                break
        if errors:
            raise BadRow(errors)
        return self.rows(checked, warnings)

    def rows(self, columns: Sequence[Sequence[Cell]], warnings: Sequence[Fault] = ()) -> Rows:
        """Make rows of values that were checked, the columns in the signature's order."""
        return Rows(self.names, columns, tuple(column.type for column in self.columns), list(warnings))

    def _faults(
        self, row: dict[Any, Any], into: list[list[Cell]], textual: bool
    ) -> Iterator[tuple[tuple[str | None, str], bool]]:
        """Add a row's values `into` the columns; yield each fault's field and message, and whether it is let pass."""
        for column, values in zip(self.columns, into, strict=True):
            try:
                value = column.from_text(row[column.name]) if textual else column.convert(row[column.name])
            except KeyError:
                yield (column.name, "required and missing"), False
                continue
            except ValueError as error:
                yield (column.name, str(error)), False
                continue
            values.append(value)
            for violation in column.violations(value):
                yield (column.name, str(violation)), self.only_warns(column, violation.kind)
        yield from ((fault, False) for fault in self._unknown(row))

    def only_warns(self, column: Column, kind: ViolationKind) -> bool:
        """Tell whether a value that does not keep to this bound is answered, with a warning."""
        named = {"unseen": self.warn_unseen, "out_of_range": self.warn_out_of_range}.get(kind, ())
        return column.name in named

    def name_errors(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield a pointer and a sentence for each feature that is not among `names`, and for each unknown name."""
        for name in self.names:
            if name not in names:
                yield f"/{escape_pointer(name)}", "required and missing"
        for unknown, message in self._unknown(dict.fromkeys(names)):
            yield ("" if unknown is None else f"/{escape_pointer(unknown)}"), message

    def _unknown(self, row: dict[Any, Any]) -> Iterator[tuple[str | None, str]]:
        known = self._known
        for key in islice((key for key in row if key not in known), MAX_ERRORS):
            if len(key) > MAX_KEY_LENGTH:  # is not sent back
                yield None, f"unknown field {quoted(key)}"
                continue
            told = f"{self.target} is what is predicted" if key == self.target else f"known: {', '.join(known)}"
            yield key, f"unknown field; {told}"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features."""
        return tuple(column.name for column in self.columns)

    @property
    def _known(self) -> list[str]:
        return [*self.names, *([self.id] if self.id else [])]


def escape_pointer(key: object) -> str:
    """Escape a key for a JSON Pointer (RFC 6901)."""
    return str(key).replace("~", "~0").replace("/", "~1")
