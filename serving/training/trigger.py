"""Training through the service: starts a use case's DAG in Airflow and follows the runs started here."""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from werkzeug.exceptions import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    ServiceUnavailable,
    Unauthorized,
    UnprocessableEntity,
)

from serving.server.auth import Challenge, digest, read_secret
from serving.training.rate_limit import RateLimiter
from serving.training.runs import Run, iso_time, read_run
from updraft.airflow_client import DAG_PREFIX, Airflow, AirflowError, Dag, DagRun
from updraft.api_keys import key_error
from updraft.registry.s3 import NAME
from updraft.run_params import RunParams

PREFIX = "service__"  # of the ids of runs started here
IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9_.~-]{1,64}")
KEY_RULE = "1 to 64 letters, digits, '_', '.', '~' and '-'"
STARTS_PER_MINUTE = 10  # runs started, by all callers together
FAILURES_PER_MINUTE = 5  # wrong tokens from one address
CACHE_SECONDS = 1.0  # for which the state of a run is returned without asking Airflow again
TURN_TIMEOUT = 3.0  # seconds a request waits for its turn with Airflow
RETRY_AFTER = 10
PASSWORD = "AIRFLOW_PASSWORD"  # noqa: S105
NOT_STARTED_HERE = "No run with this id was started by this service."

log = logging.getLogger(__name__)


class Trainer:
    """Starts and follows training runs, with one request to Airflow at a time: a slow Airflow occupies few threads.

    Callers need the `token`, and start at most `starts` runs per minute together. `airflow_pages` is where browsers
    reach Airflow, if not where the service does. All methods raise HTTP errors.
    """

    def __init__(
        self,
        airflow: Airflow,
        token: str,
        rate_limiter: RateLimiter | None = None,
        starts: int = STARTS_PER_MINUTE,
        airflow_pages: str | None = None,
    ) -> None:
        self._airflow = airflow
        self._token = digest(token)
        self._rate_limiter = rate_limiter or RateLimiter()
        self._starts = starts
        self._airflow_pages = airflow_pages
        self._turn = threading.Lock()
        self._cache: dict[tuple[str, str], tuple[float, Run]] = {}

    def is_token(self, token: str) -> bool:
        """Return whether this is the token; takes the same time however much of it is right."""
        return hmac.compare_digest(digest(token), self._token)

    def authorize(self, token: str | None, address: str) -> None:
        """Accept the token, or raise Unauthorized, Forbidden, or TooManyRequests after many wrong ones."""
        if not token:
            challenge = Challenge("bearer", {"realm": "updraft train"})
            raise Unauthorized("Training needs a token: Authorization: Bearer <token>.", www_authenticate=challenge)
        # Only wrong tokens count: others at the same address, say behind one NAT, cannot lock out the owner.
        if not self.is_token(token):
            self._rate_limiter.hit(f"token {address}", FAILURES_PER_MINUTE)
            raise Forbidden("Wrong token for training.")

    def start(self, use_case: str, params: dict[str, Any], key: str | None) -> Run:
        """Start a run, or return the one that was started with the same idempotency key.

        Raises BadRow or UnprocessableEntity for the parameters, BadRequest for the key, NotFound for the use case,
        Conflict if Airflow would not execute it, TooManyRequests, ServiceUnavailable.
        """
        conf = RunParams.read(params).model_dump(exclude_none=True)
        if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
            raise BadRequest(f"Idempotency-Key: expected {KEY_RULE}.")
        run_id = PREFIX + (key or secrets.token_hex(16))
        with self._airflow_session() as airflow:
            dag = airflow.dag(DAG_PREFIX + use_case) if NAME.fullmatch(use_case) else None
            if dag is None:
                _unknown_use_case(airflow)
            run = airflow.run(dag.dag_id, run_id) if key else None
            if run is None:
                _check_runnable(dag)
                self._rate_limiter.hit("train", self._starts)
                run = _trigger(airflow, dag.dag_id, run_id, conf)
        if run.conf != conf:
            raise UnprocessableEntity("This Idempotency-Key was used with other parameters.")
        log.info("%s: run %s is %s", use_case, run_id, run.state)
        return Run(use_case, run_id, run.state, iso_time(run.start_date), iso_time(run.end_date))

    def follow(self, use_case: str, run_id: str) -> Run:
        """Return the state of a run that was started here; NotFound for any other run, ServiceUnavailable."""
        key = run_id.removeprefix(PREFIX)
        if not NAME.fullmatch(use_case) or key == run_id or not IDEMPOTENCY_KEY.fullmatch(key):
            raise NotFound(NOT_STARTED_HERE)
        cached = self._cached(use_case, run_id)
        if cached is not None:
            return cached
        with self._airflow_session() as airflow:
            # Looked up again: another thread may have asked Airflow while this one waited for its turn.
            run = self._cached(use_case, run_id) or read_run(airflow, use_case, run_id, self._airflow_pages)
            if run is None:
                raise NotFound(NOT_STARTED_HERE)
            now = time.monotonic()
            fresh = {name: entry for name, entry in self._cache.items() if now - entry[0] < CACHE_SECONDS}
            self._cache = fresh | {(use_case, run_id): (now, run)}  # replaced, never changed: read without a lock
        return run

    def _cached(self, use_case: str, run_id: str) -> Run | None:
        at, run = self._cache.get((use_case, run_id), (-CACHE_SECONDS, None))
        return run if time.monotonic() - at < CACHE_SECONDS else None

    @contextmanager
    def _airflow_session(self) -> Iterator[Airflow]:
        if not self._turn.acquire(timeout=TURN_TIMEOUT):
            raise ServiceUnavailable("Airflow is slow to respond.", retry_after=RETRY_AFTER)
        try:
            yield self._airflow
        except AirflowError as error:
            log.error("%s", error)
            raise ServiceUnavailable("Airflow does not respond to this service.", retry_after=RETRY_AFTER) from None
        finally:
            self._turn.release()


