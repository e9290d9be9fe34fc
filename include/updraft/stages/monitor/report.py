"""The report of a run of the monitor: a page for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from updraft.monitoring.drift import Drift
from updraft.monitoring.performance import Performance
from updraft.monitoring.report import Point, Report, render_page
from updraft.registry.monitor_state import JSON as JSON
from updraft.registry.monitor_state import PAGE as PAGE
from updraft.stages.monitor.decide import Decision, read_decision
from updraft.stages.monitor.drift import read_drift
from updraft.stages.monitor.performance import read_performance
from updraft.stages.monitor.subject import COLLECTED, subject_in
from updraft.stages.stage_folder import read_json, write_json

MAX_WORST = 10  # columns of a point


def report(collected: Path, drift: Path, performance: Path, decision: Path, former: Sequence[Point], out: Path) -> Path:
    """Write `out/report.html` and `out/report.json` beside what is there; return the second."""
    facts, subject = read_json(collected / COLLECTED), subject_in(collected)
    drifted, measured, decided = read_drift(drift), read_performance(performance), read_decision(decision)
    now = point(facts, drifted, measured, decided)
    found = [(each.signal, each.action) for each in decided.found]
    history = [*former, now]
    signature, rows = subject.signature, extent(facts)
    page = Report(signature.title, signature.titles, str(subject), rows, drifted, measured, found, history)
    (out / PAGE).write_text(render_page(page), encoding="utf-8")
    parts = {"drift": drifted, "performance": measured, "decision": decided, "point": now}
    write_json(out / JSON, {"collected": facts} | {name: part.model_dump() for name, part in parts.items()})
    return out / JSON


def point(facts: dict[str, Any], drift: Drift, performance: Performance, decision: Decision) -> Point:
    """Return what later reports keep of this one."""
    overall = performance.overall
    return Point(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=facts["version"],
        rows=facts["rows"],
        labels=facts["labels"],
        refused=facts["refused"],
        metric=performance.metric,
        value=overall.value,
        interval=overall.interval,
        promised=overall.promised,
        signals=[each.signal for each in decision.found],
        worst={column.name: round(column.worst, 3) for column in drift.columns[:MAX_WORST]},
    )


def extent(facts: dict[str, Any]) -> str:
    """Say which rows were measured."""
    left_out = facts.get("left_out", 0)
    part = f", the last {facts['rows']:,} of {facts['rows'] + left_out:,} rows" if left_out else ""
    if facts["since"] is None:
        return f"{facts['source']}{part}"
    return f"{facts['since'][:16].replace('T', ' ')} to {facts['until'][:16].replace('T', ' ')} UTC{part}"
