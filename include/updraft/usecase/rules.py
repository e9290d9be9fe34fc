"""What fits the blocks of a YAML and does not fit together, or does not fit the columns of the suite."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import get_args

from updraft.model.columns import DATE, Column
from updraft.usecase import demo_block, demo_rules
from updraft.usecase.blocks import NO_TEXT, GroupSplit, Regressor, TimeSplit
from updraft.usecase.messages import listed, nearest
from updraft.usecase.schema import UseCase
from updraft.usecase.yaml_lines import Place

Faults = Iterator[tuple[Place, str]]
FITTING = {"int64": (int,), "float64": (int, float), "str": (str,), "bool": (bool, int)}  # of a label, by type
EXCLUSIVE = ("target", "id", "ignored", "text", "categorical", "slices")
CAST_TO = {"number_from_text": ("int64", "float64"), "decimal_comma": ("float64",), "boolean_from_text": ("bool",)}
COMPATIBLE = ({"text", "slices"}, {"categorical", "slices"}, {"ignored", "slices"})
SIDE = re.compile(r"[\w-]+")


def cross_field_errors(case: UseCase, names: Iterable[str], doubtful: set[str]) -> Faults:
    """Yield the place and the message of each fault; `names` are the suite's columns, typed or not.

    A check is left out when a key that it goes by is `doubtful`, because it would tell of the same mistake again.
    """
    for check, keys in CHECKS.items():
        if not keys & doubtful:
            yield from check(case)
    if known := list(names):
        yield from _unknown_columns(case, known, doubtful)


def _unknown_columns(case: UseCase, known: list[str], doubtful: set[str]) -> Faults:
    for place, name in _named(case):
        if name not in known and place[0] not in doubtful:
            yield place, f"{_dotted(place)}: no column {name!r} in the suite{nearest(name, known)}"


def _named(case: UseCase) -> Iterator[tuple[Place, str]]:
    """Yield every place that names a column, and the column."""
    for role in EXCLUSIVE:
        yield from ((place, name) for place, name in _in_role(case, role) if name)
    if isinstance(case.split, TimeSplit | GroupSplit):
        yield ("split", "column"), case.split.column
    yield from ((("read", "rename", theirs), ours) for theirs, ours in case.read.rename.items())
    yield from ((("read", "casts", name), name) for name in case.read.casts)
    yield from ((("read", "dates", name), name) for name in case.read.dates)
    yield from _in_serving(case)
    yield from ((("demo", "columns", name), name) for name in case.demo.columns)
    yield from ((("demo", "nulls", name), name) for name in case.demo.nulls)
    yield from ((("demo", "signal", name), name) for name in case.demo.signal)
    for name, shape in case.demo.columns.items():
        if isinstance(shape, demo_block.Given):
            yield ("demo", "columns", name, "given"), shape.given


def _in_role(case: UseCase, role: str) -> Iterator[tuple[Place, str]]:
    names = getattr(case, role)
    if names is None or isinstance(names, str):
        yield (role,), names or ""
    elif isinstance(names, dict):
        yield from (((role, name), name) for name in names)
    else:
        yield from (((role, str(index)), name) for index, name in enumerate(names))


def _in_serving(case: UseCase) -> Iterator[tuple[Place, str]]:
    yield from ((("serving", "unseen", name), name) for name in case.serving.unseen)
    yield from ((("serving", "out_of_range", name), name) for name in case.serving.out_of_range)
    yield from ((("serving", "private", str(index)), name) for index, name in enumerate(case.serving.private))


def _roles(case: UseCase) -> Faults:
    """A column has one role; a category, or a text, may be reported by slices too."""
    first: dict[str, list[str]] = {}
    for role in EXCLUSIVE:
        for place, name in _in_role(case, role):
            earlier = first.setdefault(name, [])
            clash = next((each for each in earlier if {each, role} not in COMPATIBLE), None)
            if name and clash:
                what = f"is {clash} too" if clash in ("target", "id") else f"stands in {clash} too"
                yield place, f"{role}: column {name!r} {'stands here twice' if clash == role else what}"
            earlier.append(role)


def _types(case: UseCase) -> Faults:
    """The roles and casts that ask for a type."""
    columns = {column.name: column for column in case.columns}
    for role, types in (("text", {"str"}), ("categorical", {"str", "int64", "float64", "bool"})):
        for place, name in _in_role(case, role):
            if name in columns and columns[name].type not in types:
                expected = "str" if role == "text" else "no date"
                yield place, f"{role}: column {name!r} is {columns[name].type} in the suite, expected {expected}"
    for name, casts in case.read.casts.items():
        for cast in casts:
            gives = CAST_TO.get(cast, ())
            if name in columns and gives and columns[name].type not in gives:
                told = f"{cast} gives {' or '.join(gives)}, and column {name!r} is {columns[name].type} in the suite"
                yield ("read", "casts", name), f"read.casts.{name}: {told}"
    for name in case.read.dates:
        if name in columns and columns[name].type != DATE:
            told = f"column {name!r} is {columns[name].type} in the suite, expected datetime64[us]"
            yield ("read", "dates", name), f"read.dates.{name}: {told}"
    twice = [name for name in case.read.rename.values() if list(case.read.rename.values()).count(name) > 1]
    for theirs, ours in case.read.rename.items():
        if ours in twice:
            yield ("read", "rename", theirs), f"read.rename.{theirs}: another column is called {ours!r} too"
    if case.columns and not case.features:
        yield ("ignored",), "ignored: no column is left to learn from"


def _labels(case: UseCase) -> Faults:
    values = [label.value for label in case.labels]
    if case.task == "regression":
        if case.labels or case.positive is not None:
            place = ("labels",) if case.labels else ("positive",)
            yield place, f"{place[0]}: a regression has neither labels nor positive"
        return
    if len(values) < (3 if case.task == "multiclass" else 2) or (case.task == "binary" and len(values) > 2):
        wanted = "two" if case.task == "binary" else "three or more"
        yield ("labels",), f"labels: a {case.task} task has {wanted}, found {listed(map(repr, values)) or 'none'}"
    if case.task == "binary" and values and case.positive not in values:
        found = "missing" if case.positive is None else f"{case.positive!r} is not the value of a label"
        yield ("positive",), f"positive: {found}; there are: {listed(map(repr, values))}"
    if case.task == "multiclass" and case.positive is not None:
        yield ("positive",), "positive: only a binary task has it"
    for key in ("value", "name"):
        seen = [getattr(label, key) for label in case.labels]
        for index, each in enumerate(seen):
            if each in seen[:index]:
                yield ("labels", str(index), key), f"labels.{index}.{key}: {each!r} is named twice"


def _target(case: UseCase) -> Faults:
    """The target in the suite: a number where that is learned, else of the labels' type and values."""
    column = next((column for column in case.columns if column.name == case.target), None)
    if column is None:
        return
    if case.task == "regression":
        if column.type not in ("int64", "float64"):
            told = f"column {column.name!r} is {column.type} in the suite, and a regression needs a number"
            yield ("target",), f"target: {told}"
        return
    fitting = FITTING.get(column.type, ())
    for index, label in enumerate(case.labels):
        place = ("labels", str(index), "value")
        if not isinstance(label.value, fitting):
            told = f"{label.value!r} is {_kind(label.value)}, and column {column.name!r} is {column.type} in the suite"
            yield place, f"labels.{index}.value: {told}{_quoting(column, label.value)}"
        elif column.allowed is not None and label.value not in column.allowed:
            known = listed(map(repr, column.allowed))
            told = f"{label.value!r} is not in the suite's value set of {column.name!r}: {known}"
            yield place, f"labels.{index}.value: {told}"
    values = [label.value for label in case.labels]
    for value in column.allowed or () if all(isinstance(each, fitting) for each in values) and values else ():
        if value not in values:
            yield ("labels",), f"labels: the suite allows {value!r} in {column.name!r}, which no label names"


