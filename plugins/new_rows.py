"""Start training when enough rows are new: a trigger that counts the source's rows, in Airflow's triggerer.

What was there when the last run read the source is kept in the state of an asset, which Airflow stores.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import Asset, AssetWatcher
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

if TYPE_CHECKING:
    from airflow.sdk.execution_time.context import AssetStateStoreAccessors

    from updraft.usecase.rows_definition import TrainingSchedule

log = logging.getLogger(__name__)

SEEN = "seen"  # the key of the asset's state: {"rows": 5000, "at": "2026-11-29T03:00:00+00:00"}
POLL_SECONDS = 30.0


def new_rows_asset(name: str, schedule: TrainingSchedule) -> Asset:
    """Return the asset of a use case that has an event when `schedule.rows` or `schedule.hours` say so."""
    trigger = NewRows(name=name, rows=schedule.rows, hours=schedule.hours)
    watcher = AssetWatcher(name=f"{name}_new_rows", trigger=trigger)
    return Asset(name=f"{name}_new_rows", uri=f"x-updraft://new-rows/{quote(name)}", watchers=[watcher])


def state_of(rows: int) -> dict[str, Any]:
    """Return the state that says how many rows there are now."""
    return {"rows": rows, "at": datetime.now(UTC).isoformat(timespec="seconds")}


def due(seen: Mapping[str, Any], count: int, rows: int | None, hours: float | None) -> bool:
    """Whether enough rows are new, or any is and enough time has passed since the last run."""
    new = count - int(seen["rows"])
    if rows is not None and new >= rows:
        return True
    waited = datetime.now(UTC) - datetime.fromisoformat(str(seen["at"]))
    return hours is not None and new > 0 and waited >= timedelta(hours=hours)


class NewRows(BaseEventTrigger):
    """Yields an event each time that training is due; a source that cannot be asked is asked again later."""

    def __init__(self, name: str, rows: int | None, hours: float | None, seconds: float = POLL_SECONDS) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name, self.rows, self.hours, self.seconds = name, rows, hours, seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores of the trigger."""
        arguments = {"name": self.name, "rows": self.rows, "hours": self.hours, "seconds": self.seconds}
        return "new_rows.NewRows", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Count, compare, wait. The state moves after the event: a kill in between repeats it and loses nothing."""
        while True:
            try:
                count = await asyncio.to_thread(_count, self.name)
                seen = await self._seen(count)
                if due(seen, count, self.rows, self.hours):
                    yield TriggerEvent({"rows": count, "new": count - seen["rows"]})  # type: ignore[no-untyped-call]
                    await self._state.aset(SEEN, state_of(count))
            except Exception as error:  # what ends the trigger would end it for good
                log.warning("%s: cannot count the rows: %s", self.name, error)
            await asyncio.sleep(self.seconds)

    @property
    def _state(self) -> AssetStateStoreAccessors:
        if self.asset_state_store is None:  # set by the triggerer
            raise RuntimeError("a trigger has no state outside the triggerer")
        return self.asset_state_store

    async def _seen(self, count: int) -> dict[str, Any]:
        """Return what was there at the last run; where rows were deleted since, those that are left."""
        stored = await self._state.aget(SEEN)
        seen: dict[str, Any] = stored if isinstance(stored, dict) else state_of(0)
        if not isinstance(stored, dict) or count < seen["rows"]:
            seen = seen | {"rows": min(count, seen["rows"])}
            await self._state.aset(SEEN, seen)
        return seen


def _count(name: str) -> int:
    from connections import source_address
    from updraft.sources.count import count_rows
    from updraft.usecase import load

    return count_rows(load(name), source_address)
