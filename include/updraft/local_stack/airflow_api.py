"""Talk to Airflow's REST API: find a DAG, trigger it, watch its tasks, read what they left behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from updraft.errors import UserError


class AirflowError(UserError):
    """Airflow refused a request, or does not answer."""


class Airflow:
    """A session at `url`; it logs in at the first request and again when the token has run out."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._login = {"username": user, "password": password}
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy is not asked about this machine
        patient = Retry(
            5, backoff_factor=0.2, status_forcelist=(500, 502, 503)
        )  # only what changes nothing is repeated
        self._session.mount(url, HTTPAdapter(max_retries=patient))

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        """Return what Airflow knows of a DAG; None while it was not parsed."""
        return self._ask("GET", f"dags/{dag_id}", missing=True)

    def import_errors(self) -> list[str]:
        """Return the last line of each error that a DAG file raised when it was parsed."""
        found = self._ask("GET", "importErrors") or {}
        return [
            f"{each['filename']}: {each['stack_trace'].strip().splitlines()[-1]}" for each in found["import_errors"]
        ]

    def unpause(self, dag_id: str) -> None:
        """Let a DAG run; a paused one takes a trigger and waits for ever."""
        self._ask("PATCH", f"dags/{dag_id}", {"is_paused": False})

    def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any] | None = None) -> None:
        """Start a run with an id of the caller's own."""
        self._ask(
            "POST", f"dags/{dag_id}/dagRuns", {"logical_date": None, "dag_run_id": run_id, "conf": dict(conf or {})}
        )

    def state(self, dag_id: str, run_id: str) -> str:
        """Return a run's state: queued, running, success or failed."""
        return str((self._ask("GET", f"dags/{dag_id}/dagRuns/{run_id}") or {})["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return a run's task instances in the order of their start; mapped ones by index."""
        found = self._ask("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances") or {}
        return sorted(found["task_instances"], key=lambda each: (each["start_date"] or "~", each["map_index"]))

    def result(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Return the value that a task returned; None when there is none."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        return (self._ask("GET", path, missing=True) or {}).get("value")

    def error(self, task: Mapping[str, Any]) -> str:
        """Return in one line why a task failed: the exception in its log, else the log's last line."""
        run = f"dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}"
        path = f"{run}/taskInstances/{task['task_id']}/logs/{task['try_number']}"
        log = self._ask("GET", f"{path}?full_content=true&map_index={task['map_index']}", missing=True) or {}
        lines = [line for line in log.get("content", []) if isinstance(line, dict)]
        details = [detail for line in lines for detail in line.get("error_detail") or []]
        if details:
            return f"{details[0]['exc_type']}: {' '.join(str(details[0]['exc_value']).split())}"
        told = [line["event"] for line in lines if not line["event"].startswith("::")]
        return told[-1] if told else "no log"

    def _ask(self, method: str, path: str, body: Any = None, missing: bool = False) -> dict[str, Any] | None:
        try:
            response = self._send(method, path, body)
        except requests.RequestException as error:
            raise AirflowError(f"Airflow at {self.url} does not answer: {type(error).__name__}") from None
        if missing and response.status_code == 404:
            return None
        if not response.ok:
            raise AirflowError(f"Airflow at {self.url}: {method} {path}: {response.status_code} {response.text[:200]}")
        return dict(response.json())

    def _send(self, method: str, path: str, body: Any) -> requests.Response:
        for _ in range(2):
            response = self._session.request(method, f"{self.url}/api/v2/{path}", json=body, timeout=30)
            if response.status_code != 401:
                return response
            token = self._session.post(f"{self.url}/auth/token", json=self._login, timeout=30)
            token.raise_for_status()
            self._session.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
        return response