def _serving(case: UseCase) -> Faults:
    """The service takes features alone, and only what is beyond a bound can be let pass."""
    columns = {column.name: column for column in case.columns}
    left_out = {case.target: "is the target: no request has it", case.id: "is the id: it is passed over"}
    left_out |= dict.fromkeys(case.ignored, "stands in ignored: no request has it")
    for place, name in _in_serving(case):
        if name in columns and (told := left_out.get(name) or _unbound(columns[name], place[1])):
            yield place, f"{_dotted(place)}: column {name!r} {told}"


def _unbound(column: Column, part: str) -> str:
    if part == "unseen" and column.allowed is None:
        return "has no critical value set in the suite"
    if part == "out_of_range" and {column.minimum, column.maximum, column.earliest, column.latest} == {None}:
        return "has no critical range in the suite"
    return ""


def _kind(value: object) -> str:
    return "text" if isinstance(value, str) else "a whole number"


def _quoting(column: Column, value: object) -> str:
    if column.type == "str":
        return f'; in quotes, "{value}", it is text'
    return "; without quotes it is a number" if str(value).lstrip("-").isdigit() else ""


def _candidates(case: UseCase) -> Faults:
    for name, candidate in case.candidates.items():
        place = ("candidates", name, "estimator")
        if (candidate.estimator in get_args(Regressor)) != (case.task == "regression"):
            yield place, f"{_dotted(place)}: {candidate.estimator} does not do {case.task}"
        if case.text and candidate.estimator in NO_TEXT:
            yield place, f"{_dotted(place)}: {candidate.estimator} cannot take text, whose matrix is sparse"
        if not SIDE.fullmatch(name):
            yield place[:2], f"candidates: {name!r} names a folder too: letters, digits, _ and - only"


def _metrics(case: UseCase) -> Faults:
    used: list[Place] = [("choose_by", case.choose_by), ("gate", "metric", case.gate.metric)]
    used += [(part, metric) for part in ("floors", "max_gap") for metric in getattr(case, part)]
    used += [("slices", name, "floors", metric) for name, part in case.slices.items() for metric in part.floors]
    for *place, metric in used:
        if metric not in case.metrics:
            told = f"{metric!r} is no metric of a {case.task} task; there are: {listed(case.metrics)}"
            yield (*place, metric), f"{_dotted(place)}: {told}"
    if case.task != "binary" and "threshold" in case.model_fields_set:
        yield ("threshold",), f"threshold: a {case.task} task has none"


def _dotted(place: Iterable[str]) -> str:
    """Write a place; the index of a list is left out, since the value is named."""
    return ".".join(step for step in place if not step.isdigit())


CHECKS: dict[Callable[[UseCase], Faults], set[str]] = {
    _roles: set(),
    _types: {"text", "categorical", "read", "target", "ignored"},
    _labels: {"task", "labels", "positive"},
    _target: {"task", "labels", "target"},
    _serving: {"target", "id", "ignored"},
    _candidates: {"task", "text"},
    _metrics: {"task", "choose_by", "gate"},
    demo_rules.cross_field_errors: {"labels"},
}
