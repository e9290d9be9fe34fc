"""A client of Airflow's REST API: find a DAG, start a run under an id of one's own, see what came of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import urllib3
from msgspec import Struct
from urllib3.exceptions import HTTPError
from urllib3.util import Retry, Timeout

ONCE_MORE = Retry(
    1,
    allowed_methods=["GET"],
    status_forcelist=[502, 503, 504],
    raise_on_status=False,
    respect_retry_after_header=False,  # or an answer may put a thread of ours to sleep
)
OWN = "train_"  # what the ids of our DAGs begin with
PAGE = 100  # the most that Airflow gives at once
Answer = TypeVar("Answer")
Item = TypeVar("Item")


class AirflowDown(Exception):
    """Airflow does not answer, or not this service, or not what it should; the text is for the log alone."""


class Dag(Struct, frozen=True):
    """A DAG, as far as the service asks for it; so are the ones below."""

    dag_id: str
    is_paused: bool
    has_import_errors: bool


class DagRun(Struct, frozen=True):
    """A run of a DAG."""

    state: str
    start_date: datetime | None
    end_date: datetime | None
    conf: dict[str, Any] | None


class TaskInstance(Struct, frozen=True):
    """A task of a run; `map_index` is below 0 where it is not mapped."""

    task_id: str
    map_index: int
    rendered_map_index: str | None
    state: str | None
    start_date: datetime | None
    end_date: datetime | None


class Made(Struct, frozen=True):
    """What a run tells of the model that it made."""

    version: int | None = None
    decision: str | None = None
    reason: str | None = None


class _Token(Struct):
    access_token: str


class _Dags(Struct):
    dags: list[Dag]


class _Tasks(Struct):
    task_instances: list[TaskInstance]


class _Event(Struct):
    extra: Made | None


class _Events(Struct):
    asset_events: list[_Event]


class AirflowRuns:
    """The DAGs and runs of the Airflow at `url`. It logs in at the first question, and again when its token is refused.

    Safe to share between threads. A question waits at most `read` seconds for its answer, one that changes nothing is
    put twice, and no proxy is asked. Every method raises AirflowDown, also for an answer of another shape.
    """

    def __init__(self, url: str, user: str, password: str, *, connect: float = 3.0, read: float = 10.0) -> None:
        self._url = url.rstrip("/")
        self._user, self._password = user, password
        self._pool = urllib3.PoolManager(maxsize=4, timeout=Timeout(connect=connect, read=read))
        self._token: str | None = None
        self._login = threading.Lock()

    def dag(self, dag_id: str) -> Dag | None:
        """Return what Airflow knows of a DAG; None when it knows none of that id."""
        return self._get(f"dags/{_part(dag_id)}", Dag)

    def use_cases(self) -> list[str]:
        """Name the use cases that have a DAG."""
        found = self._all("dags", _Dags, lambda page: page.dags, dag_id_pattern=f"{OWN}%")  # to which _ is anything
        return sorted(dag.dag_id.removeprefix(OWN) for dag in found if dag.dag_id.startswith(OWN))

    def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> DagRun | None:
        """Start a run; None when there is one of that id."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf)}
        return self._ask("POST", f"dags/{_part(dag_id)}/dagRuns", body, DagRun, none=HTTPStatus.CONFLICT)

    def run(self, dag_id: str, run_id: str) -> DagRun | None:
        """Return what Airflow knows of a run; None when it knows none of that id."""
        return self._get(f"dags/{_part(dag_id)}/dagRuns/{_part(run_id)}", DagRun)

    def tasks(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """Return a run's task instances; a mapped one once for each of its candidates."""
        path = f"dags/{_part(dag_id)}/dagRuns/{_part(run_id)}/taskInstances"
        return self._all(path, _Tasks, lambda page: page.task_instances)

    def made(self, dag_id: str, run_id: str) -> Made:
        """Return what a run told of the model that it made; nothing of it when it made none."""
        asked = urlencode({"source_dag_id": dag_id, "source_run_id": run_id, "limit": 1, "order_by": "-timestamp"})
        found = self._get(f"assets/events?{asked}", _Events)
        return (found.asset_events[0].extra if found and found.asset_events else None) or Made()

    def _all(self, path: str, kind: type[Answer], items: Callable[[Answer], list[Item]], **asked: str) -> list[Item]:
        """Return a list that Airflow gives page by page."""
        found: list[Item] = []
        while True:
            query = urlencode(asked | {"limit": str(PAGE), "offset": str(len(found))})
            answer = self._get(f"{path}?{query}", kind)
            page = [] if answer is None else items(answer)
            found += page
            if len(page) < PAGE:
                return found

    def _get(self, path: str, kind: type[Answer]) -> Answer | None:
        return self._ask("GET", path, None, kind, none=HTTPStatus.NOT_FOUND)

    def _ask(self, method: str, path: str, body: Any, kind: type[Answer], none: HTTPStatus) -> Answer | None:
        """Ask with the token at hand, and once with a new one: 401 is said of one that ran out, 403 of a forged one."""
        token = self._token or self._new_token(None)
        response = self._send(method, f"/api/v2/{path}", body, token)
        if response.status in {401, 403}:
            response = self._send(method, f"/api/v2/{path}", body, self._new_token(token))
        if response.status == none:
            return None
        if response.status not in {200, 201}:
            told = response.data[:200].decode(errors="replace").replace(self._password, "***")
            raise AirflowDown(f"{method} {path}: {response.status} {told!r}")
        return _read(response, kind)

    def _new_token(self, stale: str | None) -> str:
        """Log in, unless another thread has done so since `stale` was taken."""
        with self._login:
            if self._token is None or self._token == stale:
                login = {"username": self._user, "password": self._password}
                response = self._send("POST", "/auth/token", login, None)
                if response.status not in {200, 201}:  # its text may repeat the password
                    raise AirflowDown(f"the login of {self._user!r}: {response.status}")
                self._token = _read(response, _Token).access_token
            return self._token

    def _send(self, method: str, path: str, body: Any, token: str | None) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        try:
            return self._pool.request(
                method, self._url + path, json=body, headers=headers, retries=ONCE_MORE, redirect=False
            )
        except (HTTPError, OSError) as error:
            cause = getattr(error, "reason", None) or error
            raise AirflowDown(f"{method} {path.partition('?')[0]}: {type(cause).__name__}") from None


def _read(response: urllib3.BaseHTTPResponse, kind: type[Answer]) -> Answer:
    """Read what Airflow answered; its text may hold a secret and is not repeated."""
    try:
        return msgspec.json.decode(response.data, type=kind)
    except (ValueError, RecursionError) as error:
        told = str(error) if isinstance(error, msgspec.ValidationError) else type(error).__name__
        raise AirflowDown(f"it answers something else than expected ({told}): is AIRFLOW_URL Airflow's?") from None


def _part(text: str) -> str:
    return quote(text, safe="")
