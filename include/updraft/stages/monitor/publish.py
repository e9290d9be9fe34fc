"""Publish a report: its files beside the versions, and in short in `monitor.json`, which the service reads."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

from botocore.exceptions import ClientError

from updraft.monitoring.drift import Drift
from updraft.monitoring.report import Point, state_of, summarize
from updraft.registry import monitor_state
from updraft.registry.folder_hashes import sha256
from updraft.registry.monitor_state import JSON, MAX_REPORTS, PAGE, MonitorState, Signal
from updraft.registry.registry import Registry
from updraft.registry.s3 import VerificationError
from updraft.stages.monitor.decide import Decision
from updraft.stages.stage_folder import read_json

log = logging.getLogger(__name__)

MAX_REASON = 500  # characters: the whole of monitor.json is at most 64 kB


def former_points(registry: Registry, name: str) -> list[Point]:
    """Return what former reports said, the oldest first; none where it cannot be believed."""
    try:
        state = monitor_state.read(registry.bucket, registry.keys, name)
    except VerificationError as error:
        log.warning("the former reports are not believed: %s", error)
        return []
    return [Point.model_validate(point) for point in state.history] if state else []


def publish(registry: Registry, name: str, folder: Path, former: list[Point], run_url: str | None = None) -> str:
    """Upload the report in `folder` and write `monitor.json`; return the URI of the page."""
    content = read_json(folder / JSON)
    now, drift = Point.model_validate(content["point"]), Drift.model_validate(content["drift"])
    decision, overall = Decision.model_validate(content["decision"]), content["performance"]["overall"]
    stamp = datetime.fromisoformat(now.at).strftime("%Y%m%dT%H%M%SZ")
    place = monitor_state.report_folder(name, stamp)
    for file in (PAGE, JSON):
        registry.bucket.upload(f"{place}/{file}", folder / file)
    state = MonitorState(
        name=name,
        version=now.version,
        sequence=decision.sequence,
        at=now.at,
        report=stamp,
        page_sha256=sha256(folder / PAGE),
        run_url=run_url,
        rows=now.rows,
        labels=now.labels,
        refused=now.refused,
        drift=_short(summarize(drift)),
        drift_state=state_of(drift),
        performance=_short(f"{overall['verdict']}: {overall['reason']}"),
        metric=now.metric,
        value=now.value,
        promised=now.promised,
        found=[Signal(signal=x.signal, action=x.action, reason=_short(x.reason)) for x in decision.found],
        worst=now.worst,
        history=[point.model_dump(mode="json") for point in [*former, now][-MAX_REPORTS:]],
    )
    monitor_state.write(registry.bucket, registry.keys, state)
    try:
        monitor_state.prune(registry.bucket, name)
    except ClientError as error:  # the login may create and not delete: nothing is lost by that
        log.warning("old reports stay: %s", error)
    registry.follow(name)  # what its mirror lacks of an earlier move
    return f"{registry.bucket}/{place}/{PAGE}"


def _short(text: str) -> str:
    return text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 1]}…"
