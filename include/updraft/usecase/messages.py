"""Readable messages for all validation errors of a YAML at once, and what remains valid without the faulty parts."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from updraft.model.columns import quoted
from updraft.usecase.blocks import METRICS_OF, Classifier, Part, Regressor
from updraft.usecase.yaml_lines import Place

P = TypeVar("P", bound=Part)
# Blocks of independent entries: a bad one makes no conclusion about the others unreliable.
INDEPENDENT = {"candidates", "slices", "floors", "max_gap", "read", "demo", "serving", "titles", "values"}
MAX_LISTED_KEYS = 8  # of a block, to list them all where no similar key can be suggested


def validation_messages(
    model: type[BaseModel], raw: Mapping[str, Any], error: ValidationError
) -> Iterator[tuple[Place, str]]:
    """Yield a place and a message for each faulty place. A misspelt key is not reported as missing, too."""
    misspelt: set[Place] = set()
    by_place: dict[Place, list[Any]] = {}
    for fault in error.errors():
        place = place_of(raw, fault["loc"])
        if fault["loc"] and not place and fault["type"] != "missing":
            continue  # a default that comes from another faulty key
        full = (*place, str(fault["loc"][-1])) if fault["type"] == "missing" else place
        by_place.setdefault(full, []).append(fault)
        if fault["type"] == "extra_forbidden":
            misspelt.update((*place[:-1], word) for word in _similar(place[-1], _keys(model, fault["loc"][:-1])))
    for place, faults in by_place.items():
        if faults[0]["type"] != "missing" or place not in misspelt:
            yield place, _sentence(model, raw, place, faults)


def place_of(raw: Any, loc: Iterable[int | str]) -> Place:
    """Return the part of pydantic's location that is in the file; pydantic's also names members of unions."""
    place: Place = ()
    for step in loc:
        if isinstance(raw, dict) and (key := next((key for key in raw if str(key) == str(step)), None)) is not None:
            raw = raw[key]
        elif isinstance(raw, (list, tuple)) and isinstance(step, int):
            raw = raw[step]
        else:
            continue
        place = (*place, str(step))
    return place


def drop_invalid(model: type[P], raw: dict[str, Any]) -> tuple[P | None, set[str]]:
    """Validate without the faulty parts; also return the top-level keys whose values are unreliable thereby."""
    raw, unreliable = copy.deepcopy(raw), set[str]()
    for _ in range(10):
        try:
            return model.model_validate(raw), unreliable
        except ValidationError as error:
            for fault in error.errors():
                place = place_of(raw, fault["loc"])
                unreliable |= _unreliable(model, place or (str(fault["loc"][0]),), fault)
                _remove(raw, place)
    return None, unreliable


def nearest(word: str, known: Iterable[str]) -> str:
    """Suggest the known word most similar to `word`, as the end of a message; empty if none is similar."""
    close = _similar(word, known)
    return f" (did you mean {close[0]!r}?)" if close else ""


def listed(words: Iterable[Any]) -> str:
    """Join words with commas."""
    return ", ".join(map(str, words))


def _similar(word: str, known: Iterable[str]) -> list[str]:
    lower = {name.lower(): name for name in known}
    return [lower[match] for match in difflib.get_close_matches(word.lower(), list(lower), n=1)]


def _sentence(model: type[BaseModel], raw: Mapping[str, Any], place: Place, faults: list[Any]) -> str:
    """Describe the faults of one place in one line: the key, what was expected, what was found."""
    fault = faults[0]
    where, kind = ".".join(place), fault["type"]
    if kind == "missing":
        return f"{where}: missing"
    if kind == "extra_forbidden":
        known = _keys(model, fault["loc"][:-1])
        if place[:-1] == ("source",):
            return f"source: {quoted(place[-1])} is unknown{nearest(place[-1], known)}; there are: {listed(known)}"
        hint = nearest(place[-1], known) or (f"; there are: {listed(known)}" if len(known) <= MAX_LISTED_KEYS else "")
        return f"unknown key {where!r}{hint}"
    if kind == "union_tag_not_found":
        return f"{where}.by: missing; there are: {listed(_words(model, faults))}"
    known = _known(raw, faults)
    if known:
        is_key = any("[key]" in fault["loc"] for fault in faults)
        where = ".".join(place[:-1]) if is_key else where
        word = fault["ctx"].get("tag") or (place[-1] if is_key else fault["input"])
        hint = nearest(word, known) if isinstance(word, str) else ""
        where = f"{where}.by" if kind == "union_tag_invalid" else where
        return f"{where}: {quoted(word)} is unknown{hint}; there are: {listed(known)}"
    found = "" if kind == "value_error" else f", found {quoted(fault['input'])}"
    expected = " or ".join(dict.fromkeys(_expected(fault) for fault in faults))
    return f"{where + ': ' if where else ''}{expected}{found}"


def _known(raw: Mapping[str, Any], faults: list[Any]) -> list[str]:
    """Return the valid words; of estimators and metrics only those of the use case's task."""
    contexts = [fault["ctx"] for fault in faults if fault["type"] in ("literal_error", "union_tag_invalid")]
    lists = [re.findall(r"'([^']*)'", context.get("expected") or context["expected_tags"]) for context in contexts]
    known = list(dict.fromkeys(word for words in lists for word in words))
    task = raw.get("task", "binary")
    if task not in ("binary", "multiclass", "regression"):
        return known
    metrics = {metric for names in METRICS_OF.values() for metric in names}
    if not set(known) <= {*get_args(Classifier), *get_args(Regressor), *metrics}:
        return known
    fitting = {*METRICS_OF[task], *get_args(Regressor if task == "regression" else Classifier)}
    return [word for word in known if word in fitting]


