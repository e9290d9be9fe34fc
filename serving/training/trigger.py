"""Training from the service: start a use case's DAG in Airflow, and follow the runs that were started here."""

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

from serving.server.auth import Challenge, digest, secret
from serving.training.rate_limit import Rates
from serving.training.runs import Run, look, told
from updraft.airflow_client import DAG_PREFIX, Airflow, AirflowError, Dag, DagRun
from updraft.api_keys import key_error
from updraft.registry.s3 import NAME
from updraft.run_params import RunParams

PREFIX = "service__"  # what the ids of our runs begin with
KEY = re.compile(r"[A-Za-z0-9_.~-]{1,64}")
KEY_RULE = "1 to 64 letters, digits, '_', '.', '~' and '-'"
STARTS, FAILURES = 10, 5  # in a minute: runs started, and wrong tokens of one address
FRESH = 1.0  # seconds that an answer about a run is given again
PATIENCE = 3.0  # seconds that a request waits for its turn with Airflow
RETRY_AFTER = 10
PASSWORD = "AIRFLOW_PASSWORD"  # noqa: S105
FOREIGN = "No run of this id was started from here."

log = logging.getLogger(__name__)


class Trainer:
    """Starts and follows runs, one conversation with Airflow at a time, so that a slow one holds few of our threads.

    `token` is what a caller must know; at most `starts` runs in a minute are started. What the methods raise are HTTP
    errors.
    """

    def __init__(self, airflow: Airflow, token: str, rates: Rates | None = None, starts: int = STARTS) -> None:
        self._airflow = airflow
        self._token = digest(token)
        self._rates = rates or Rates()
        self._starts = starts
        self._turn = threading.Lock()
        self._told: dict[tuple[str, str], tuple[float, Run]] = {}

    def allows(self, token: str) -> bool:
        """Tell whether this is the token, in a time that does not tell how much of it was right."""
        return hmac.compare_digest(digest(token), self._token)

    def admit(self, token: str | None, address: str) -> None:
        """Let who knows the token pass: else Unauthorized, Forbidden, or TooManyRequests after so many wrong ones."""
        if not token:
            challenge = Challenge("bearer", {"realm": "updraft train"})
            raise Unauthorized("Training needs a token: Authorization: Bearer <token>.", www_authenticate=challenge)
        if not self.allows(token):  # who has it is let in whatever others at this address try
            self._rates.take(f"token {address}", FAILURES)
            raise Forbidden("This is not the token for training.")

    def start(self, use_case: str, params: dict[str, Any], key: str | None) -> Run:
        """Start a run, or find the one that was started under the same key.

        Raises BadRow or UnprocessableEntity for the parameters, BadRequest for the key, NotFound for the use case,
        Conflict when Airflow would not run it, TooManyRequests, ServiceUnavailable.
        """
        conf = RunParams.read(params).model_dump(exclude_none=True)
        if key is not None and not KEY.fullmatch(key):
            raise BadRequest(f"Idempotency-Key: expected {KEY_RULE}.")
        run_id = PREFIX + (key or secrets.token_hex(16))
        with self._talk() as airflow:
            dag = airflow.dag(DAG_PREFIX + use_case) if NAME.fullmatch(use_case) else None
            if dag is None:
                _unknown(airflow)
            found = airflow.run(dag.dag_id, run_id) if key else None
            if found is None:
                _refuse_idle(dag)
                self._rates.take("train", self._starts)
                found = _trigger(airflow, dag.dag_id, run_id, conf)
        if found.conf != conf:
            raise UnprocessableEntity("This Idempotency-Key was used for other parameters.")
        log.info("%s: run %s is %s", use_case, run_id, found.state)
        return Run(use_case, run_id, found.state, told(found.start_date), told(found.end_date))

    def follow(self, use_case: str, run_id: str) -> Run:
        """Say how a run gets on that was started here; NotFound for any other, ServiceUnavailable."""
        key = run_id.removeprefix(PREFIX)
        if not NAME.fullmatch(use_case) or key == run_id or not KEY.fullmatch(key):
            raise NotFound(FOREIGN)
        fresh = self._fresh(use_case, run_id)
        if fresh is not None:
            return fresh
        with self._talk() as airflow:
            found = self._fresh(use_case, run_id) or look(airflow, use_case, run_id)
            if found is None:
                raise NotFound(FOREIGN)
            now = time.monotonic()
            kept = {name: each for name, each in self._told.items() if now - each[0] < FRESH}
            self._told = kept | {(use_case, run_id): (now, found)}  # replaced, never changed: it is read without a lock
        return found

    def _fresh(self, use_case: str, run_id: str) -> Run | None:
        at, run = self._told.get((use_case, run_id), (-FRESH, None))
        return run if time.monotonic() - at < FRESH else None

    @contextmanager
    def _talk(self) -> Iterator[Airflow]:
        if not self._turn.acquire(timeout=PATIENCE):
            raise ServiceUnavailable("Airflow is slow to answer.", retry_after=RETRY_AFTER)
        try:
            yield self._airflow
        except AirflowError as error:
            log.error("%s", error)
            raise ServiceUnavailable("Airflow does not answer this service.", retry_after=RETRY_AFTER) from None
        finally:
            self._turn.release()


def open_trainer(environment: Mapping[str, str], folder: Path, starts: int = STARTS) -> Trainer | None:
    """Make the trainer that the environment describes, its counts in `folder`; None while there is no token.

    Raises ValueError that names a variable that is missing or wrong.
    """
    token = secret(environment, "SERVING_TRAIN_TOKEN")
    if token is None:
        return None
    if fault := key_error(token):
        raise ValueError(f"SERVING_TRAIN_TOKEN: it {fault}")
    url, user, password = environment.get("AIRFLOW_URL"), environment.get("AIRFLOW_USER"), secret(environment, PASSWORD)
    if not re.match("https?://[^/]", url or ""):
        raise ValueError("AIRFLOW_URL: expected Airflow's http:// or https:// URL, as SERVING_TRAIN_TOKEN is set")
    if not user or not password:
        raise ValueError(f"AIRFLOW_USER and {PASSWORD}: expected both, as SERVING_TRAIN_TOKEN is set")
    return Trainer(Airflow(str(url), user, password), token, Rates(folder / "rates.sqlite"), starts)


def _unknown(airflow: Airflow) -> NoReturn:
    raise NotFound(f"Airflow trains no such use case; known: {', '.join(airflow.use_cases()) or 'none yet'}.")


def _refuse_idle(dag: Dag) -> None:
    """Raise Conflict for a DAG whose runs would not run."""
    if dag.is_paused:
        raise Conflict("Training of this use case is paused, and the run would wait for ever: unpause it in Airflow.")
    if dag.has_import_errors:
        raise Conflict("Airflow cannot read the file of this DAG: see its import errors.")


def _trigger(airflow: Airflow, dag_id: str, run_id: str, conf: dict[str, Any]) -> DagRun:
    """Start the run, unless somebody did so at the same moment; what a failure left behind may be just that."""
    try:
        found = airflow.trigger(dag_id, run_id, conf)
    except AirflowError as error:
        found = airflow.run(dag_id, run_id)  # SQLite, under several writers, says 500 for what was there
        if found is None:
            raise error from None
    found = found or airflow.run(dag_id, run_id)
    if found is None:
        raise AirflowError(f"Airflow reports that the run {run_id} exists, and that it does not")
    return found
