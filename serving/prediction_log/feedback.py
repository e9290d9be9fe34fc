"""Feedback: checks true labels, sent by prediction id, and writes them to the prediction log."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from flask import Response
from werkzeug.exceptions import RequestEntityTooLarge, ServiceUnavailable

from serving.models.live_models import LiveModels
from serving.prediction_log.prediction_log import PredictionLog
from serving.prediction_log.records import Truth, parse_id
from serving.server.json_response import json_response
from serving.server.problems import problem
from updraft.model.columns import LARGEST, quoted
from updraft.model.signature import MAX_ERRORS, BadRow, Signature

RETRY_AFTER = 5
INGEST_TIMEOUT = 3.0  # seconds to wait for predictions that are still in the spool
FIELDS = {"prediction_id", "label"}

_USE_CASE = (
    """SELECT r.use_case FROM requests r JOIN predictions p ON p.request = r.number AND p.row = ? WHERE r.id = ?"""
)


def store_labels(log: PredictionLog, live_models: LiveModels, value: Any, max_rows: int) -> Response:
    """Store the true labels in a request's JSON `value`, all of them or none, and return their number as a response.

    The live model defines the valid labels of a use case. Raises an error with JSON Pointers, or an HTTP error.
    """
    items = _items(value, max_rows)
    ids = _ids(items)
    use_cases = _find_use_cases(log, ids)
    if len(use_cases) < len(set(ids)):
        return _unknown_ids(items, use_cases)
    truths = _truths(items, use_cases, _signatures(live_models, set(use_cases.values())))
    if not log.write_feedback(list(zip(ids, truths, strict=True))):
        raise ServiceUnavailable("The prediction log cannot be written now.", retry_after=RETRY_AFTER)
    return json_response({"stored": len(ids)})


def _items(value: Any, limit: int) -> list[tuple[str, dict[str, Any]]]:
    """Return each item with the JSON Pointer to it; the document may be a single item."""
    if not isinstance(value, dict):
        raise BadRow([{"pointer": "", "detail": f"expected an object, found {quoted(value)}"}])
    if "feedback" not in value:
        return [_item("", value)]
    feedback = value["feedback"]
    if not isinstance(feedback, list) or not feedback:
        raise BadRow([{"pointer": "/feedback", "detail": f"expected a non-empty list, found {quoted(feedback)}"}])
    if len(value) > 1:
        others = list(islice((name for name in value if name != "feedback"), MAX_ERRORS))
        raise BadRow([{"pointer": "/feedback", "detail": f"expected no other key beside it, found {quoted(others)}"}])
    if len(feedback) > limit:
        raise RequestEntityTooLarge(f"{len(feedback)} labels, expected at most {limit} in one request.")
    items, faults = [], []
    for index, item in enumerate(feedback):
        try:
            items.append(_item(f"/feedback/{index}", item))
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
    """Return the prediction ids, or raise with the malformed ones."""
    ids, faults = [], []
    for pointer, item in items:
        prediction_id = item["prediction_id"]
        try:
            if not isinstance(prediction_id, str):
                raise ValueError("expected a string")
            parse_id(prediction_id)
            ids.append(prediction_id)
        except ValueError as error:
            faults.append({
                "pointer": f"{pointer}/prediction_id",
                "detail": f"{quoted(prediction_id)} is not a prediction id: {error}",
            })
    _raise(faults)
    return ids


def _find_use_cases(log: PredictionLog, ids: Iterable[str]) -> dict[str, str]:
    """Return the use case of each known id, waiting for those still in the spool. Raises ServiceUnavailable."""
    wanted = set(ids)
    use_cases = _query_use_cases(log, wanted)
    if use_cases is not None and len(use_cases) == len(wanted):
        return use_cases
    ingested = log.wait_until_ingested(INGEST_TIMEOUT)
    use_cases = _query_use_cases(log, wanted)
    if use_cases is None or (not ingested and len(use_cases) < len(wanted)):
        raise ServiceUnavailable("The prediction log is not up to date; try again.", retry_after=RETRY_AFTER)
    return use_cases


def _query_use_cases(log: PredictionLog, ids: Iterable[str]) -> dict[str, str] | None:
    use_cases = {}
    try:
        with log.store.read_transaction() as connection:
            for prediction_id in ids:
                request, row = parse_id(prediction_id)
                result = connection.execute(_USE_CASE, (row, bytes.fromhex(request))).fetchone()
                if result is not None:
                    use_cases[prediction_id] = result[0]
    except sqlite3.Error:  # damaged, or not created yet
        return None
    return use_cases


def _unknown_ids(items: list[tuple[str, dict[str, Any]]], known: Mapping[str, str]) -> Response:
    """Return a 404 that lists the unknown ids; nothing of the request is stored."""
    faults = [
        {"pointer": f"{pointer}/prediction_id", "detail": f"{item['prediction_id']} is unknown or was deleted"}
        for pointer, item in items
        if item["prediction_id"] not in known
    ]
    count = "1 prediction id is" if len(faults) == 1 else f"{len(faults)} prediction ids are"
    return problem(404, f"{count} unknown or deleted; nothing was stored", errors=faults[:MAX_ERRORS])


def _signatures(live_models: LiveModels, names: Iterable[str]) -> dict[str, Signature]:
    live = live_models.live
    for name in names:
        if name not in live:
            raise ServiceUnavailable(f"No verified model of {name} is loaded.", retry_after=RETRY_AFTER)
    return {name: live[name].model.signature for name in names}


def _truths(
    items: list[tuple[str, dict[str, Any]]], use_cases: Mapping[str, str], signatures: Mapping[str, Signature]
) -> list[Truth]:
    truths: list[Truth] = []
    faults = []
    for pointer, item in items:
        try:
            truths.append(_truth(signatures[use_cases[item["prediction_id"]]], item["label"]))
        except ValueError as error:
            faults.append({"pointer": f"{pointer}/label", "detail": str(error)})
    _raise(faults)
    return truths


def _truth(signature: Signature, label: Any) -> Truth:
    """Return a label, sent as a value of the target or by its name, as the value. Raises ValueError."""
    is_number = isinstance(label, (int, float)) and not isinstance(label, bool)
    if signature.task == "regression":
        try:
            if is_number and abs(float(label)) <= LARGEST:
                return float(label)
        except OverflowError:
            pass
        raise ValueError(f"expected a number between {-LARGEST:g} and {LARGEST:g}, found {quoted(label)}")
    if is_number or isinstance(label, str):
        # All values before all names: a label may be named like another one's value.
        for known in signature.labels:
            if label == known.value:
                return known.value
        for known in signature.labels:
            if label == known.name:
                return known.value
    expected = ", ".join(f"{known.value!r} ({known.name})" for known in signature.labels)
    raise ValueError(f"{quoted(label)} is not a label of {signature.use_case}, expected one of {expected}")


def _raise(faults: list[dict[str, str]]) -> None:
    if faults:
        raise BadRow(faults[:MAX_ERRORS])
