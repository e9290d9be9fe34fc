"""From rows to logged predictions; the same for JSON, CSV and the form."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from werkzeug.exceptions import NotFound, ServiceUnavailable

from serving.metrics import Metrics
from serving.models.live_model import LiveModel
from serving.models.live_models import LiveModels
from serving.prediction_log.prediction_log import PredictionLog
from serving.prediction_log.records import Entry, new_id, prediction_id
from serving.server.problems import ModelFailed
from updraft.model.prediction import Prediction
from updraft.model.signature import Rows

RETRY_AFTER = 5


class RequestHead(Protocol):
    """What Flask's request and RSGI's scope have in common: `headers`, whose `get` takes names in lower case."""

    @property
    def headers(self) -> Any: ...


@dataclass(frozen=True)
class PredictionResult:
    """What one model version predicted for rows; `ids` are the predictions' ids, None if they are not logged."""

    live: LiveModel
    rows: Rows
    prediction: Prediction
    ids: list[str] | None


class Predictor:
    """Predicts with the live models, counts predictions, and logs them before the response is sent."""

    def __init__(self, live_models: LiveModels, metrics: Metrics, log: PredictionLog | None) -> None:
        self._live_models, self._metrics, self._log = live_models, metrics, log

    def find_model(self, use_case: str, request: RequestHead) -> LiveModel:
        """Return the model that answers a request; NotFound: an unknown use case, ServiceUnavailable: none is loaded.

        Both ways ask here, so that one rule may choose among versions by `request`.
        """
        live_models = self._live_models
        if live := live_models.live.get(use_case):
            return live
        if use_case in live_models.names:
            raise ServiceUnavailable(live_models.why_not(use_case), retry_after=RETRY_AFTER)
        if not live_models.reached:
            raise ServiceUnavailable("No model is loaded and the registry is unreachable.", retry_after=RETRY_AFTER)
        raise NotFound(f"Unknown use case; known: {', '.join(live_models.names) or 'none yet'}.")

    def predict(self, live: LiveModel, rows: Rows, started: float) -> PredictionResult:
        """Predict for checked rows; `started` is the time.perf_counter() of their arrival. Raises ModelFailed."""
        return self.record(live, rows, self.score(live, rows), started)

    def score(self, live: LiveModel, rows: Rows) -> Prediction:
        """Predict for checked rows, and leave no trace of it. Raises ModelFailed."""
        version = f"{live.use_case} version {live.version}"
        try:
            prediction = live.model.predict_rows(rows)
        except Exception as error:
            raise ModelFailed(version) from error
        if not all(map(math.isfinite, _scores(prediction))):
            raise ModelFailed(f"{version}: a prediction is not finite")
        return prediction

    def record(self, live: LiveModel, rows: Rows, prediction: Prediction, started: float) -> PredictionResult:
        """Count and log what `score` returned: once for each request."""
        self._metrics.count_predictions(live.use_case, prediction, len(rows.warnings))
        ids = self._log_predictions(live, rows, prediction, time.perf_counter() - started)
        return PredictionResult(live, rows, prediction, ids)

    def log_refused(self, use_case: str, version: int | None, status: int, seconds: float, kind: str | None) -> None:
        """Log a refused request, without its body."""
        if self._log and use_case in self._live_models.names:
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

    def _log_predictions(self, live: LiveModel, rows: Rows, prediction: Prediction, seconds: float) -> list[str] | None:
        """Log predictions and return their ids, or None if they could not be logged."""
        if self._log is None:
            return None
        public = live.model.signature.public
        entry = Entry(
            id=new_id(),
            at=time.time() - seconds,
            use_case=live.use_case,
            version=live.version,
            status=200,
            seconds=seconds,
            columns=[rows.names[index] for index in public],
            rows=[list(row) for row in zip(*(rows.columns[i] for i in public), strict=True)] or [[]] * len(rows),
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


def _scores(prediction: Prediction) -> Iterator[Any]:
    for score in prediction.predictions if prediction.probabilities is None else prediction.probabilities:
        yield from score.values() if isinstance(score, dict) else (score,)