def open_trainer(environment: Mapping[str, str], folder: Path, starts: int = STARTS_PER_MINUTE) -> Trainer | None:
    """Create the trainer from the environment, with its rate limits in `folder`; None if no token is set.

    Raises ValueError that names a missing or invalid variable.
    """
    token = read_secret(environment, "SERVING_TRAIN_TOKEN")
    if token is None:
        return None
    if error := key_error(token):
        raise ValueError(f"SERVING_TRAIN_TOKEN: it {error}")
    url, user, password = (
        environment.get("AIRFLOW_URL"),
        environment.get("AIRFLOW_USER"),
        read_secret(environment, PASSWORD),
    )
    if not re.match("https?://[^/]", url or ""):
        raise ValueError("AIRFLOW_URL: expected Airflow's http:// or https:// URL, as SERVING_TRAIN_TOKEN is set")
    if not user or not password:
        raise ValueError(f"AIRFLOW_USER and {PASSWORD}: expected both, as SERVING_TRAIN_TOKEN is set")
    pages = environment.get("AIRFLOW_PUBLIC_URL") or None
    if pages and not re.match("https?://[^/]", pages):
        raise ValueError(f"AIRFLOW_PUBLIC_URL: {pages!r} is no http:// or https:// URL")
    return Trainer(Airflow(str(url), user, password), token, RateLimiter(folder / "rates.sqlite"), starts, pages)


def _unknown_use_case(airflow: Airflow) -> NoReturn:
    raise NotFound(f"Airflow has no DAG for this use case; known: {', '.join(airflow.use_cases()) or 'none yet'}.")


def _check_runnable(dag: Dag) -> None:
    """Raise Conflict for a DAG whose runs would never start."""
    if dag.is_paused:
        raise Conflict("The DAG of this use case is paused, and the run would never start: unpause it in Airflow.")
    if dag.has_import_errors:
        raise Conflict("Airflow cannot import the DAG of this use case: see its import errors.")


def _trigger(airflow: Airflow, dag_id: str, run_id: str, conf: dict[str, Any]) -> DagRun:
    """Start the run, or return the one that another request started under the same id at the same time."""
    try:
        run = airflow.trigger(dag_id, run_id, conf)
    except AirflowError as error:
        run = airflow.run(dag_id, run_id)  # with SQLite and concurrent writers, Airflow returns 500 for an existing run
        if run is None:
            raise error from None
    run = run or airflow.run(dag_id, run_id)
    if run is None:
        raise AirflowError(f"Airflow reports that the run {run_id} exists, and that it does not")
    return run
