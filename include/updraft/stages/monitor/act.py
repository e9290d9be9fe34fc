"""What follows a decision: a version is taken back, or a training is asked for, once within the cool-down."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from updraft.registry.registry import NoSuchVersion, PointerMoved, Registry
from updraft.stages.monitor.decide import ROLL_BACK, Decision
from updraft.usecase.monitor_block import Monitor

log = logging.getLogger(__name__)

WHO = "monitor:"


class Nothing(Exception):
    """Nothing was done, and why."""


def asked_before(monitor: Monitor, state: Any, run_id: str) -> str:
    """Say why a training is not asked for again: another run did within the cool-down; "" when none did.

    `state` is what `asked_now` returned last. What is no such state, or of a time to come, counts as none.
    """
    if not isinstance(state, Mapping) or state.get("run_id") == run_id:
        return ""  # a further try of this run, which may have died before its event
    try:
        since = datetime.now(UTC) - datetime.fromisoformat(str(state["at"]))
    except (LookupError, ValueError, TypeError):
        return ""
    if not since.total_seconds() >= 0 or since >= monitor.cool_down:
        return ""
    return f"run {state.get('run_id')} asked for a training {_minutes(since)} ago, and cool_down is {monitor.cool_down}"


def asked_now(run_id: str) -> dict[str, str]:
    """Return the state that says that a run asks for a training now."""
    return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "run_id": run_id}


def roll_back(monitor: Monitor, decision: Decision, registry: Registry, run_id: str) -> int:
    """Take back the version that was measured, and return the one that takes its place.

    Raises Nothing when production moved since it was measured, when there is no version to go back to, or when the
    monitor took back another version within the cool-down: what ails two versions is in the data.
    """
    name, now = decision.use_case, registry.pointer(decision.use_case)
    if now is None or now.sequence != decision.sequence or now.production != decision.version:
        raise Nothing(f"production moved since version {decision.version} was measured")
    if now.action == "rollback" and now.who.startswith(WHO):
        since = datetime.now(UTC) - datetime.fromisoformat(now.when)
        if since < monitor.cool_down:
            raise Nothing(
                f"version {now.version} was taken back {_minutes(since)} ago; cool_down is {monitor.cool_down}"
            )
    why = f"{decision.reason(ROLL_BACK)} (run {run_id})"
    try:
        below = registry.rollback(name, who=f"{WHO}monitor_{name}", why=why, expected_sequence=decision.sequence)
    except (NoSuchVersion, PointerMoved) as error:
        raise Nothing(str(error)) from None
    log.warning("version %d is taken back and held, version %d is in production: %s", decision.version, below, why)
    return below


def _minutes(since: timedelta) -> str:
    return f"{since.total_seconds() / 60:.0f} minutes"
