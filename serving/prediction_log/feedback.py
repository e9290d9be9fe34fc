"""True labels for answered predictions, by prediction id: what is taken, and to which prediction it belongs."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from flask import Response
from werkzeug.exceptions import RequestEntityTooLarge, ServiceUnavailable

from serving.models.live_models import Shelf
from serving.prediction_log.prediction_log import PredictionLog
from serving.prediction_log.records import Truth, parse_id
from serving.server.json_response import json_response
from serving.server.problems import problem
from updraft.model.columns import quoted
from updraft.model.signature import MAX_ERRORS, BadRow, Signature

RETRY_AFTER = 5
SETTLE = 3.0  # seconds to wait for what lies in the spool
FIELDS = {"prediction_id", "label"}

_FIND = """SELECT r.use_case FROM requests r JOIN predictions p ON p.request = r.number AND p.row = ? WHERE r.id = ?"""


def take(log: PredictionLog, shelf: Shelf, value: Any, max_rows: int) -> Response:
    """Log the true labels that `value` tells, all of them or none, and answer how many they are.

    What a label may be is what the live model in `shelf` says. Raises BadRow, or an HTTP error.
    """
    items = _items(value, max_rows)
    ids = _ids(items)
    found = _find(log, ids)
    if len(found) < len(set(ids)):
        return _unknown(items, found)
    truths = _truths(items, found, _signatures(shelf, set(found.values())))
    if not log.judge([(told, truth) for told, truth in zip(ids, truths, strict=True)]):
        raise ServiceUnavailable("The prediction log cannot be written now.", retry_after=RETRY_AFTER)
    return json_response({"stored": len(ids)})


def _items(value: Any, limit: int) -> list[tuple[str, dict[str, Any]]]:
    """Return each item with the pointer to it; a single one is its own document. Raises BadRow."""
    if not isinstance(value, dict):
        raise BadRow([{"pointer": "", "detail": f"expected an object, found {quoted(value)}"}])
    if "feedback" not in value:
        return [_item("", value)]
    given = value["feedback"]
    if not isinstance(given, list) or not given:
        raise BadRow([
            {"pointer": "/feedback", "detail": f"expected a list with at least one in it, found {quoted(given)}"}
        ])
    if len(value) > 1:
        others = list(islice((name for name in value if name != "feedback"), MAX_ERRORS))
        raise BadRow([
            {"pointer": "/feedback", "detail": f"expected alone in its object, found {quoted(others)} beside it"}
        ])
    if len(given) > limit:
        raise RequestEntityTooLarge(f"{len(given)} labels, at most {limit} are taken at once.")
    items, faults = [], []
    for index, each in enumerate(given):
        try:
            items.append(_item(f"/feedback/{index}", each))
        except BadRow as error:
            faults += error.errors
            if len(faults) >= MAX_ERRORS:
                break
    _raise(faults)
    return items


def _item(pointer: str, value: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(value, dict):
        raise BadRow([{"pointer": pointer, "detail": f"expected an object, found {quoted(value)}"}])
    faults = [
        {"pointer": f"{pointer}/{name}", "detail": "required and missing"} for name in sorted(FIELDS - value.keys())
    ]
    for name in islice((name for name in value if name not in FIELDS), MAX_ERRORS):
        faults.append({"pointer": pointer, "detail": f"unknown field {quoted(name)}; known: label, prediction_id"})
    _raise(faults)
    return pointer, value


def _ids(items: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Return the prediction ids; BadRow for what is none."""
    ids, faults = [], []
    for pointer, item in items:
        told = item["prediction_id"]
        try:
            if not isinstance(told, str):
                raise ValueError("expected a text")
            parse_id(told)
            ids.append(told)
        except ValueError as error:
            faults.append({
                "pointer": f"{pointer}/prediction_id",
                "detail": f"{quoted(told)} is no prediction id: {error}",
            })
    _raise(faults)
    return ids


def _find(log: PredictionLog, ids: Iterable[str]) -> dict[str, str]:
    """Give the use case of each id that is kept; waits for what may lie in the spool. Raises ServiceUnavailable."""
    wanted = set(ids)
    found = _look(log, wanted)
    if found is not None and len(found) == len(wanted):
        return found
    settled = log.settle(SETTLE)
    found = _look(log, wanted)
    if found is None or (not settled and len(found) < len(wanted)):
        raise ServiceUnavailable("The prediction log is not up to date; try again.", retry_after=RETRY_AFTER)
    return found


def _look(log: PredictionLog, ids: Iterable[str]) -> dict[str, str] | None:
    found = {}
    try:
        with log.store.reading() as connection:
            for told in ids:
                name, row = parse_id(told)
                answer = connection.execute(_FIND, (row, bytes.fromhex(name))).fetchone()
                if answer is not None:
                    found[told] = answer[0]
    except sqlite3.Error:  # damaged, or not there yet
        return None
    return found


def _unknown(items: list[tuple[str, dict[str, Any]]], found: Mapping[str, str]) -> Response:
    """Answer 404 with each id that is not kept; nothing of the request is stored."""
    faults = [
        {"pointer": f"{pointer}/prediction_id", "detail": f"{item['prediction_id']} is not known, or no longer kept"}
        for pointer, item in items
        if item["prediction_id"] not in found
    ]
    many = "1 prediction is" if len(faults) == 1 else f"{len(faults)} predictions are"
    return problem(404, f"{many} not known, or no longer kept; nothing is stored", errors=faults[:MAX_ERRORS])


def _signatures(shelf: Shelf, names: Iterable[str]) -> dict[str, Signature]:
    live = shelf.live
    for name in names:
        if name not in live:
            raise ServiceUnavailable(f"No verified model of {name} is loaded.", retry_after=RETRY_AFTER)
    return {name: live[name].model.signature for name in names}


def _truths(
    items: list[tuple[str, dict[str, Any]]], found: Mapping[str, str], signatures: Mapping[str, Signature]
) -> list[Truth]:
    truths: list[Truth] = []
    faults = []
    for pointer, item in items:
        try:
            truths.append(_truth(signatures[found[item["prediction_id"]]], item["label"]))
        except ValueError as error:
            faults.append({"pointer": f"{pointer}/label", "detail": str(error)})
    _raise(faults)
    return truths


def _truth(signature: Signature, told: Any) -> Truth:
    """Return a label as the value of the target: it may come as that, or by its name. Raises ValueError."""
    number = isinstance(told, (int, float)) and not isinstance(told, bool)
    if signature.task == "regression":
        try:
            if number and math.isfinite(float(told)):
                return float(told)
        except OverflowError:
            pass
        raise ValueError(f"expected a finite number, found {quoted(told)}")
    if number or isinstance(told, str):
        for label in signature.labels:
            if told == label.value:
                return label.value
        for label in signature.labels:
            if told == label.name:
                return label.value
    expected = ", ".join(f"{label.value!r} ({label.name})" for label in signature.labels)
    raise ValueError(f"{quoted(told)} is no label of {signature.use_case}, expected one of {expected}")


def _raise(faults: list[dict[str, str]]) -> None:
    if faults:
        raise BadRow(faults[:MAX_ERRORS])
