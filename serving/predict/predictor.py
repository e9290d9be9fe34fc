"""From rows to logged predictions; the same for JSON, CSV and the form."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Any, Protocol

import msgspec
from werkzeug.exceptions import NotFound, ServiceUnavailable

from serving.metrics import Metrics
from serving.models.live_model import LiveModel
from serving.models.live_models import LiveModels
from serving.models.rollouts import LiveRollout
from serving.predict import explanations
from serving.predict.shadow import Answered, Shadow
from serving.prediction_log.prediction_log import PredictionLog
from serving.prediction_log.records import SHADOW, Entry, ShadowEntry, new_id, parse_id, prediction_id
from serving.server.problems import ModelFailed
from updraft.model.compiled.explain import Explanation
from updraft.model.prediction import Prediction
from updraft.model.signature import Rows

RETRY_AFTER = 5
CALLER = "x-updraft-key"  # the header by which requests of one caller meet one version


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
    explanation: Explanation | None = None


class Predictor:
    """Predicts with the live models, counts predictions, and logs them before the response is sent."""

    def __init__(self, live_models: LiveModels, metrics: Metrics, log: PredictionLog | None) -> None:
        self._live_models, self._metrics, self._log = live_models, metrics, log
        self._shadow = Shadow(metrics, self._record_shadow, self._is_tried)

    def find_model(self, use_case: str, request: RequestHead, body: Callable[[], bytes] | None = None) -> LiveModel:
        """Return the model that answers a request; NotFound: an unknown use case, ServiceUnavailable: none is loaded.

        Both ways ask here. A canary answers its share of the keys that callers send, else of the bodies. A request
        with neither, as that of a page, is answered by the version in production.
        """
        live_models = self._live_models
        if live := live_models.live.get(use_case):
            tried = live_models.rollouts.live.get(use_case)
            if tried is None or tried.is_shadow:
                return live
            caller = request.headers.get(CALLER)
            key = caller.encode() if caller else body() if body else b""
            return tried.live if key and tried.takes(key) else live
        if use_case in live_models.names:
            raise ServiceUnavailable(live_models.why_not(use_case), retry_after=RETRY_AFTER)
        if not live_models.reached:
            raise ServiceUnavailable("No model is loaded and the registry is unreachable.", retry_after=RETRY_AFTER)
        raise NotFound(f"Unknown use case; known: {', '.join(live_models.names) or 'none yet'}.")

    def predict(self, live: LiveModel, rows: Rows, started: float, *, explain: bool = False) -> PredictionResult:
        """Predict for checked rows; `started` is the time.perf_counter() of their arrival. Raises ModelFailed.

        With `explain` it raises also what `explanations.explain` does, and then nothing is predicted.
        """
        explanation = explanations.explain(live, rows) if explain else None
        return replace(self.record(live, rows, self.score(live, rows), started), explanation=explanation)

    def score(self, live: LiveModel, rows: Rows) -> Prediction:
        """Predict for checked rows, and leave no trace of it. Raises ModelFailed."""
        try:
            prediction = live.model.predict_rows(rows)
        except Exception as error:
            raise ModelFailed(f"{live.use_case} version {live.version}") from error
        if not all(map(math.isfinite, _scores(prediction))):
            raise ModelFailed(f"{live.use_case} version {live.version}: a prediction is not finite")
        return prediction

    def record(self, live: LiveModel, rows: Rows, prediction: Prediction, started: float) -> PredictionResult:
        """Count and log what `score` returned: once for each request."""
        self._metrics.count_predictions(live.use_case, prediction, len(rows.warnings))
        ids = self._log_predictions(live, rows, prediction, time.perf_counter() - started)
        if tried := self._live_models.rollouts.live.get(live.use_case):
            self._follow_rollout(tried, live, rows, ids)
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

    def _follow_rollout(self, tried: LiveRollout, live: LiveModel, rows: Rows, ids: list[str] | None) -> None:
        """Count by version what is answered while a version is tried, and hand a copy to a shadow."""
        is_tried = live is tried.live
        self._metrics.count_rollout(live, "canary" if is_tried else "production", len(rows))
        if tried.is_shadow and not is_tried:
            self._shadow.offer(tried, Answered(rows, time.time(), parse_id(ids[0])[0] if ids else None))

    def _is_tried(self, tried: LiveRollout) -> bool:
        now = self._live_models.rollouts.live.get(tried.live.use_case)
        return now is not None and now.is_shadow and now.live is tried.live

    def _record_shadow(self, tried: LiveRollout, answered: Answered) -> None:
        """Score rows that another version has answered, and log the predictions as a shadow's, or that it failed.

        Raises why it failed, a BadRow or a ModelFailed.
        """
        began, live = time.perf_counter(), tried.live
        try:
            rows = _as_read_by(live, answered.rows)
            prediction = self.score(live, rows)
        except Exception:
            self.log_refused(live.use_case, live.version, 500, time.perf_counter() - began, SHADOW)
            raise
        self._log_predictions(live, rows, prediction, time.perf_counter() - began, answered)

    def _log_predictions(
        self,
        live: LiveModel,
        rows: Rows,
        prediction: Prediction,
        seconds: float,
        answered: Answered | None = None,
    ) -> list[str] | None:
        """Log predictions and return their ids, or None if they could not be logged.

        `answered` is the request of a shadow's predictions, which another version has answered.
        """
        if self._log is None:
            return None
        values = [rows.columns[place] for place in live.model.signature.public]
        entry = Entry(
            id=new_id(),
            at=answered.at if answered else time.time() - seconds,
            kind=SHADOW if answered else None,
            use_case=live.use_case,
            version=live.version,
            status=200,
            seconds=seconds,
            columns=live.model.signature.public_names,
            rows=list(zip(*values, strict=True)) if values else [()] * len(rows),
            predictions=prediction.predictions,
            labels=prediction.names,
            probabilities=prediction.probabilities,
        )
        if answered and answered.id:
            entry = ShadowEntry(**msgspec.structs.asdict(entry), answer=answered.id)
        return [prediction_id(entry.id, row) for row in range(len(rows))] if self._write(entry) else None

    def _write(self, entry: Entry) -> bool:
        written = self._log is not None and self._log.write(entry)
        if not written:
            self._metrics.unlogged.inc()
        return written


def _as_read_by(live: LiveModel, rows: Rows) -> Rows:
    """Check rows that another version has read by the signature of this one. Raises BadRow."""
    signature, kept = live.model.signature, dict(zip(rows.names, rows.columns, strict=True))
    columns = {name: kept[name] for name in signature.names if name in kept}
    texts = [[_plain(cell) for cell in column] for column in columns.values()]
    return signature.check((dict(zip(columns, row, strict=True)) for row in zip(*texts, strict=True)), plain=True)


def _plain(cell: Any) -> Any:
    return cell.isoformat() if isinstance(cell, datetime) else cell


def _scores(prediction: Prediction) -> Iterable[Any]:
    scores: list[Any] = prediction.predictions if prediction.probabilities is None else prediction.probabilities
    return chain.from_iterable(map(dict.values, scores)) if isinstance(scores[0], dict) else scores
