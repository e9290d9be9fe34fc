"""POST /predict/<use case> in the event loop: the plain good case, without a thread and without Flask.

It answers or gives up. Anything odd, whether invalid, rare, slow to score or merely sent in another way, is left to the
app, which is asked as if nobody had looked before. What it answers equals what the app would answer;
tests/serving/predict/test_loop_route.py compares the two.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from werkzeug.exceptions import HTTPException
from werkzeug.sansio.utils import get_host

from serving.body import json_body
from serving.metrics import Metrics
from serving.models.live_model import LiveModel
from serving.predict.predictor import Predictor
from serving.predict.responses import json_answer, wants_csv
from serving.server import json_logging, security_headers
from serving.server.auth import ApiKeys, is_served, presented_key
from serving.server.problems import ModelFailed
from serving.server.wsgi_adapter import RawResponse, Scope

PREFIX = "/predict/"
ENDPOINT = "predict"  # as Flask names it
MAX_BODY = 8192  # bytes: what is larger takes long to decode
MAX_CACHED = 200  # characters of a header whose meaning is remembered
# Headers that change how a request is read, and that only the app knows how to treat. It ignores all others, too, but
# for those that are read below.
LEFT_TO_APP = frozenset({"content-encoding", "expect", "transfer-encoding", "upgrade"})
FORWARDED_HOST = "x-forwarded-host"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopLimits:
    """Which requests the loop answers: of at most `max_rows` rows that are scored within `seconds`."""

    max_rows: int
    seconds: float


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
        self._hosts = hosts
        # The host that a proxy reports counts only where hosts are checked.
        self._left_to_app = LEFT_TO_APP | ({FORWARDED_HOST} if hosts and trusted_proxies else frozenset())
        self._security_headers = list(security_headers.HEADERS.items())

    def answer(
        self, scope: Scope, headers: list[tuple[str, str]], body: bytes, arrived_at: float
    ) -> RawResponse | None:
        """Return the response to a request whose body arrived at time.perf_counter() `arrived_at`, or None."""
        sent = dict(headers)
        try:
            if len(sent) < len(headers) or not self._is_plain(scope, sent, body) or json_logging.is_behind():
                return None
            key_name = self._key_name(sent)
            if key_name is None and self._api_keys is not None:
                return None
            live = self._predictor.live(scope.path.removeprefix(PREFIX))
            return self._predict(live, scope, body, arrived_at, key_name)
        except (HTTPException, ModelFailed):
            return None
        except Exception:  # a bug of ours must not cost the answer
            log.exception("the event loop could not answer")
            return None

    def _is_plain(self, scope: Scope, sent: dict[str, str], body: bytes) -> bool:
        """Whether the app would take this for JSON of a host that it serves, to be answered in JSON."""
        if scope.method != "POST" or scope.query_string or len(body) > MAX_BODY or not scope.path.startswith(PREFIX):
            return False
        content_type, accept, host = sent.get("content-type", ""), sent.get("accept", ""), sent.get("host")
        if not self._left_to_app.isdisjoint(sent) or len(content_type) > MAX_CACHED or len(accept) > MAX_CACHED:
            return False
        if not host or (self._hosts and not is_served(get_host(scope.scheme, host), self._hosts)):
            return False
        return json_body.is_plain_json(content_type) and not wants_csv(accept)

    def _key_name(self, sent: dict[str, str]) -> str | None:
        if self._api_keys is None:
            return None
        key = presented_key(sent.get("x-api-key", ""), sent.get("authorization", ""))
        return self._api_keys.owner(key) if key else None

    def _predict(
        self, live: LiveModel, scope: Scope, body: bytes, arrived_at: float, key_name: str | None
    ) -> RawResponse | None:
        if live.row_seconds > self._limits.seconds:
            return None
        rows = live.decoder.decode(body, self._limits.max_rows)
        if rows is None or len(rows) * live.row_seconds > self._limits.seconds:
            return None
        headers, content = json_answer(self._predictor.predict(live, rows, arrived_at))
        seconds = time.perf_counter() - arrived_at
        self._metrics.count_request(ENDPOINT, 200, seconds)
        json_logging.log_request(scope.method, scope.path, 200, seconds, key=key_name, version=live.version)
        raw = [(name.lower(), value) for name, value in headers.items()]
        return 200, [*raw, ("content-length", str(len(content))), *self._security_headers], content
