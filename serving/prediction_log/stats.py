"""The statistics of GET /stats, from hourly totals, so that a long log costs no more than a short one."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from serving.prediction_log.exact_sums import mean
from serving.prediction_log.inserts import HOUR, SHADOW_LABEL
from serving.prediction_log.prediction_log import PredictionLog
from serving.prediction_log.records import SHADOW

MAX_HOURS = 24 * 366 * 10
SAMPLE = 2000  # the latest requests of a version, of which latencies are computed

_TOTALS = """SELECT use_case, version, sum(requests), sum(rows), sum(feedback), sum(correct), exact_sum(exact_error)
             FROM totals WHERE hour >= :hour AND (:use_case IS NULL OR use_case = :use_case)
             GROUP BY use_case, version ORDER BY use_case, version"""
_COUNTS = """SELECT name, sum(count) FROM counts
             WHERE hour >= ? AND use_case = ? AND version = ? AND what = ? GROUP BY name ORDER BY name"""
_SECONDS = """SELECT seconds FROM (SELECT seconds, kind, at FROM requests WHERE use_case = ? AND version = ?
              ORDER BY number DESC LIMIT ?) WHERE kind IS NULL AND at >= ?"""


def statistics(log: PredictionLog, use_case: str | None, hours: int | None) -> dict[str, Any]:
    """Return the totals of one or all use cases since the beginning of the hour `hours` ago, or of all time.

    Latencies are those of the last SAMPLE requests of each version that succeeded within that time.
    """
    hour = 0 if hours is None else int(time.time() // HOUR) - hours
    cases: list[dict[str, Any]] = []
    counters: dict[str, int] = {}
    readable = True
    try:
        with log.store.read_transaction() as connection:
            counters = dict(connection.execute("SELECT name, count FROM facts"))
            cases = _cases(connection, hour, use_case)
    except sqlite3.Error:  # damaged, or not created yet
        readable = False
    return {
        "since": None if hours is None else datetime.fromtimestamp(hour * HOUR, UTC).isoformat(),
        "use_cases": cases,
        "latency_sample": SAMPLE,
        "log": {
            "readable": readable,
            "bytes": log.store.size(),
            "backlog_bytes": log.backlog_bytes(),
            **{name: counters.get(name, 0) for name in ("expired", "bad", "torn", "repeated", "orphaned")},
        },
    }


def _cases(connection: sqlite3.Connection, hour: int, use_case: str | None) -> list[dict[str, Any]]:
    totals = connection.execute(_TOTALS, {"hour": hour, "use_case": use_case}).fetchall()
    return [_case(connection, hour, row) for row in totals]


def _case(connection: sqlite3.Connection, hour: int, row: Sequence[Any]) -> dict[str, Any]:
    name, version, requests, rows, feedback, correct, error = row
    refused = dict(connection.execute(_COUNTS, (hour, name, version, "refused")))
    labels = dict(connection.execute(_COUNTS, (hour, name, version, "label")))
    stats = {
        "use_case": name,
        "version": version or None,
        "requests": requests,
        "rows": rows,
        "refused": refused,
        "predictions": labels,
        "latency": _latency(connection, hour, name, version),
        "feedback": feedback,
    }
    if shadow := dict(connection.execute(_COUNTS, (hour, name, version, SHADOW))):
        stats["shadow"] = shadow | {
            "predictions": dict(connection.execute(_COUNTS, (hour, name, version, SHADOW_LABEL)))
        }
    if feedback:
        stats |= {"accuracy": correct / feedback} if labels else {"mean_absolute_error": mean(error, feedback)}
    return stats


def _latency(connection: sqlite3.Connection, hour: int, name: str, version: int) -> dict[str, Any] | None:
    """Return the median, 95th and 99th percentile of the response times of a sample, in seconds."""
    parameters = (name, version, SAMPLE, hour * HOUR)
    seconds = sorted(second for (second,) in connection.execute(_SECONDS, parameters))
    if not seconds:
        return None
    percentiles = {f"p{rank}": seconds[math.ceil(rank / 100 * len(seconds)) - 1] for rank in (50, 95, 99)}
    return {**percentiles, "requests": len(seconds)}
