"""The records of the prediction log: a request with its predictions, and true labels; one JSON line each.

A prediction's id is `<request id>.<row index>`. A request id is 32 hex digits: 12 for the time in milliseconds, so that
ids sort by time, and 20 random ones (80 bits), so that nobody can guess another caller's id and label its predictions.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder, Encoder

SHADOW = "shadow"  # the kind of a shadow's entry
RANDOM_BYTES, MADE_AT_ONCE = 10, 256
PREDICTION_ID = r"^[0-9a-f]{32}\.(0|[1-9][0-9]{0,8})$"

Truth = int | float | str
RequestId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
PredictionId = Annotated[str, Meta(pattern=PREDICTION_ID)]
Version = Annotated[int, Meta(ge=0, le=2**53)]


class Entry(Struct, frozen=True, tag="prediction", tag_field="record", kw_only=True):
    """A request to POST /predict/<use case> and its predictions.

    `at` is its arrival in Unix seconds, `seconds` the response time. `kind` is the kind of error, None for a success,
    SHADOW for what a version that is tried as a shadow would have answered, or why it could not: no answer.
    `rows` are checked values (int, float, str, bool, datetime, None) in the order of `columns`, without the private
    ones. `columns`, `rows` and `predictions` are empty if the request was refused.

    `use_case` must be a known one: each use case has totals that are never deleted.
    """

    id: str
    at: float
    use_case: str
    version: int | None
    status: int
    seconds: float
    kind: str | None = None
    columns: list[str] = []
    rows: Sequence[Sequence[Any]] = []
    predictions: list[Any] = []
    labels: list[str] | None = None
    probabilities: list[float] | list[dict[str, float]] | None = None


class ShadowEntry(Entry, frozen=True, tag="shadow", tag_field="record", kw_only=True):
    """What a shadow would have answered to the request that `answer` is the id of: by it labels reach both versions."""

    answer: str


class Feedback(Struct, frozen=True, tag="feedback", tag_field="record"):
    """True labels, as values of the target, by prediction id; `at` is in Unix seconds."""

    at: float
    truths: list[tuple[PredictionId, Truth]]


class StoredEntry(Struct, frozen=True, tag="prediction", tag_field="record"):
    """An `Entry` as read from the spool. Rows stay raw JSON: SQLite stores them as text, so parsing would be wasted."""

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


class StoredShadow(StoredEntry, frozen=True, tag="shadow", tag_field="record"):
    """A `ShadowEntry` as read from the spool."""

    answer: RequestId


_random: deque[str] = deque()  # many at a time: a system call for each would cost as much as decoding a row
os.register_at_fork(after_in_child=_random.clear)  # a child must not give out its parent's


def new_id() -> str:
    """Return a new request id."""
    try:
        random = _random.pop()
    except IndexError:
        text = os.urandom(RANDOM_BYTES * MADE_AT_ONCE).hex()
        _random.extend(text[start : start + 2 * RANDOM_BYTES] for start in range(0, len(text), 2 * RANDOM_BYTES))
        return new_id()
    return f"{time.time_ns() // 1_000_000:012x}{random}"


def prediction_id(request: str, row: int) -> str:
    """Return the id of a row's prediction; rows count from 0."""
    return f"{request}.{row}"


def parse_id(text: str) -> tuple[str, int]:
    """Split a prediction id into request id and row; ValueError when it is malformed."""
    if not re.fullmatch(PREDICTION_ID, text):
        raise ValueError("expected 32 hex digits, a dot and a row index")
    request, _, row = text.partition(".")
    return request, int(row)


def _encode_unknown(value: Any) -> Any:
    """Convert what msgspec cannot encode: a NumPy scalar to a Python number, anything else to text."""
    return value.item() if hasattr(value, "item") else str(value)


ENCODER = Encoder(enc_hook=_encode_unknown)  # encodes NaN and Infinity as null
DECODER = Decoder(StoredEntry | StoredShadow | Feedback)
