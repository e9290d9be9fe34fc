"""The figures of GET /stats: sums that are kept by the hour, so that a long log costs no more than a short one."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from serving.prediction_log.inserts import HOUR
from serving.prediction_log.prediction_log import PredictionLog

MOST_HOURS = 24 * 366 * 10
SAMPLE = 2000  # the last requests of a version, of which the latencies are told

_TOTALS = """SELECT use_case, version, sum(requests), sum(rows), sum(feedback), sum(correct), sum(error)
             FROM totals WHERE hour >= :hour AND (:use_case IS NULL OR use_case = :use_case)
             GROUP BY use_case, version ORDER BY use_case, version"""
_COUNTS = """SELECT name, sum(count) FROM counts
             WHERE hour >= ? AND use_case = ? AND version = ? AND what = ? GROUP BY name ORDER BY name"""
_SECONDS = """SELECT seconds FROM (SELECT seconds, kind, at FROM requests WHERE use_case = ? AND version = ?
              ORDER BY number DESC LIMIT ?) WHERE kind IS NULL AND at >= ?"""


def figures(log: PredictionLog, use_case: str | None, hours: int | None) -> dict[str, Any]:
    """Tell the totals of a use case or of all, from the beginning of the hour that was so many `hours` ago, or of ever.

    Latencies are those of the last SAMPLE requests of each version, as far as they were answered in that time.
    """
    hour = 0 if hours is None else int(time.time() // HOUR) - hours
    cases: list[dict[str, Any]] = []
    facts: dict[str, int] = {}
    readable = True
    try:
        with log.store.reading() as connection:
            facts = dict(connection.execute("SELECT name, count FROM facts"))
            cases = _cases(connection, hour, use_case)
    except sqlite3.Error:  # damaged, or not there yet
        readable = False
    return {
        "since": None if hours is None else datetime.fromtimestamp(hour * HOUR, UTC).isoformat(),
        "use_cases": cases,
        "latency_sample": SAMPLE,
        "log": {
            "readable": readable,
            "bytes": log.store.size(),
            "backlog_bytes": log.backlog_bytes(),
            **{name: facts.get(name, 0) for name in ("expired", "bad", "torn", "repeated", "orphaned")},
        },
    }


def _cases(connection: sqlite3.Connection, hour: int, use_case: str | None) -> list[dict[str, Any]]:
    totals = connection.execute(_TOTALS, {"hour": hour, "use_case": use_case}).fetchall()
    return [_case(connection, hour, row) for row in totals]


def _case(connection: sqlite3.Connection, hour: int, row: Sequence[Any]) -> dict[str, Any]:
    name, version, requests, rows, feedback, correct, error = row
    refused = dict(connection.execute(_COUNTS, (hour, name, version, "refused")))
    labels = dict(connection.execute(_COUNTS, (hour, name, version, "label")))
    told = {
        "use_case": name,
        "version": version or None,
        "requests": requests,
        "rows": rows,
        "refused": refused,
        "predictions": labels,
        "latency": _latency(connection, hour, name, version),
        "feedback": feedback,
    }
    if feedback:
        told |= {"accuracy": correct / feedback} if labels else {"mean_absolute_error": _finite(error / feedback)}
    return told


def _latency(connection: sqlite3.Connection, hour: int, name: str, version: int) -> dict[str, Any] | None:
    """Tell the seconds within which half, 95 % and 99 % of a sample were answered."""
    asked = (name, version, SAMPLE, hour * HOUR)
    seconds = sorted(second for (second,) in connection.execute(_SECONDS, asked))
    if not seconds:
        return None
    ranks = {f"p{share}": seconds[math.ceil(share / 100 * len(seconds)) - 1] for share in (50, 95, 99)}
    return {**ranks, "requests": len(seconds)}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
