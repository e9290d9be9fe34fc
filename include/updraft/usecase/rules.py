"""Cross-field validation: what is valid in each block of a YAML, but not together, or not with the suite's columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import get_args

from updraft.model.columns import DATE, Column
from updraft.usecase import demo_block, demo_rules, features_rules, naming_rules
from updraft.usecase.blocks import NO_TEXT, GroupSplit, Regressor, TimeSplit
from updraft.usecase.messages import listed, nearest
from updraft.usecase.schema import UseCase
from updraft.usecase.yaml_lines import Place

Faults = Iterator[tuple[Place, str]]
# The Python types of a label's value, by the type of the target's column.
LABEL_TYPES = {"int64": (int,), "float64": (int, float), "str": (str,), "bool": (bool, int)}
EXCLUSIVE = ("target", "id", "ignored", "text", "categorical", "slices")
CAST_TO = {"number_from_text": ("int64", "float64"), "decimal_comma": ("float64",), "boolean_from_text": ("bool",)}
COMPATIBLE = ({"text", "slices"}, {"categorical", "slices"}, {"ignored", "slices"})
COUNTABLE = ("mongodb", "sql", "kafka")  # kinds of sources of which `sources.count` counts the rows
CANDIDATE_NAME = re.compile(r"[\w-]+")


def cross_field_errors(case: UseCase, names: Iterable[str], unreliable: set[str]) -> Faults:
    """Yield the place and message of each error; `names` are the suite's columns, with a valid type or not.

    A check that depends on an `unreliable` key is skipped, because it would report the same mistake again.
    """
    for check, keys in CHECKS.items():
        if not keys & unreliable:
            yield from check(case)
    if known := list(names):
        yield from _unknown_columns(case, known, unreliable)


def _unknown_columns(case: UseCase, known: list[str], unreliable: set[str]) -> Faults:
    for place, name in _named(case):
        if name not in known and place[0] not in unreliable:
            yield place, f"{_dotted(place)}: no column {name!r} in the suite{nearest(name, known)}"


def _named(case: UseCase) -> Iterator[tuple[Place, str]]:
    """Yield each place that names a column, and the column."""
    for role in EXCLUSIVE:
        yield from ((place, name) for place, name in _in_role(case, role) if name)
    if isinstance(case.split, TimeSplit | GroupSplit):
        yield ("split", "column"), case.split.column
    yield from ((("read", "rename", theirs), ours) for theirs, ours in case.read.rename.items())
    yield from ((("read", "casts", name), name) for name in case.read.casts)
    yield from ((("read", "dates", name), name) for name in case.read.dates)
    yield from _in_serving(case)
    yield from features_rules.named(case)
    yield from (((part, name), name) for part in ("titles", "values") for name in getattr(case, part))
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
    """Check that each column has one role; categories, texts and ignored columns may have slices, too."""
    first: dict[str, list[str]] = {}
    for role in EXCLUSIVE:
        for place, name in _in_role(case, role):
            earlier = first.setdefault(name, [])
            clash = next((other for other in earlier if {other, role} not in COMPATIBLE), None)
            if name and clash:
                what = f"is {clash} too" if clash in ("target", "id") else f"is in {clash} too"
                yield place, f"{role}: column {name!r} {'is listed twice' if clash == role else what}"
            earlier.append(role)


def _types(case: UseCase) -> Faults:
    """Check the roles and casts that require a type."""
    columns = {column.name: column for column in case.columns}
    for role, types in (("text", {"str"}), ("categorical", {"str", "int64", "float64", "bool"})):
        for place, name in _in_role(case, role):
            if name in columns and columns[name].type not in types:
                expected = "str" if role == "text" else "no date"
                yield place, f"{role}: column {name!r} is {columns[name].type} in the suite, expected {expected}"
    for name, casts in case.read.casts.items():
        for cast in casts:
            returned = CAST_TO.get(cast, ())
            if name in columns and returned and columns[name].type not in returned:
                hint = (
                    f"{cast} returns {' or '.join(returned)}, and column {name!r} is {columns[name].type} in the suite"
                )
                yield ("read", "casts", name), f"read.casts.{name}: {hint}"
    for name in case.read.dates:
        if name in columns and columns[name].type != DATE:
            message = f"column {name!r} is {columns[name].type} in the suite, expected datetime64[us]"
            yield ("read", "dates", name), f"read.dates.{name}: {message}"
    duplicates = [name for name in case.read.rename.values() if list(case.read.rename.values()).count(name) > 1]
    for theirs, ours in case.read.rename.items():
        if ours in duplicates:
            yield ("read", "rename", theirs), f"read.rename.{theirs}: another column is renamed to {ours!r}, too"
    if case.columns and not case.feature_columns:
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
        values = [getattr(label, key) for label in case.labels]
        for index, value in enumerate(values):
            if value in values[:index]:
                yield ("labels", str(index), key), f"labels.{index}.{key}: duplicate {value!r}"


def _target(case: UseCase) -> Faults:
    """Check the target's column: a number in a regression, otherwise of the labels' type and values."""
    column = next((column for column in case.columns if column.name == case.target), None)
    if column is None:
        return
    if case.task == "regression":
        if column.type not in ("int64", "float64"):
            message = f"column {column.name!r} is {column.type} in the suite, and a regression needs a number"
            yield ("target",), f"target: {message}"
        return
    types = LABEL_TYPES.get(column.type, ())
    for index, label in enumerate(case.labels):
        place = ("labels", str(index), "value")
        if not isinstance(label.value, types):
            kinds = f"{label.value!r} is {_kind(label.value)}, and column {column.name!r} is {column.type} in the suite"
            yield place, f"labels.{index}.value: {kinds}{_quoting_hint(column, label.value)}"
        elif column.allowed is not None and label.value not in column.allowed:
            known = listed(map(repr, column.allowed))
            message = f"{label.value!r} is not in the suite's value set of {column.name!r}: {known}"
            yield place, f"labels.{index}.value: {message}"
    values = [label.value for label in case.labels]
    for value in column.allowed or () if all(isinstance(value, types) for value in values) and values else ():
        if value not in values:
            yield ("labels",), f"labels: the suite allows {value!r} in {column.name!r}, which has no label"


def _serving(case: UseCase) -> Faults:
    """Check the `serving` block: requests have only features, and only a value beyond a bound can be a warning."""
    columns = {column.name: column for column in case.columns}
    left_out = {case.target: "is the target: no request has it", case.id: "is the id, which is ignored"}
    left_out |= dict.fromkeys(case.ignored, "is in ignored: no request has it")
    for place, name in _in_serving(case):
        if name in columns and (reason := left_out.get(name) or _unbounded(columns[name], place[1])):
            yield place, f"{_dotted(place)}: column {name!r} {reason}"


def _unbounded(column: Column, part: str) -> str:
    if part == "unseen" and column.allowed is None:
        return "has no critical value set in the suite"
    if part == "out_of_range" and {column.minimum, column.maximum, column.earliest, column.latest} == {None}:
        return "has no critical range in the suite"
    return ""


def _kind(value: object) -> str:
    return "text" if isinstance(value, str) else "a whole number"


def _quoting_hint(column: Column, value: object) -> str:
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
        if not CANDIDATE_NAME.fullmatch(name):
            yield place[:2], f"candidates: {name!r} names a folder too: letters, digits, _ and - only"


def _metrics(case: UseCase) -> Faults:
    used: list[Place] = [("choose_by", case.choose_by), ("gate", "metric", case.gate.metric)]
    used += [(part, metric) for part in ("floors", "max_gap") for metric in getattr(case, part)]
    if case.monitor and case.monitor.performance.metric:
        used.append(("monitor", "performance", "metric", case.monitor.performance.metric))
    used += [("slices", name, "floors", metric) for name, part in case.slices.items() for metric in part.floors]
    for *place, metric in used:
        if metric not in case.metrics:
            message = f"{metric!r} is not a metric of a {case.task} task; there are: {listed(case.metrics)}"
            yield (*place, metric), f"{_dotted(place)}: {message}"
    if case.task != "binary" and "threshold" in case.model_fields_set:
        yield ("threshold",), f"threshold: a {case.task} task has none"


def _dotted(place: Iterable[str]) -> str:
    """Format a place without the indices of lists, since the message names the value."""
    return ".".join(step for step in place if not step.isdigit())


def _watermark(case: UseCase) -> Faults:
    """Check that rows which are read incrementally can be told apart, and that there is a dataset to add them to."""
    if getattr(case.source.settings, "watermark", None) is None:
        return
    place = ("source", case.source.kind, "watermark")
    if case.id is None:
        yield place, f"{_dotted(place)}: needs id, by which a changed row takes the place of its former self"
    elif any(column.name == case.id and column.nullable for column in case.columns):
        yield place, f"{_dotted(place)}: needs an id without nulls: a row without one would be added again by each read"
    if not case.datasets.keep:
        yield place, f"{_dotted(place)}: needs datasets: {{keep: 1}} or more, as rows are added to the last dataset"


def _schedule(case: UseCase) -> Faults:
    """Check that the source's rows can be counted where the schedule asks for new ones."""
    if case.schedule is None or case.source.kind in COUNTABLE:
        return
    for key in ("rows", "hours"):
        if getattr(case.schedule, key) is not None:
            kinds = f"of a source of kind {listed(COUNTABLE)} can be counted"
            yield ("schedule", key), f"schedule.{key}: only the rows {kinds}, found {case.source.kind}"