def _words(model: type[BaseModel], faults: list[Any]) -> list[str]:
    options = _options(model, faults[0]["loc"])
    return [word for option in options for word in get_args(option.model_fields["by"].annotation)]


def _expected(fault: Any) -> str:
    if fault["type"] in ("model_type", "dict_type"):
        return "expected keys and values"
    message: str = fault["msg"].removeprefix("Value error, ")
    return re.sub("^Input should be ", "expected ", message)


def _unreliable(model: type[BaseModel], place: Place, fault: Any) -> set[str]:
    if fault["type"] == "extra_forbidden":
        return set(_similar(place[0], model.model_fields)) if len(place) == 1 else set()
    return set() if len(place) > 1 and place[0] in INDEPENDENT else {place[0]}


def _remove(raw: Any, place: Place) -> None:
    """Remove the value at a place from its dict; if it is in a list, the whole list, whose indices would shift."""
    *way, last = place or ("",)
    for step in way:
        if isinstance(raw.get(next((key for key in raw if str(key) == step), None)), list):
            last = step
            break
        raw = raw[next(key for key in raw if str(key) == step)]
    raw.pop(next((key for key in raw if str(key) == last), None), None)


def _keys(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return the known keys of the blocks at a place."""
    keys = dict.fromkeys(key for option in _options(model, loc) for key in option.model_fields)
    return [key for key in keys if loc or key not in ("name", "suite", "columns")]


def _options(model: type[BaseModel], loc: Iterable[int | str]) -> list[type[BaseModel]]:
    """Return the blocks that are possible at a place: one, or the members of a union."""
    options = [model]
    for step in loc:
        fields = [option.model_fields[str(step)] for option in options if str(step) in option.model_fields]
        tagged = [option for option in options if step in _tags(option)]
        options = [part for field in fields for part in _parts(field.annotation)] or tagged or options
    return options


def _parts(annotation: Any) -> list[type[Part]]:
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return [annotation]
    return [part for argument in get_args(annotation) for part in _parts(argument)]


def _tags(option: type[BaseModel]) -> tuple[Any, ...]:
    by = option.model_fields.get("by")
    return get_args(by.annotation) if by else ()
