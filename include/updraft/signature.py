"""`Signature`: what a model takes and answers, and the check of raw rows against it."""

from __future__ import annotations

from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from updraft.suite import Column, shown

if TYPE_CHECKING:
    import pandas as pd

MAX_ERRORS, LONGEST_KEY = 100, 200

Task = Literal["binary", "multiclass", "regression"]


class BadRow(ValueError):
    """Rows that do not fit the signature: `errors` holds a JSON Pointer and a sentence for each fault, 100 at most."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        self.errors = errors
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(f"{first['pointer']}: {first['detail']}{more}")


class Label(BaseModel):
    """A value of the target and what people call it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: int | str
    name: str


class Signature(BaseModel):
    """What a model takes and answers; travels with it as `signature.json`, so that serving reads no configuration.

    `columns` are the features. A binary model has two `labels`, a `positive` one, and a `threshold`: the least
    probability at which it is answered. A multiclass model has labels alone, a regression none of these. `example` is a
    raw row that the model takes, as JSON has it.
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

    def frame(self, rows: list[Any]) -> pd.DataFrame:
        """Check raw rows and make the frame that the model takes: one column each feature, dtypes of the suite.

        The id may be given and is passed over. Raises BadRow with every fault.
        """
        errors: list[dict[str, str]] = []
        checked = []
        for index, row in enumerate(rows):
            checked.append(self._row(row, f"/rows/{index}", errors))
            if len(errors) >= MAX_ERRORS:
                break
        if errors:
            raise BadRow(errors[:MAX_ERRORS])
        import pandas as pd

        names = [column.name for column in self.columns]
        return pd.DataFrame(checked, columns=names).astype({c.name: c.type for c in self.columns})

    def _row(self, row: object, pointer: str, errors: list[dict[str, str]]) -> list[Any]:
        if not isinstance(row, dict):
            errors.append({"pointer": pointer, "detail": f"expected an object, found {shown(row)}"})
            return []
        values: list[Any] = []
        for column in self.columns:
            try:
                values.append(column.check(row[column.name]))
            except KeyError:
                errors.append({"pointer": f"{pointer}/{_escape(column.name)}", "detail": "required and missing"})
            except ValueError as error:
                errors.append({"pointer": f"{pointer}/{_escape(column.name)}", "detail": str(error)})
        known = self._known
        for key in islice((key for key in row if key not in known), MAX_ERRORS):
            if len(key) > LONGEST_KEY:  # is not sent back
                errors.append({"pointer": pointer, "detail": f"unknown field {shown(key)}"})
                continue
            told = f"{self.target} is what is predicted" if key == self.target else f"known: {', '.join(known)}"
            errors.append({"pointer": f"{pointer}/{_escape(key)}", "detail": f"unknown field; {told}"})
        return values

    @cached_property
    def _known(self) -> list[str]:
        return [column.name for column in self.columns] + ([self.id] if self.id else [])


def _escape(key: object) -> str:
    """Escape a key for a JSON Pointer (RFC 6901)."""
    return str(key).replace("~", "~0").replace("/", "~1")
