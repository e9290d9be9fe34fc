"""What the columns of a file are for: the id, categories, texts, what is left out; and what the target asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from updraft.model.columns import DATE
from updraft.model.signature import Task
from updraft.new.column_types import Role, Seen

CATEGORIES = 254  # that HistGradientBoosting tells apart
ID = re.compile(r"(^|[_\s-])(id|uuid|guid|key|pk|index|idx|reference|ref|row|rowid)$|[a-z](Id|ID)$", re.I)
ID_LIKE = re.compile(r"(^|[_\s-])(id|uuid|guid|key)$|[a-z](Id|ID)$")
CODE = re.compile(r"code|type|class|categ|region|channel|status|zip|postal|group|kind|flag|licen[cs]e", re.I)
AMOUNT = re.compile(
    r"(^|_)(counts?|nums?|age|score|rating|qty|quantity)(_|$)|year|rooms?$|doors|seats|passenger|hours?$|days?$", re.I
)
PREDICTED = re.compile(r"^(y_?)?(pred|prediction|predicted|proba|score_of)(_|$)|y_pred", re.I)


def give_roles(columns: list[Seen], target: str) -> None:
    """Guess each column's role, with the reason; the first that is an id becomes the id, others are ignored."""
    for column in columns:
        if column.name == target:
            column.role = "target"
            continue
        column.role, why = _role(column, any(each.role == "id" for each in columns))
        spaces = "spaces around some are taken away" if column.casts == ("strip",) else ""
        column.why = "; ".join(filter(None, (why, column.why, spaces)))
        if column.role == "text":
            column.casts, column.notes = (), []  # spaces around a text are of no account


def _role(column: Seen, has_id: bool) -> tuple[Role, str]:
    rows, distinct = len(column.values), column.distinct
    if distinct == 1 and not column.nulls:
        return "ignored", f"always {_plain(column.values.iloc[0])!r}"
    if _identifies(column):
        return ("ignored", "unique too, and there is an id already") if has_id else ("id", "a value of its own per row")
    if PREDICTED.search(column.name):
        column.notes.append("the name says that it is what another model predicted: left out.")
        return "ignored", "a prediction by its name"
    if column.type == "str":
        return _role_of_text(column)
    if column.type in ("int64", "float64") and column.whole and _is_code(column):
        return "categorical", f"{distinct} codes"
    if ID_LIKE.search(column.name) and column.whole and distinct > rows / 20:
        column.notes.append(
            f"an id of something that has {rows / distinct:.1f} rows on average: left out. "
            f"Should rows of one {column.name} stay together? Then set `split: {{by: group, column: {column.name}}}`."
        )
        return "ignored", "an id of something else"
    return "feature", ""


def _role_of_text(column: Seen) -> tuple[Role, str]:
    there = column.values.dropna()
    sample = there.sample(min(len(there), 2000), random_state=0)
    words, distinct = sample.map(lambda text: len(text.split())).mean(), column.distinct
    if distinct > 0.3 * len(there) and (words >= 5 or sample.str.len().mean() >= 50):
        return "text", f"{words:.0f} words on average"
    if distinct > 0.5 * len(there) and len(there) > 100:
        column.notes.append(f"{distinct:,} different values in {len(there):,} rows say little: left out.")
        return "ignored", "nearly every value is another"
    if distinct > CATEGORIES:
        column.notes.append(
            f"{distinct:,} categories: HistGradientBoosting puts all but the {CATEGORIES} commonest together."
        )
    return "categorical", f"{distinct:,} value{'s' * (distinct > 1)}"


def _identifies(column: Seen) -> bool:
    values = column.values
    if column.nulls or column.distinct < len(values) or column.type in (DATE, "bool") or len(values) < 20:
        return False
    if column.type == "str":
        return bool(ID.search(column.name)) or not values.head(500).str.contains(r"\s").any()
    if not column.whole:
        return False
    return bool(ID.search(column.name)) or bool((values.diff().dropna() == 1).all())


