"""What the columns of a file are for: id, categories, text or ignored; and the task that the target suggests."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from updraft.model.columns import DATE
from updraft.model.signature import Task
from updraft.new.column_types import ColumnProfile, Role

CATEGORIES = 254  # that HistGradientBoosting keeps apart
MIN_ROWS_FOR_ID = 20  # in fewer rows any column may be unique by chance
# Whole numbers are codes when there are few of them and each has 20 rows on average: in a small file a dozen different
# numbers may as well be amounts. A name such as "region" makes more of them plausible.
MAX_CODES, MIN_ROWS_PER_CODE = 12, 20
# A column is free text, not categories, when values seldom repeat and are as long as a sentence.
TEXT_DISTINCT, TEXT_WORDS, TEXT_LENGTH = 0.3, 5, 50
# Short values of which most occur once are names or codes that the next rows will not repeat.
MOSTLY_DISTINCT, MIN_ROWS_FOR_DISTINCT = 0.5, 100
MAX_NUMERIC_LABELS, MAX_LABELS = (
    10,
    50,
)  # a number with up to 10 values may be a label; nobody names more than 50 labels
MIN_ROWS_PER_LABEL = 30  # with fewer, the test rows hold a handful, and a metric over them is chance
UNEVEN = 0.05  # share of the rarest label below which a model that never predicts it still has a high accuracy
ABOUT_EVEN = 0.45  # share from which the rarer of two labels says nothing about which one is looked for
YES = ("1", "1.0", "true", "yes", "y", "t", "positive", "pos")

ID = re.compile(r"(^|[_\s-])(id|uuid|guid|key|pk|index|idx|reference|ref|row|rowid)$|[a-z](Id|ID)$", re.I)
ID_LIKE = re.compile(r"(^|[_\s-])(id|uuid|guid|key)$|[a-z](Id|ID)$")
CODE = re.compile(r"code|type|class|categ|region|channel|status|zip|postal|group|kind|flag|licen[cs]e", re.I)
AMOUNT = re.compile(
    r"(^|_)(counts?|nums?|age|score|rating|qty|quantity)(_|$)|year|rooms?$|doors|seats|passenger|hours?$|days?$", re.I
)
SAVED_INDEX = re.compile(r"Unnamed: \d+([._]\d+)?|index_level_\d+__", re.I)  # as pandas names it, renamed for MongoDB
PREDICTED = re.compile(r"^(y_?)?(pred|prediction|predicted|proba|score_of)(_|$)|y_pred", re.I)


def assign_roles(columns: list[ColumnProfile], target: str) -> None:
    """Guess each column's role, with the reason. The first id found becomes the id, further ones are ignored."""
    for column in columns:
        if column.name == target:
            column.role = "target"
            continue
        column.role, why = _role(column, any(other.role == "id" for other in columns))
        spaces = "surrounding spaces are stripped" if column.casts == ("strip",) else ""
        column.why = "; ".join(filter(None, (why, column.why, spaces)))
        if column.role == "text":
            column.casts, column.notes = (), []  # TF-IDF ignores surrounding spaces


def _role(column: ColumnProfile, has_id: bool) -> tuple[Role, str]:
    rows, distinct = len(column.values), column.distinct
    if distinct == 1 and not column.nulls:
        return "ignored", f"always {_to_python(column.values.iloc[0])!r}"
    if SAVED_INDEX.fullmatch(column.name) and column.type in ("int64", "float64") and column.whole:
        column.notes.append("row numbers that pandas saved with the file: left out.")
        return "ignored", "row numbers that pandas saved"
    if _identifies(column):
        return ("ignored", "unique too, and there is an id already") if has_id else ("id", "unique in each row")
    if PREDICTED.search(column.name):
        column.notes.append("by its name it is another model's prediction: left out.")
        return "ignored", "a prediction by its name"
    if column.type == "str":
        return _role_of_text(column)
    if column.type in ("int64", "float64") and column.whole and _is_code(column):
        return "categorical", f"{distinct} codes"
    if ID_LIKE.search(column.name) and column.whole and distinct > rows / MIN_ROWS_PER_CODE:
        column.notes.append(
            f"an id of something that has {rows / distinct:.1f} rows on average: left out. "
            f"Should rows of one {column.name} stay together? Then set `split: {{by: group, column: {column.name}}}`."
        )
        return "ignored", "an id of something else"
    return "feature", ""


def _role_of_text(column: ColumnProfile) -> tuple[Role, str]:
    present = column.values.dropna()
    sample = present.sample(min(len(present), 2000), random_state=0)
    words, distinct = sample.map(lambda text: len(text.split())).mean(), column.distinct
    if distinct > TEXT_DISTINCT * len(present) and (words >= TEXT_WORDS or sample.str.len().mean() >= TEXT_LENGTH):
        return "text", f"{words:.0f} words on average"
    if distinct > MOSTLY_DISTINCT * len(present) and len(present) > MIN_ROWS_FOR_DISTINCT:
        column.notes.append(f"{distinct:,} different values in {len(present):,} rows predict little: left out.")
        return "ignored", "most values occur once"
    if distinct > CATEGORIES:
        column.notes.append(
            f"{distinct:,} categories: HistGradientBoosting merges all but the {CATEGORIES} most common ones."
        )
    return "categorical", f"{distinct:,} value{'s' * (distinct > 1)}"


