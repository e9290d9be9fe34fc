"""What the prediction log holds: an answered request, and true labels that came later; one line of JSON each.

A prediction's id is `<request id>.<row index>`. A request id is 32 hex digits: 12 of the time in milliseconds, so that
ids sort by it, and 20 drawn at random (80 bits), so that nobody guesses another's.
"""

from __future__ import annotations

import os
import re
import time
from typing import Annotated, Any

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder, Encoder

PREDICTION_ID = r"^[0-9a-f]{32}\.(0|[1-9][0-9]{0,8})$"

Truth = int | float | str
RequestId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
PredictionId = Annotated[str, Meta(pattern=PREDICTION_ID)]
Version = Annotated[int, Meta(ge=0, le=2**53)]


class Entry(Struct, frozen=True, tag="prediction", tag_field="record", kw_only=True):
    """An answered request to POST /predict/<use case>.

    `at` is its arrival in Unix seconds, `seconds` the time to its answer. `kind` is that of the error, None when it was
    answered. `rows` are checked values (int, float, str, bool, datetime, None) in the order of `columns`, without the
    private ones; both are empty when it was refused, and so are `predictions`.

    `use_case` must be a known one: each has totals that stay.
    """

    id: str
    at: float
    use_case: str
    version: int | None
    status: int
    seconds: float
    kind: str | None = None
    columns: list[str] = []
    rows: list[list[Any]] = []
    predictions: list[Any] = []
    labels: list[str] | None = None
    probabilities: list[float] | list[dict[str, float]] | None = None


class Feedback(Struct, frozen=True, tag="feedback", tag_field="record"):
    """True labels, as values of the target, by prediction id; `at` in Unix seconds."""

    at: float
    truths: list[tuple[PredictionId, Truth]]


class StoredEntry(Struct, frozen=True, tag="prediction", tag_field="record"):
    """An `Entry` as it is read back: rows stay the JSON that they are."""

    id: RequestId
    at: float
    use_case: str
    version: Version | None
    status: int
    seconds: float
    kind: str | None
    columns: Raw
    rows: list[Raw]
    predictions: list[int | float | str | bool | None]
    labels: list[str] | None
    probabilities: list[float | dict[str, float] | None] | None


def new_id() -> str:
    """Draw a request id."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def prediction_id(request: str, row: int) -> str:
    """Name the prediction of a request's row, counted from 0."""
    return f"{request}.{row}"


def parse_id(text: str) -> tuple[str, int]:
    """Split a prediction id into the request's and the row; ValueError when it is none."""
    if not re.fullmatch(PREDICTION_ID, text):
        raise ValueError("expected 32 hex digits, a dot and a row's index")
    request, _, row = text.partition(".")
    return request, int(row)


def _plain(value: Any) -> Any:
    """Say what msgspec does not know: a NumPy scalar as the number it holds, anything else as text."""
    return value.item() if hasattr(value, "item") else str(value)


ENCODER = Encoder(enc_hook=_plain)  # NaN and Infinity come out as null
DECODER = Decoder(StoredEntry | Feedback)
