"""The way from rows to an answer, the same for JSON, CSV and the form."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from werkzeug.exceptions import NotFound, ServiceUnavailable

from serving.metrics import Metrics
from serving.models.live_models import Live, Shelf
from serving.prediction_log.prediction_log import PredictionLog
from serving.prediction_log.records import Entry, new_id, prediction_id
from serving.server.problems import ModelFailed
from updraft.model.model import Prediction
from updraft.model.signature import Rows

RETRY_AFTER = 5


@dataclass(frozen=True)
class Answered:
    """What one version answered to rows; `ids` are those of its predictions, None where they are not logged."""

    live: Live
    rows: Rows
    prediction: Prediction
    ids: list[str] | None


class Predictor:
    """Answers rows with the live models, counts what it answers, and logs it before anybody sees it."""

    def __init__(self, shelf: Shelf, metrics: Metrics, log: PredictionLog | None) -> None:
        self._shelf, self._metrics, self._log = shelf, metrics, log

    def live(self, use_case: str) -> Live:
        """Return the live model of a use case; NotFound when there is none of that name, else ServiceUnavailable."""
        live, shelf = self._shelf.live.get(use_case), self._shelf
        if live is not None:
            return live
        if use_case in shelf.names:
            raise ServiceUnavailable(f"No verified model of {use_case} is loaded.", retry_after=RETRY_AFTER)
        if not shelf.reached:
            raise ServiceUnavailable("No model is loaded and the registry cannot be reached.", retry_after=RETRY_AFTER)
        raise NotFound(f"Unknown use case; known: {', '.join(shelf.names) or 'none yet'}.")

    def predict(self, live: Live, rows: Rows, started: float) -> Answered:
        """Answer rows that were checked; `started` is the time.perf_counter() of their arrival. Raises ModelFailed."""
        version = f"{live.use_case} version {live.version}"
        try:
            prediction = live.model.predict(rows.frame())
        except Exception as error:
            raise ModelFailed(version) from error
        if not all(map(math.isfinite, _numbers(prediction))):
            raise ModelFailed(f"{version}: an answer is not finite")
        self._metrics.predicted(live.use_case, prediction, len(rows.warnings))
        return Answered(live, rows, prediction, self._logged(live, rows, prediction, time.perf_counter() - started))

    def note_refused(self, use_case: str, version: int | None, status: int, seconds: float, kind: str | None) -> None:
        """Log a request that was refused, without what was in it."""
        if self._log and use_case in self._shelf.names:
            self._write(
                Entry(
                    id=new_id(),
                    at=time.time() - seconds,
                    use_case=use_case,
                    version=version,
                    status=status,
                    seconds=seconds,
                    kind=kind,
                )
            )

    def _logged(self, live: Live, rows: Rows, prediction: Prediction, seconds: float) -> list[str] | None:
        """Log an answer; return its predictions' ids, None when it could not be logged."""
        if self._log is None:
            return None
        kept = [at for at, name in enumerate(rows.names) if name not in live.model.signature.private]
        entry = Entry(
            id=new_id(),
            at=time.time() - seconds,
            use_case=live.use_case,
            version=live.version,
            status=200,
            seconds=seconds,
            columns=[rows.names[at] for at in kept],
            rows=[list(row) for row in zip(*(rows.columns[at] for at in kept), strict=True)] or [[]] * len(rows),
            predictions=prediction.predictions,
            labels=prediction.names,
            probabilities=prediction.probabilities,
        )
        return [prediction_id(entry.id, row) for row in range(len(rows))] if self._write(entry) else None

    def _write(self, entry: Entry) -> bool:
        written = self._log is not None and self._log.write(entry)
        if not written:
            self._metrics.unlogged.inc()
        return written


def _numbers(prediction: Prediction) -> Iterator[Any]:
    for answer in prediction.predictions if prediction.probabilities is None else prediction.probabilities:
        yield from answer.values() if isinstance(answer, dict) else (answer,)