def _validation(case: UseCase) -> Faults:
    if case.validation and "folds" in case.model_fields_set:
        yield ("validation",), "validation: holdout takes the place of folds, and the YAML has both; leave one out"


def _promote(case: UseCase) -> Faults:
    if case.promote in ("canary", "shadow") and case.monitor is None:
        yield ("promote",), f"promote: {case.promote} needs a monitor: block, which ends the rollout; {{}} is enough"


def _approve(case: UseCase) -> Faults:
    """Check that a run which waits for a person does not hold up the next one: a use case has one run at a time."""
    if case.schedule is None or (case.promote != "approve" and "approve" not in case.model_fields_set):
        return
    least = case.schedule.least_hours()  # looks at hundreds of runs, so not for each use case that Airflow reads
    if least is not None and case.approve.hours >= least:
        hint = "a run that waits for a person holds up the next one"
        place = ("approve", "hours") if "approve" in case.model_fields_set else ("promote",)
        yield place, f"approve.hours: {case.approve.hours:g}, but the schedule has runs {least:g} hours apart; {hint}"


CHECKS: dict[Callable[[UseCase], Faults], set[str]] = {
    _roles: set(),
    _types: {"text", "categorical", "read", "target", "ignored"},
    _labels: {"task", "labels", "positive"},
    _target: {"task", "labels", "target"},
    _schedule: {"source", "schedule"},
    _watermark: {"source", "id", "datasets"},
    _serving: {"target", "id", "ignored"},
    _candidates: {"task", "text"},
    _metrics: {"task", "choose_by", "gate"},
    _validation: {"folds", "validation"},
    _promote: {"promote", "monitor"},
    _approve: {"promote", "approve", "schedule"},
    naming_rules.cross_field_errors: {"target", "id", "ignored", "titles"},
    features_rules.cross_field_errors: {"target", "id", "ignored", "features"},
    demo_rules.cross_field_errors: {"labels"},
}