def _is_code(column: Seen) -> bool:
    few = 2 <= column.distinct <= 12 and column.distinct < len(column.values) / 20
    if AMOUNT.search(column.name):
        return False
    named = bool(CODE.search(column.name) or ID_LIKE.search(column.name))
    return few or (named and 2 <= column.distinct <= min(CATEGORIES, len(column.values) / 20))


@dataclass
class Goal:
    """What is learned of the target, as guessed: task, labels (rarest last), the positive one."""

    task: Task
    labels: list[Any] = field(default_factory=list)
    positive: Any = None
    notes: list[str] = field(default_factory=list)


def goal(column: Seen, told: Task | None) -> Goal:
    """Guess the task from the target's values; raise ValueError when they serve none, or not the one that was told."""
    counts = column.counts()
    number = column.type in ("int64", "float64")
    if column.type == DATE:
        raise ValueError(f"{column.name!r} holds dates, and nothing here learns dates")
    if len(counts) < 2:
        raise ValueError(f"{column.name!r} is always {_plain(counts.index[0])!r}: there is nothing to learn")
    task = told or _task(column, counts)
    if task == "regression":
        if not number:
            raise ValueError(f"{column.name!r} holds {column.type}, and a regression needs numbers")
        few = f"only {len(counts)} different values: should it be --task multiclass?" if len(counts) <= 10 else None
        return Goal("regression", notes=[few] if few and not told else [])
    if not column.whole and number:
        raise ValueError(f"{column.name!r} holds fractions, which are no labels")
    if (len(counts) == 2) != (task == "binary"):
        raise ValueError(
            f"{column.name!r} has {len(counts)} different values, expected {'two' if task == 'binary' else 'more'}"
        )
    if len(counts) > 50:
        some = ", ".join(repr(_plain(label)) for label in counts.index[:3])
        raise ValueError(f"{column.name!r} has {len(counts):,} different values, such as {some}: too many for labels")
    return _labelled(task, column, counts)


def _labelled(task: Task, column: Seen, counts: pd.Series[int]) -> Goal:
    made = Goal(task, sorted(_plain(value) for value in counts.index))
    if task == "binary":
        made.positive = _plain(_positive(counts))
        made.labels.sort(key=lambda label: label == made.positive)
        share = (column.values.dropna() == made.positive).mean()
        made.notes.append(
            f"positive is {made.positive!r}, {share:.1%} of the rows: a guess; `positive` says what is looked for."
        )
    elif column.type in ("int64", "float64"):
        made.notes.append(
            f"{len(counts)} whole numbers are taken for labels; where more is more, use --task regression."
        )
    rare = [f"{_plain(label)!r} ({count:,})" for label, count in counts.items() if count < 30]
    if rare:
        made.notes.append(
            f"labels with fewer than 30 rows: {', '.join(rare[:5])}; what is measured of them means little."
        )
    elif counts.min() < 0.05 * counts.sum():
        share = f"{_plain(counts.index[-1])!r} is {counts.min() / counts.sum():.1%}"
        made.notes.append(f"labels are uneven: {share}. Accuracy says little.")
    return made


def _task(column: Seen, counts: pd.Series[int]) -> Task:
    if len(counts) == 2 and column.whole | (column.type not in ("int64", "float64")):
        return "binary"
    if column.type == "str":
        return "multiclass"
    few = len(counts) <= 10 and counts.min() >= 5 and len(column.values) >= 20 * len(counts)
    return "multiclass" if column.whole and few else "regression"


def _positive(counts: pd.Series[int]) -> Any:
    """Return the rarer label; where they are about even, the one that sounds like a yes."""
    if counts.iloc[-1] < 0.45 * counts.sum():
        return counts.index[-1]
    yes = [
        label
        for label in counts.index
        if str(label).lower() in ("1", "1.0", "true", "yes", "y", "t", "positive", "pos")
    ]
    return yes[0] if yes else counts.index[-1]


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, (float, bool)) else value


def duplicates(columns: Iterable[Seen]) -> float:
    """Return the share of rows that repeat another in all columns but the id."""
    frame = pd.DataFrame({column.name: column.values for column in columns if column.role != "id"})
    return float(pd.util.hash_pandas_object(frame, index=False).duplicated().mean())
