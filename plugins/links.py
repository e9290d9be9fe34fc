"""Where people look: the pages of a run, of a version and of the service, and the links on tasks that lead there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

from updraft.airflow_client import DAG_PREFIX

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

CARD, VALIDATION = "model-card", "validation"  # the tabs of a run: also the last part of their URLs
MODELS = "models"  # the entry beside Airflow's own, and the page below PAGES
PAGES = "/updraft"  # of Airflow's URL: where our pages are


def airflow_url() -> str | None:
    """Return Airflow's own URL, where it is known."""
    url = os.environ.get("AIRFLOW_URL") or os.environ.get("AIRFLOW__API__BASE_URL")
    return url.rstrip("/") if url else None


def run_url(dag_id: str, run_id: str) -> str | None:
    """Return the URL of a run's page, where Airflow's own is known."""
    return f"{base}/dags/{dag_id}/runs/{quote(run_id, safe='')}" if (base := airflow_url()) else None


def tab_url(dag_id: str, run_id: str, tab: str) -> str | None:
    """Return the URL of a tab of a run."""
    return f"{url}/plugin/{tab}" if (url := run_url(dag_id, run_id)) else None


def question_url(dag_id: str, run_id: str, task_id: str) -> str | None:
    """Return the URL where what a task asks is answered."""
    return f"{url}/tasks/{task_id}/required_actions" if (url := run_url(dag_id, run_id)) else None


def version_url(dag_id: str, number: int) -> str | None:
    """Return the URL of a version's page."""
    return f"{base}{PAGES}/versions/{dag_id}/{number}" if (base := airflow_url()) else None


def models_url(dag_id: str) -> str | None:
    """Return the URL of the page of a use case's versions."""
    return f"{base}{PAGES}/{MODELS}/{dag_id}" if (base := airflow_url()) else None


def service_url(name: str) -> str | None:
    """Return the URL of a use case's form in the service, where SERVING_URL says where that is."""
    base = os.environ.get("SERVING_URL")
    return f"{base.rstrip('/')}/{name}" if base else None


class _Link(BaseOperatorLink):
    """A link of a task, computed at its end; without a URL the task shows none."""

    label = ""

    @property
    def name(self) -> str:
        return self.label

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL. What is passed as `ti_key` is the task instance itself, which can ask for its result."""
        return self.url(ti_key) or ""

    def url(self, ti: Any) -> str | None:
        """Return the URL, if there is something to see."""
        raise NotImplementedError


class ModelCardLink(_Link):
    """The tab of the run with the model card."""

    label = "Model card"

    def url(self, ti: Any) -> str | None:
        return tab_url(ti.dag_id, ti.run_id, CARD)


class ReportLink(_Link):
    """The tab of the run with what the suite found."""

    label = "Report"

    def url(self, ti: Any) -> str | None:
        return tab_url(ti.dag_id, ti.run_id, VALIDATION)


class VersionLink(_Link):
    """The page of the version that the task has stored."""

    label = "Version"

    def url(self, ti: Any) -> str | None:
        stored = ti.xcom_pull(task_ids=ti.task_id)
        return version_url(ti.dag_id, int(stored.rpartition("/")[2])) if stored else None


class ServiceLink(_Link):
    """The form of the service."""

    label = "Service"

    def url(self, ti: Any) -> str | None:
        return service_url(ti.dag_id.removeprefix(DAG_PREFIX))
