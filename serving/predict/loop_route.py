"""POST /predict/<use case> in the event loop: the plain good case, without a thread and without Flask.

It answers or gives up. Anything odd, whether invalid, rare, slow to score or merely sent in another way, is left to the
app, which is asked as if nobody had looked before. What it answers equals what the app would answer;
tests/serving/predict/test_loop_route.py compares the two.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import NamedTuple

from werkzeug.exceptions import HTTPException

from serving.body import json_body
from serving.metrics import Metrics
from serving.models.live_model import LiveModel
from serving.predict.predictor import Predictor
from serving.predict.responses import JSON, json_answer, wanted
from serving.server import json_logging, problems, security_headers
from serving.server.auth import ApiKeys, is_served, presented_key
from serving.server.problems import ModelFailed
from serving.server.proxies import reported_host
from serving.server.wsgi_adapter import RawResponse, Scope, is_host
from updraft.model.prediction import Prediction
from updraft.model.signature import Rows

PREFIX = "/predict/"
ENDPOINT = "predict"  # as Flask names it
MAX_BODY = 8192  # bytes: what is larger takes long to decode
MAX_CACHED = 200  # characters of a header whose meaning is remembered
# Headers that change how a request is read, and that only the app knows how to treat. It ignores all others, too, but
# for those that are read below.
LEFT_TO_APP = frozenset({"content-encoding", "expect", "transfer-encoding", "upgrade"})

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopLimits:
    """Which requests the loop answers: of at most `max_rows` rows that are scored within `seconds`."""

    max_rows: int
    seconds: float


class Scored(NamedTuple):
    """What a request asked for, before anything of it is counted or logged."""

    live: LiveModel
    rows: Rows
    prediction: Prediction
    key_name: str | None


class LoopRoute:
    """Answers what it can; for one event loop. `hosts` and `trusted_proxies` are those of the app."""

    def __init__(
        self,
        predictor: Predictor,
        metrics: Metrics,
        limits: LoopLimits,
        *,
        api_keys: ApiKeys | None = None,
        hosts: tuple[str, ...] = (),
        trusted_proxies: int = 0,
    ) -> None:
        self._predictor, self._metrics, self._limits, self._api_keys = predictor, metrics, limits, api_keys
        self._hosts, self._trusted_proxies = hosts, trusted_proxies
        self._security_headers = list(security_headers.HEADERS.items())

    def answer(
        self, scope: Scope, headers: list[tuple[str, str]], body: bytes, arrived_at: float
    ) -> RawResponse | None:
        """Return the response to a request whose body arrived at time.perf_counter() `arrived_at`, or None.

        Until it is scored nothing is counted or logged, so that the app can be asked instead. From then on the app must
        not be asked any more, whatever happens: it would predict, count and log the same request again.
        """
        try:
            scored = self._score(scope, headers, body)
        except (HTTPException, ModelFailed):
            return None
        except Exception:  # a bug of ours must not cost the answer
            log.exception("the event loop could not answer")
            return None
        if scored is None:
            return None
        try:
            return self._respond(scored, scope, arrived_at)
        except Exception as error:
            return self._fail(error, scored, scope, arrived_at)

    def _score(self, scope: Scope, headers: list[tuple[str, str]], body: bytes) -> Scored | None:
        sent = dict(headers)
        if len(sent) < len(headers) or not self._is_plain(scope, sent, body) or json_logging.is_behind():
            return None
        key_name = self._key_name(sent)
        if key_name is None and self._api_keys is not None:
            return None
        live = self._predictor.find_model(scope.path.removeprefix(PREFIX), scope, lambda: body)
        if live.row_seconds > self._limits.seconds:
            return None
        rows = live.decoder.decode(body, self._limits.max_rows)
        if rows is None or len(rows) * live.row_seconds > self._limits.seconds:
            return None
        return Scored(live, rows, self._predictor.score(live, rows), key_name)

    def _is_plain(self, scope: Scope, sent: dict[str, str], body: bytes) -> bool:
        """Whether the app would take this for JSON of a host that it serves, to be answered in JSON."""
        if scope.method != "POST" or scope.query_string or len(body) > MAX_BODY or not scope.path.startswith(PREFIX):
            return False
        content_type, accept = sent.get("content-type", ""), sent.get("accept", "")
        if not LEFT_TO_APP.isdisjoint(sent) or len(content_type) > MAX_CACHED or len(accept) > MAX_CACHED:
            return False
        return self._is_served(scope, sent) and json_body.is_plain_json(content_type) and wanted(accept) == JSON

    def _is_served(self, scope: Scope, sent: dict[str, str]) -> bool:
        host, reported = sent.get("host"), sent.get("x-forwarded-host", "") if self._trusted_proxies else ""
        if not host:
            return False
        if not self._hosts and not reported:
            return True
        scheme = sent.get("x-forwarded-proto", "") if self._trusted_proxies else ""
        if len(reported) > MAX_CACHED or len(scheme) > MAX_CACHED:
            return False
        found = reported_host(self._trusted_proxies, scope.scheme, host, reported, scheme)
        return bool(found) and is_host(found) and (not self._hosts or is_served(found, self._hosts))

    def _key_name(self, sent: dict[str, str]) -> str | None:
        if self._api_keys is None:
            return None
        key = presented_key(sent.get("x-api-key", ""), sent.get("authorization", ""))
        return self._api_keys.owner(key) if key else None

    def _respond(self, scored: Scored, scope: Scope, arrived_at: float) -> RawResponse:
        live, rows, prediction, key_name = scored
        headers, content = json_answer(self._predictor.record(live, rows, prediction, arrived_at))
        seconds = time.perf_counter() - arrived_at
        self._metrics.count_request(ENDPOINT, 200, seconds)
        json_logging.log_request(scope.method, scope.path, 200, seconds, key=key_name, version=live.version)
        sent = [(name.lower(), value) for name, value in headers.items()]
        return 200, [*sent, ("content-length", str(len(content))), *self._security_headers], content

    def _fail(self, error: Exception, scored: Scored, scope: Scope, arrived_at: float) -> RawResponse:
        """Answer with a 500, and count and log it as the app does."""
        live, kind = scored.live, "internal"
        response = problems.internal_error(error)
        seconds, status = time.perf_counter() - arrived_at, response.status_code
        self._metrics.count_error(kind)
        self._metrics.count_request(ENDPOINT, status, seconds)
        self._predictor.log_refused(live.use_case, live.version, status, seconds, kind)
        json_logging.log_request(scope.method, scope.path, status, seconds, key=scored.key_name, version=live.version)
        raw = [(name.lower(), value) for name, value in response.headers]
        return status, [*raw, *self._security_headers], response.data
