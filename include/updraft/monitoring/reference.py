"""What training data and predictions were like, stored with each version so that drift can be detected later."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from updraft.errors import UserError
from updraft.model.columns import DATE, Column
from updraft.monitoring.distribution import Floats, count_numbers, make_edges
from updraft.monitoring.words import Vocabulary
from updraft.usecase import UseCase

REFERENCE = "reference.json"
TRAINING = "training"
FORMAT: Literal[2] = 2
MAX_VALUES = 100  # keeps reference.json small, whatever the data
KNOWN_PART = 0.8  # of the texts make the vocabulary; the others say how many unknown words are usual


class Part(BaseModel):
    """A part of `reference.json`; keys that a later version adds are ignored."""

    model_config = ConfigDict(frozen=True)


class Numbers(Part):
    """Counts of numbers in bins: see `make_edges`."""

    kind: Literal["numbers"] = "numbers"
    edges: list[float]
    counts: list[int]


class Values(Part):
    """Counts of the most common values, as text, and of the rows that have another one."""

    kind: Literal["values"] = "values"
    counts: dict[str, int]
    others: int


class Texts(Part):
    """The lengths of texts, their vocabulary, and the share of words that texts beyond it do not share with it."""

    kind: Literal["texts"] = "texts"
    lengths: Numbers
    vocabulary: str
    unknown: float


class Profile(Part):
    """A column: its rows, its nulls, and what its values were like; None where that is not watched, with the reason."""

    type: str
    rows: int
    nulls: int
    values: Annotated[Numbers | Values | Texts, Field(discriminator="kind")] | None = None
    not_watched: str = ""


class Reference(Part):
    """The columns of the training rows, features first, then the target; and the predictions of the held-out rows.

    `rows_of` is what reports call these rows: another file's may stand in for them.
    """

    format: Literal[2] = FORMAT
    rows_of: str = TRAINING
    target: str
    columns: dict[str, Profile]
    predictions: Profile | None = None


class OutdatedReference(UserError):
    """A version's `reference.json` is of another format."""


def describe(frame: pd.DataFrame, case: UseCase, predictions: np.ndarray[Any, Any]) -> Reference:
    """Describe training rows and the predictions of held-out rows.

    `predictions` are scores of shape (n,), or (n, labels) in a multiclass model, where the likeliest label counts.
    Private columns show neither values nor counts; dates are not compared, because they move on by themselves.
    """
    columns = [*case.feature_columns, case.column(case.target)]
    profiles = {column.name: _describe(frame[column.name], column, case) for column in columns}
    return Reference(target=case.target, columns=profiles, predictions=describe_predictions(predictions, case))


def describe_predictions(scores: np.ndarray[Any, Any], case: UseCase) -> Profile:
    """Describe scores: see `describe`."""
    if scores.ndim == 1:
        return Profile(type="float64", rows=len(scores), nulls=0, values=numbers(scores))
    names = pd.Series([case.labels[index].name for index in scores.argmax(axis=1)], dtype="str")
    return Profile(type="str", rows=len(scores), nulls=0, values=_values(names))


def watched_by(profile: Profile) -> str:
    """Say in words what a profile holds of a column."""
    if profile.values is None:
        return f"not watched: {profile.not_watched}"
    values = profile.values
    if values.kind == "numbers":
        return f"counts in {len(values.counts)} bins"
    if values.kind == "values":
        return f"counts of {len(values.counts)} values" + (", and of the others" if values.others else "")
    return "lengths, and words of the training texts"


def read(content: bytes, place: str) -> Reference:
    """Parse a version's `reference.json`. Raises OutdatedReference for one that another version of Updraft wrote."""
    try:
        return Reference.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        message = f"{place}: {REFERENCE} is not of format {FORMAT} ({where}: {first['msg']}); train again to watch it"
        raise OutdatedReference(message) from None


def numbers(values: Floats) -> Numbers:
    """Count numbers in bins of their own quantiles; NaN is left out."""
    present = np.asarray(values, dtype="float64")
    present = present[~np.isnan(present)]
    edges = make_edges(present)
    return Numbers(edges=edges.tolist(), counts=count_numbers(present, edges).tolist())


def _describe(values: pd.Series[Any], column: Column, case: UseCase) -> Profile:
    profile = Profile(type=column.type, rows=len(values), nulls=int(values.isna().sum()))
    if reason := _not_watched(column, case):
        return profile.model_copy(update={"not_watched": reason})
    present = values.dropna()
    if column.name in case.text:
        return profile.model_copy(update={"values": _texts(present, case.seed)})
    is_category = column.type in ("str", "bool") or column.name in {case.target, *case.categorical}
    if is_category and not (column.name == case.target and case.task == "regression"):
        return profile.model_copy(update={"values": _values(present)})
    return profile.model_copy(update={"values": numbers(present.to_numpy(dtype="float64"))})


def _not_watched(column: Column, case: UseCase) -> str:
    if column.name in case.serving.private:
        return "it is private"
    return "dates move on by themselves" if column.type == DATE else ""


def _values(present: pd.Series[Any]) -> Values:
    counts = present.astype(str).value_counts().head(MAX_VALUES)
    return Values(counts={str(value): int(n) for value, n in counts.items()}, others=len(present) - int(counts.sum()))


def _texts(present: pd.Series[Any], seed: int) -> Texts:
    shuffled = present.iloc[np.random.default_rng(seed).permutation(len(present))]
    known = Vocabulary.of(shuffled.iloc[: int(KNOWN_PART * len(present))])
    words, unknown = known.count_unknown(shuffled.iloc[int(KNOWN_PART * len(present)) :])
    lengths = numbers(np.asarray(present.str.len(), dtype="float64"))
    return Texts(lengths=lengths, vocabulary=known.encode(), unknown=unknown / max(words, 1))
