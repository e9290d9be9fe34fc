"""`decide`: what was found → what follows, by the use case's `monitor: act`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from updraft.monitoring.drift import Drift
from updraft.monitoring.performance import Performance
from updraft.monitoring.reference import Part
from updraft.stages.monitor.drift import read_drift
from updraft.stages.monitor.performance import read_performance
from updraft.stages.monitor.subject import COLLECTED
from updraft.stages.stage_folder import read_json, recreate_folder, write_json
from updraft.usecase.monitor_block import Action, Monitor, Signal

log = logging.getLogger(__name__)

DECISION = "decision.json"
MAX_COLUMNS = 5  # that a cause names
ROLL_BACK: Action = "roll_back"
RETRAIN: Action = "retrain"


class Found(Part):
    """A signal, what it was found by, and what follows."""

    signal: Signal
    action: Action
    reason: str
    columns: list[str]


class Decision(Part):
    """What was found of a version, and the last move of the registry by then: what follows acts on no other.

    `worst` are the effect sizes of the drifted columns, as multiples of their limits.
    """

    use_case: str
    version: int
    sequence: int
    since: str | None
    until: str | None
    rows: int
    labels: int
    found: list[Found]
    worst: dict[str, float]

    def follows(self, action: Action) -> list[Found]:
        """List the signals that an action follows."""
        return [each for each in self.found if each.action == action]

    def reason(self, action: Action) -> str:
        """Say in one line why an action follows."""
        return "; ".join(f"{each.signal.replace('_', ' ')}: {each.reason}" for each in self.follows(action))

    def cause(self, action: Action) -> dict[str, Any]:
        """Return why an action follows, for the run or the move that it starts."""
        columns = [name for each in self.follows(action) for name in each.columns]
        return {
            "reason": self.reason(action),
            "signals": [each.signal for each in self.follows(action)],
            "columns": {name: self.worst.get(name) for name in dict.fromkeys(columns)},
            "version": self.version,
            "since": self.since,
            "until": self.until,
            "rows": self.rows,
            "labels": self.labels,
        }


def decide(monitor: Monitor, collected: Path, drift: Path, performance: Path, out: Path) -> Path:
    """Write what was found and what follows to `out/decision.json`."""
    recreate_folder(out)
    facts, drifted, measured = read_json(collected / COLLECTED), read_drift(drift), read_performance(performance)
    found = [
        Found(signal=signal, action=monitor.act.of(signal), reason=reason, columns=columns)
        for signal, reason, columns in _signals(drifted, measured)
    ]
    named = {column.name: round(column.worst, 3) for column in drifted.columns if column.verdict == "drifted"}
    keys = ("use_case", "version", "sequence", "since", "until", "rows", "labels")
    decision = Decision(**{key: facts[key] for key in keys}, found=found, worst=named)
    write_json(out / DECISION, decision.model_dump())
    for each in found:
        log.warning("%s: %s, by %s", each.action, each.reason, each.signal)
    if not found:
        log.info("nothing follows: no signal was found")
    return out


def read_decision(folder: Path) -> Decision:
    """Read what `decide` wrote."""
    return Decision.model_validate(read_json(folder / DECISION))


def _signals(drift: Drift, performance: Performance) -> Iterator[tuple[Signal, str, list[str]]]:
    """Yield each signal that was found, with a sentence and the columns that it names."""
    if drift.schema_break:
        yield "schema_break", "; ".join(drift.schema_break), []
    for shift in drift.shifts:
        columns = drift.drifted(shift)
        named = [f"{column.name} ({'; '.join(column.reasons)})" for column in columns[:MAX_COLUMNS]]
        more = f" and {len(columns) - MAX_COLUMNS} more" if len(columns) > MAX_COLUMNS else ""
        yield shift, ", ".join(named) + more, [column.name for column in columns]
    if performance.overall.verdict == "worse":
        yield "performance", performance.overall.reason, []
