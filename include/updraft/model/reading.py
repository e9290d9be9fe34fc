"""How a source writes its rows: the `read` block of a YAML, which a model's signature carries into the service."""

from __future__ import annotations

import codecs
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from updraft.model.casts import Cast

NONE = "none"
Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
Casts = Annotated[tuple[Cast, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


def _encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError(
            f"{name!r} is not an encoding that Python supports, such as utf-8, latin-1 or cp1252"
        ) from None


def _character(text: str) -> str:
    if len(text) != 1 or not text.isascii() or text in "\r\n\0":
        raise ValueError(f'{text!r} is not one ASCII character, such as ; or "')
    return text


def _quote(text: str) -> str:
    return text if text == NONE else _character(text)


Character = Annotated[str, AfterValidator(_character)]


class Reading(BaseModel):
    """How a source's values are converted to the suite's: columns renamed (source's: suite's), values cast in order.

    `nulls` are texts that mean null, such as "n/a", beside the empty field of a file. `dates` has the pattern (as in
    `strptime`) of dates that are not ISO 8601. The first five are those of a text file. The default delimiter of a .tsv
    file is the tab. A field may stand in a pair of `quote`, in which two of them are one; with `none` a quote is a
    character as any other. After `escape` a delimiter or quote is a character as any other. Without a header (`none`)
    the columns are called column_1, column_2 and so on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoding: Annotated[str, AfterValidator(_encoding)] = "utf-8"
    delimiter: Character = ","
    quote: Annotated[str, AfterValidator(_quote)] = '"'
    escape: Character | None = None
    header: Literal["none"] | None = None
    rename: dict[str, str] = Field(default_factory=dict)
    casts: dict[str, Casts] = Field(default_factory=dict)
    dates: dict[str, str] = Field(default_factory=dict)
    nulls: Names = ()

    @model_validator(mode="after")
    def _differ(self) -> Reading:
        marks = {"delimiter": self.delimiter, "quote": self.quote, "escape": self.escape}
        same = [name for name, mark in marks.items() if mark and list(marks.values()).count(mark) > 1]
        if same:
            raise ValueError(f"{' and '.join(same)} are both {marks[same[0]]!r}")
        return self
