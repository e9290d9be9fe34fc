"""Start a DAG when enough rows are new: triggers that count, in Airflow's triggerer.

What was there when the last run began is kept in the state of an asset, which Airflow stores.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import Asset, AssetWatcher
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

if TYPE_CHECKING:
    from airflow.sdk.execution_time.context import AssetStateStoreAccessors

    from updraft.predictions.counting import Counter
    from updraft.usecase import UseCase
    from updraft.usecase.rows_definition import Counting

log = logging.getLogger(__name__)

SEEN = "seen"  # the key of the asset's state, which has "at": "2026-11-29T03:00:00+00:00" beside what was there then
POLL_SECONDS = 30.0
State = dict[str, Any]


def new_rows_asset(name: str, schedule: Counting) -> Asset:
    """Return the asset of a use case that has an event when enough of its source's rows are new."""
    return _asset(name, "rows", NewRows(name=name, rows=schedule.rows, hours=schedule.hours))


def new_predictions_asset(name: str, schedule: Counting) -> Asset:
    """Return the asset of a use case that has an event when enough of its shipped predictions are new."""
    return _asset(name, "predictions", NewPredictions(name=name, rows=schedule.rows, hours=schedule.hours))


def _asset(name: str, what: str, trigger: CountingTrigger) -> Asset:
    watcher = AssetWatcher(name=f"{name}_new_{what}", trigger=trigger)
    return Asset(name=f"{name}_new_{what}", uri=f"x-updraft://new-{what}/{quote(name)}", watchers=[watcher])


def state_of(rows: int) -> State:
    """Return the state that says how many rows a source has now."""
    return {"rows": rows, "at": _now()}


def state_of_shipped(case: UseCase, counter: Counter) -> State:
    """Return the state that says up to where predictions are shipped now."""
    from updraft.predictions.counting import positions

    return {"shipped": positions(counter.objects(_first_day(case))), "at": _now()}


def due(new: int, at: str, rows: int | None, hours: float | None) -> bool:
    """Whether enough rows are new, or any is and enough time has passed since the last run, at `at`."""
    if rows is not None and new >= rows:
        return True
    waited = datetime.now(UTC) - datetime.fromisoformat(at)
    return hours is not None and new > 0 and waited >= timedelta(hours=hours)


@dataclass(frozen=True)
class Look:
    """How many rows are new, what the last run saw, as far as it is still so, and what one would see now."""

    new: int
    seen: State
    now: State


class CountingTrigger(BaseEventTrigger):
    """Yields an event each time that a run is due; what cannot be counted is counted later."""

    def __init__(self, name: str, rows: int | None, hours: float | None, seconds: float = POLL_SECONDS) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name, self.rows, self.hours, self.seconds = name, rows, hours, seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores of the trigger."""
        arguments = {"name": self.name, "rows": self.rows, "hours": self.hours, "seconds": self.seconds}
        return f"new_rows.{type(self).__name__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Count, compare, wait. The state moves after the event: a kill in between repeats it and loses nothing."""
        while True:
            try:
                stored = await self._state.aget(SEEN)
                look = await asyncio.to_thread(self.look, stored if isinstance(stored, dict) else None)
                if look.seen != stored:
                    await self._state.aset(SEEN, look.seen)
                if due(look.new, look.seen["at"], self.rows, self.hours):
                    yield TriggerEvent({"new": look.new})  # type: ignore[no-untyped-call]
                    await self._state.aset(SEEN, look.now)
            except Exception as error:  # what ends the trigger would end it for good
                log.warning("%s: cannot count the rows: %s", self.name, error)
            await asyncio.sleep(self.seconds)

    @abstractmethod
    def look(self, seen: Mapping[str, Any] | None) -> Look:
        """Count what is new since `seen`, the state of the last run, or at all where there was none."""

    @property
    def _state(self) -> AssetStateStoreAccessors:
        if self.asset_state_store is None:  # set by the triggerer
            raise RuntimeError("a trigger has no state outside the triggerer")
        return self.asset_state_store


class NewRows(CountingTrigger):
    """Counts the rows of a use case's source."""

    def look(self, seen: Mapping[str, Any] | None) -> Look:
        """See the base class; where rows were deleted since the last run, it saw those that are left."""
        from connections import source_address
        from updraft.sources.count import count_rows
        from updraft.usecase import load

        count = count_rows(load(self.name), source_address)
        before = dict(seen or state_of(0))
        before["rows"] = min(count, int(before["rows"]))
        return Look(count - before["rows"], before, state_of(count))


class NewPredictions(CountingTrigger):
    """Counts the shipped predictions of a use case, of the days that its monitor measures."""

    _counter: Counter | None = None

    def look(self, seen: Mapping[str, Any] | None) -> Look:
        """See the base class."""
        from updraft.predictions.counting import positions
        from updraft.usecase import load

        self._counter = self._counter or prediction_counter(self.name)
        objects = self._counter.objects(_first_day(load(self.name)))
        before = dict(seen or {"shipped": {}, "at": _now()})
        new = self._counter.rows_after(before["shipped"], objects)
        return Look(new, before, {"shipped": positions(objects), "at": _now()})


def prediction_counter(name: str) -> Counter:
    """Return what counts a use case's shipped predictions."""
    from connections import predictions
    from updraft.predictions.counting import Counter

    return Counter(predictions(), name)


def _first_day(case: UseCase) -> Any:
    from updraft.usecase.monitor_block import Monitor

    return (datetime.now(UTC) - (case.monitor or Monitor()).window).date()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