def _identifies(column: ColumnProfile) -> bool:
    """Whether a column's values are unique and look like an id: by name, as one word each, or as a sequence."""
    values = column.values
    if column.nulls or column.distinct < len(values) or column.type in (DATE, "bool"):
        return False
    if len(values) < MIN_ROWS_FOR_ID:
        return False
    if column.type == "str":
        is_word = not column.number_like and not values.head(500).str.contains(r"\s").any()
        return bool(ID.search(column.name)) or is_word
    if not column.whole:
        return False
    counts_rows = int(values.max()) - int(values.min()) == len(values) - 1  # in whatever order
    return bool(ID.search(column.name)) or counts_rows


def _is_code(column: ColumnProfile) -> bool:
    most = len(column.values) / MIN_ROWS_PER_CODE
    if AMOUNT.search(column.name):
        return False
    if CODE.search(column.name) or ID_LIKE.search(column.name):
        return 2 <= column.distinct <= min(CATEGORIES, most)
    return 2 <= column.distinct <= MAX_CODES and column.distinct < most


@dataclass
class TargetSpec:
    """The guessed task of a target, its labels (the rarest of two last), the positive one, and notes."""

    task: Task
    labels: list[Any] = field(default_factory=list)
    positive: Any = None
    notes: list[str] = field(default_factory=list)


def guess_target(column: ColumnProfile, task: Task | None) -> TargetSpec:
    """Guess the task from the target's values, unless it is passed; raise ValueError when they do not suit it."""
    counts = column.counts()
    number = column.type in ("int64", "float64")
    if column.type == DATE:
        raise ValueError(f"{column.name!r} contains dates, which no estimator here predicts")
    if len(counts) < 2:
        raise ValueError(f"{column.name!r} is always {_to_python(counts.index[0])!r}: there is nothing to learn")
    chosen = task or _guess_task(column, counts)
    if chosen == "regression":
        if not number:
            raise ValueError(f"{column.name!r} is {column.type}, and a regression needs numbers")
        few = f"only {len(counts)} different values: should it be --task multiclass?"
        return TargetSpec("regression", notes=[few] if len(counts) <= MAX_NUMERIC_LABELS and not task else [])
    if not column.whole and number:
        raise ValueError(f"{column.name!r} contains fractions, which cannot be labels")
    if (len(counts) == 2) != (chosen == "binary"):
        raise ValueError(
            f"{column.name!r} has {len(counts)} different values, expected {'two' if chosen == 'binary' else 'more'}"
        )
    if len(counts) > MAX_LABELS:
        some = ", ".join(repr(_to_python(label)) for label in counts.index[:3])
        raise ValueError(f"{column.name!r} has {len(counts):,} different values, such as {some}: too many for labels")
    return _with_labels(chosen, column, counts)


def _with_labels(task: Task, column: ColumnProfile, counts: pd.Series[int]) -> TargetSpec:
    spec = TargetSpec(task, sorted(_to_python(value) for value in counts.index))
    if task == "binary":
        spec.positive = _to_python(_positive(counts))
        spec.labels.sort(key=lambda label: label == spec.positive)
        share = (column.values.dropna() == spec.positive).mean()
        spec.notes.append(
            f"positive is {spec.positive!r}, {share:.1%} of the rows: a guess; set `positive` to the label of interest."
        )
    elif column.type in ("int64", "float64"):
        spec.notes.append(
            f"{len(counts)} whole numbers are taken as labels; if their order matters, use --task regression."
        )
    rare = [f"{_to_python(label)!r} ({count:,})" for label, count in counts.items() if count < MIN_ROWS_PER_LABEL]
    if rare:
        some = ", ".join(rare[:5])
        spec.notes.append(f"labels with fewer than {MIN_ROWS_PER_LABEL} rows: {some}; their metrics are unreliable.")
    elif counts.min() < UNEVEN * counts.sum():
        share = f"{_to_python(counts.index[-1])!r} is {counts.min() / counts.sum():.1%}"
        spec.notes.append(f"labels are imbalanced: {share}. Accuracy is not informative.")
    return spec


def _guess_task(column: ColumnProfile, counts: pd.Series[int]) -> Task:
    if len(counts) == 2 and column.whole | (column.type not in ("int64", "float64")):
        return "binary"
    if column.type == "str":
        return "multiclass"
    # Grades or ratings are labels where each has rows to learn from; otherwise few values only mean few rows.
    few = len(counts) <= MAX_NUMERIC_LABELS and counts.min() >= 5 and len(column.values) >= 20 * len(counts)
    return "multiclass" if column.whole and few else "regression"


def _positive(counts: pd.Series[int]) -> Any:
    """Return the rarer label; where both are about as common, the one that reads like a yes."""
    if counts.iloc[-1] < ABOUT_EVEN * counts.sum():
        return counts.index[-1]
    yes = [label for label in counts.index if str(label).lower() in YES]
    return yes[0] if yes else counts.index[-1]


def _to_python(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, (float, bool)) else value


def duplicates(columns: Iterable[ColumnProfile]) -> float:
    """Return the share of rows that repeat another one in all columns but the id."""
    frame = pd.DataFrame({column.name: column.values for column in columns if column.role != "id"})
    return float(pd.util.hash_pandas_object(frame, index=False).duplicated().mean())
