"""A client of Airflow's REST API: find a DAG, start a run under an id of one's own, follow it, read its results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import urllib3
from msgspec import Struct
from urllib3.exceptions import HTTPError
from urllib3.util import Retry, Timeout

from updraft.errors import UserError

DAG_PREFIX = "train_"  # of the id of a DAG that trains; the rest is the use case's name
FAILURE = "failure"  # the key of the XCom in which a task of ours leaves why it failed
EXITED = "Task exited"  # what Airflow logs of a task that ends by SystemExit, as ours do on what a person must mend
PAGE_SIZE = 100  # the most that Airflow returns at once
# Retry-After is ignored: a response must not put a thread of the service to sleep.
RETRY_ONCE = Retry(
    1,
    allowed_methods=["GET"],
    status_forcelist=[502, 503, 504],
    raise_on_status=False,
    respect_retry_after_header=False,
)
RETRY_PATIENTLY = RETRY_ONCE.new(total=5, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504])
LAST = datetime.max.replace(tzinfo=UTC)
Answer = TypeVar("Answer")
Item = TypeVar("Item")


class AirflowError(UserError):
    """Airflow cannot be reached, refused a request, or sent an unexpected response. The message holds no secret."""


class Dag(Struct, frozen=True):
    """A DAG. Like the structs below, it has only the fields that are used here."""

    dag_id: str
    is_paused: bool
    has_import_errors: bool


class DagRun(Struct, frozen=True):
    """A run of a DAG; `state` is queued, running, success or failed."""

    dag_run_id: str
    state: str
    start_date: datetime | None
    end_date: datetime | None
    conf: dict[str, Any] | None


class TaskInstance(Struct, frozen=True):
    """A task of a run; `map_index` is negative unless the task is mapped."""

    dag_id: str
    dag_run_id: str
    task_id: str
    map_index: int
    rendered_map_index: str | None
    state: str | None
    start_date: datetime | None
    end_date: datetime | None
    duration: float | None
    try_number: int
    hostname: str | None
    pid: int | None


class ModelEvent(Struct, frozen=True):
    """The extra fields of the asset event that a run emits for its model."""

    version: int | None = None
    decision: str | None = None
    reason: str | None = None


class _Token(Struct):
    access_token: str


class _Dags(Struct):
    dags: list[Dag]


class _Runs(Struct):
    dag_runs: list[DagRun]


class _Tasks(Struct):
    task_instances: list[TaskInstance]


class _Event(Struct):
    extra: ModelEvent | None


class _Events(Struct):
    asset_events: list[_Event]


class _ImportError(Struct):
    filename: str
    stack_trace: str


class _ImportErrors(Struct):
    import_errors: list[_ImportError]


class _XCom(Struct):
    value: Any = None


class _Exception(Struct):
    exc_type: str
    exc_value: str


class _LogLine(Struct):
    event: str
    level: str = ""
    error_detail: list[_Exception] | None = None


class _Log(Struct):
    content: list[_LogLine | str]


class Airflow:
    """The Airflow at `url`. The client logs in at the first request, and again when its token is refused.

    Safe to share between threads. By default it fails fast: a response takes at most `read` seconds, and only GET is
    retried, once. No proxy is used. Every method raises AirflowError.
    """

    def __init__(
        self,
        url: str,
        user: str,
        password: str,
        *,
        connect: float = 3.0,
        read: float = 10.0,
        retry: Retry = RETRY_ONCE,
        login_retry: Retry = RETRY_ONCE,
    ) -> None:
        self.url = url.rstrip("/")
        self._user, self._password = user, password
        self._pool = urllib3.PoolManager(maxsize=4, timeout=Timeout(connect=connect, read=read))
        self._retry, self._login_retry = retry, login_retry
        self._token: str | None = None
        self._login = threading.Lock()

    @classmethod
    def patient(cls, url: str, user: str, password: str) -> Airflow:
        """Return a client for an Airflow that may be starting or busy: five retries with back-off, 30 s each."""
        login_retry = RETRY_PATIENTLY.new(allowed_methods=["POST"])  # a login changes nothing
        return cls(url, user, password, connect=30.0, read=30.0, retry=RETRY_PATIENTLY, login_retry=login_retry)

    def dag(self, dag_id: str) -> Dag | None:
        """Return a DAG; None when Airflow has not parsed one of that id."""
        return self._get(_dag(dag_id), Dag)

    def use_cases(self) -> list[str]:
        """Return the names of the use cases that have a DAG."""
        pattern = f"{DAG_PREFIX}%"  # its _ matches any character
        dags = self._get_all("dags", _Dags, lambda page: page.dags, dag_id_pattern=pattern)
        return sorted(dag.dag_id.removeprefix(DAG_PREFIX) for dag in dags if dag.dag_id.startswith(DAG_PREFIX))

    def import_errors(self) -> list[str]:
        """Return the last line of each error that a DAG file raised when it was parsed."""
        page = self._get("importErrors", _ImportErrors)
        errors = page.import_errors if page else []
        return [f"{error.filename}: {error.stack_trace.strip().splitlines()[-1]}" for error in errors]

    def unpause(self, dag_id: str) -> None:
        """Unpause a DAG: the runs of a paused one stay queued."""
        self.request("PATCH", _dag(dag_id), {"is_paused": False})

    def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any] | None = None) -> DagRun | None:
        """Start a run; None when a run of that id exists."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf or {})}
        return self._typed("POST", f"{_dag(dag_id)}/dagRuns", body, DagRun, none=HTTPStatus.CONFLICT)

    def run(self, dag_id: str, run_id: str) -> DagRun | None:
        """Return a run; None when no run of that id exists."""
        return self._get(_run(dag_id, run_id), DagRun)

    def runs(self, dag_id: str) -> list[DagRun]:
        """Return the runs of a DAG."""
        return self._get_all(f"{_dag(dag_id)}/dagRuns", _Runs, lambda page: page.dag_runs)

    def state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run that exists."""
        run = self.run(dag_id, run_id)
        if run is None:
            raise AirflowError(f"Airflow at {self.url}: {dag_id} has no run {run_id}")
        return run.state

    def tasks(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """Return a run's task instances by start; a mapped task has one for each of its candidates."""
        tasks = self._get_all(f"{_run(dag_id, run_id)}/taskInstances", _Tasks, lambda page: page.task_instances)
        return sorted(tasks, key=lambda task: (task.start_date or LAST, task.map_index))

    def result(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return the value that a task returned, or pushed under another key; None when there is none."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{_segment(task_id)}/xcomEntries/{key}"
        xcom = self._get(f"{path}?{urlencode({'map_index': map_index})}", _XCom)
        return xcom.value if xcom else None

    def model_event(self, dag_id: str, run_id: str) -> ModelEvent:
        """Return what a run reported about its model; an empty event when it made none."""
        query = urlencode({"source_dag_id": dag_id, "source_run_id": run_id, "limit": 1, "order_by": "-timestamp"})
        page = self._get(f"assets/events?{query}", _Events)
        return (page.asset_events[0].extra if page and page.asset_events else None) or ModelEvent()

    def failure(self, task: TaskInstance) -> str:
        """Return in one line why a task failed: the exception in its log, else its last error, else its last line."""
        query = urlencode({"full_content": "true", "map_index": task.map_index})
        path = f"{_run(task.dag_id, task.dag_run_id)}/taskInstances/{_segment(task.task_id)}/logs/{task.try_number}"
        log = self._get(f"{path}?{query}", _Log)
        lines = [line for line in log.content if isinstance(line, _LogLine)] if log else []
        exceptions = [each for line in lines for each in line.error_detail or []]
        if exceptions:
            return f"{exceptions[0].exc_type}: {' '.join(exceptions[0].exc_value.split())}"
        if errors := [line.event for line in lines if line.level == "error" and line.event != EXITED]:
            return " ".join(errors[-1].split())
        events = [line.event for line in lines if not line.event.startswith("::")]  # a group's head or end
        return events[-1] if events else "no log"

    def reason(self, task: TaskInstance) -> str | None:
        """Return why a task of ours failed, as it left it for people; None where it was killed, or may not be read."""
        try:
            found = self.result(task.dag_id, task.dag_run_id, task.task_id, FAILURE, task.map_index)
        except AirflowError:
            return None
        return str(found) if found else None

    def page(self, dag_id: str, run_id: str, url: str | None = None) -> str:
        """Return the address of a run's page for people, of Airflow at `url`, else where this client finds it."""
        return f"{(url or self.url).rstrip('/')}/{_run(dag_id, run_id).replace('/dagRuns/', '/runs/')}"

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request to a path below /api/v2/ and return the decoded JSON; None for an empty response."""
        response = self._send(method, path, body)
        self._check(response, method, path)
        return _decode(response, Any) if response.data else None

    def _get_all(
        self, path: str, kind: type[Answer], items: Callable[[Answer], list[Item]], **params: str
    ) -> list[Item]:
        """Return all items of a paginated list."""
        found: list[Item] = []
        while True:
            query = urlencode(params | {"limit": str(PAGE_SIZE), "offset": str(len(found))})
            answer = self._get(f"{path}?{query}", kind)
            page = [] if answer is None else items(answer)
            found += page
            if len(page) < PAGE_SIZE:
                return found

    def _get(self, path: str, kind: type[Answer]) -> Answer | None:
        return self._typed("GET", path, None, kind, none=HTTPStatus.NOT_FOUND)

    def _typed(self, method: str, path: str, body: Any, kind: type[Answer], none: HTTPStatus) -> Answer | None:
        """Send a request and decode the response as `kind`; a response of status `none` is None."""
        response = self._send(method, path, body)
        if response.status == none:
            return None
        self._check(response, method, path)
        return _decode(response, kind)

    def _send(self, method: str, path: str, body: Any) -> urllib3.BaseHTTPResponse:
        """Send a request with the current token, once more with a new one: expired is 401, signed elsewhere is 403."""
        token = self._token or self._new_token(None)
        response = self._exchange(method, f"/api/v2/{path}", body, token, self._retry)
        if response.status in {401, 403}:
            response = self._exchange(method, f"/api/v2/{path}", body, self._new_token(token), self._retry)
        return response

    def _check(self, response: urllib3.BaseHTTPResponse, method: str, path: str) -> None:
        if response.status not in {200, 201, 204}:
            text = response.data[:200].decode(errors="replace")
            text = text.replace(self._password, "***") if self._password else text
            raise AirflowError(f"Airflow at {self.url}: {method} {path}: {response.status} {text!r}")

    def _new_token(self, stale: str | None) -> str:
        """Log in, unless another thread has done so since `stale` was read."""
        with self._login:
            if self._token is None or self._token == stale:
                login = {"username": self._user, "password": self._password}
                response = self._exchange("POST", "/auth/token", login, None, self._login_retry)
                if response.status not in {200, 201}:  # its text may repeat the password
                    raise AirflowError(f"Airflow at {self.url}: the login of {self._user!r}: {response.status}")
                self._token = _decode(response, _Token).access_token
            return self._token

    def _exchange(self, method: str, path: str, body: Any, token: str | None, retry: Retry) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        try:
            return self._pool.request(
                method, self.url + path, json=body, headers=headers, retries=retry, redirect=False
            )
        except (HTTPError, OSError) as error:
            cause = type(getattr(error, "reason", None) or error).__name__
            message = f"Airflow at {self.url} does not answer: {method} {path.partition('?')[0]}: {cause}"
            raise AirflowError(message) from None


def _decode(response: urllib3.BaseHTTPResponse, kind: type[Answer]) -> Answer:
    """Decode a JSON response; its text may hold a secret and is not repeated."""
    try:
        return msgspec.json.decode(response.data, type=kind)
    except (ValueError, RecursionError) as error:
        cause = str(error) if isinstance(error, msgspec.ValidationError) else type(error).__name__
        raise AirflowError(f"Airflow: unexpected response ({cause}): does AIRFLOW_URL lead to Airflow?") from None


def _dag(dag_id: str) -> str:
    return f"dags/{_segment(dag_id)}"


def _run(dag_id: str, run_id: str) -> str:
    return f"{_dag(dag_id)}/dagRuns/{_segment(run_id)}"


def _segment(text: str) -> str:
    return quote(text, safe="")
