"""What is wrong with the blocks of a YAML, in words: all of it at once, and what is left when it is taken out."""

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
APART = {"candidates", "slices", "floors", "max_gap", "read", "demo", "serving"}  # one bad entry spoils no other
SHORT = 8  # keys of a block that are told when none is near


def told(model: type[BaseModel], raw: Mapping[str, Any], error: ValidationError) -> Iterator[tuple[Place, str]]:
    """Yield the place and the message of each fault, one for each place; a key that was meant is not missed as well."""
    meant: set[Place] = set()
    found: dict[Place, list[Any]] = {}
    for fault in error.errors():
        place = placed(raw, fault["loc"])
        if fault["loc"] and not place and fault["type"] != "missing":
            continue  # a default that was taken from another faulty key
        found.setdefault((*place, str(fault["loc"][-1])) if fault["type"] == "missing" else place, []).append(fault)
        if fault["type"] == "extra_forbidden":
            meant.update((*place[:-1], word) for word in _near(place[-1], _keys(model, fault["loc"][:-1])))
    for place, faults in found.items():
        if faults[0]["type"] != "missing" or place not in meant:
            yield place, _sentence(model, raw, place, faults)


def placed(raw: Any, loc: Iterable[int | str]) -> Place:
    """Return the part of pydantic's location that stands in the file; it also names members of unions."""
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
    """Read what is left without the faulty parts; also name the keys that nothing can be concluded from."""
    raw, doubtful = copy.deepcopy(raw), set[str]()
    for _ in range(10):
        try:
            return model.model_validate(raw), doubtful
        except ValidationError as error:
            for fault in error.errors():
                place = placed(raw, fault["loc"])
                doubtful |= _doubted(model, place or (str(fault["loc"][0]),), fault)
                _remove(raw, place)
    return None, doubtful


def nearest(word: str, known: Iterable[str]) -> str:
    """Suggest the known word that `word` was probably meant to be, as the end of a message."""
    close = _near(word, known)
    return f" (did you mean {close[0]!r}?)" if close else ""


def listed(words: Iterable[Any]) -> str:
    """Write words with commas between."""
    return ", ".join(map(str, words))


def _near(word: str, known: Iterable[str]) -> list[str]:
    lower = {each.lower(): each for each in known}
    return [lower[each] for each in difflib.get_close_matches(word.lower(), list(lower), n=1)]


def _sentence(model: type[BaseModel], raw: Mapping[str, Any], place: Place, faults: list[Any]) -> str:
    """Say the faults of one place in one line: the key, what was expected, what was found."""
    fault = faults[0]
    where, kind = ".".join(place), fault["type"]
    if kind == "missing":
        return f"{where}: missing"
    if kind == "extra_forbidden":
        known = _keys(model, fault["loc"][:-1])
        if place[:-1] == ("source",):
            return f"source: {quoted(place[-1])} is unknown{nearest(place[-1], known)}; there are: {listed(known)}"
        hint = nearest(place[-1], known) or (f"; there are: {listed(known)}" if len(known) <= SHORT else "")
        return f"unknown key {where!r}{hint}"
    if kind == "union_tag_not_found":
        return f"{where}.by: missing; there are: {listed(_words(model, faults))}"
    known = _known(raw, faults)
    if known:
        is_key = any("[key]" in each["loc"] for each in faults)
        where = ".".join(place[:-1]) if is_key else where
        word = fault["ctx"].get("tag") or (place[-1] if is_key else fault["input"])
        hint = nearest(word, known) if isinstance(word, str) else ""
        where = f"{where}.by" if kind == "union_tag_invalid" else where
        return f"{where}: {quoted(word)} is unknown{hint}; there are: {listed(known)}"
    found = "" if kind == "value_error" else f", found {quoted(fault['input'])}"
    said = " or ".join(dict.fromkeys(_plain(each) for each in faults))
    return f"{where + ': ' if where else ''}{said}{found}"


def _known(raw: Mapping[str, Any], faults: list[Any]) -> list[str]:
    """Return the words that would have done: of estimators and metrics those of the use case's task."""
    expected = [each["ctx"] for each in faults if each["type"] in ("literal_error", "union_tag_invalid")]
    words = [re.findall(r"'([^']*)'", each.get("expected") or each["expected_tags"]) for each in expected]
    known = list(dict.fromkeys(word for some in words for word in some))
    task = raw.get("task", "binary")
    if task not in ("binary", "multiclass", "regression"):
        return known
    metrics = {metric for some in METRICS_OF.values() for metric in some}
    if not set(known) <= {*get_args(Classifier), *get_args(Regressor), *metrics}:
        return known
    fitting = {*METRICS_OF[task], *get_args(Regressor if task == "regression" else Classifier)}
    return [word for word in known if word in fitting]


def _words(model: type[BaseModel], faults: list[Any]) -> list[str]:
    options = _options(model, faults[0]["loc"])
    return [word for option in options for word in get_args(option.model_fields["by"].annotation)]


def _plain(fault: Any) -> str:
    if fault["type"] in ("model_type", "dict_type"):
        return "expected keys and values"
    message: str = fault["msg"].removeprefix("Value error, ")
    return re.sub("^Input should be ", "expected ", message)


def _doubted(model: type[BaseModel], place: Place, fault: Any) -> set[str]:
    if fault["type"] == "extra_forbidden":
        return set(_near(place[0], model.model_fields)) if len(place) == 1 else set()
    return set() if len(place) > 1 and place[0] in APART else {place[0]}


def _remove(raw: Any, place: Place) -> None:
    """Take what stands at a place out of its dict; of a list take the whole list, whose order would shift."""
    *way, last = place or ("",)
    for step in way:
        if isinstance(raw.get(next((key for key in raw if str(key) == step), None)), list):
            last = step
            break
        raw = raw[next(key for key in raw if str(key) == step)]
    raw.pop(next((key for key in raw if str(key) == last), None), None)


def _keys(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return the keys known at a place."""
    keys = dict.fromkeys(key for option in _options(model, loc) for key in option.model_fields)
    return [key for key in keys if loc or key not in ("name", "suite", "columns")]


def _options(model: type[BaseModel], loc: Iterable[int | str]) -> list[type[BaseModel]]:
    """Return the blocks that may stand at a place: one, or the members of a union."""
    options = [model]
    for step in loc:
        fields = [option.model_fields[str(step)] for option in options if str(step) in option.model_fields]
        tagged = [option for option in options if step in _tags(option)]
        options = [part for each in fields for part in _parts(each.annotation)] or tagged or options
    return options


def _parts(annotation: Any) -> list[type[Part]]:
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return [annotation]
    return [part for each in get_args(annotation) for part in _parts(each)]


def _tags(option: type[BaseModel]) -> tuple[Any, ...]:
    by = option.model_fields.get("by")
    return get_args(by.annotation) if by else ()
