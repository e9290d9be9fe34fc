"""Tell Prometheus of Airflow, at :9102/metrics: runs and their last outcome, tasks, heartbeats, import errors.

It reads Airflow's database at each scrape, so that nothing is lost in a restart and the scheduler, which forks its
tasks, needs no thread that sends figures. Where the database does not answer, neither does this.
"""

import os
import threading
from collections.abc import Iterator

import psycopg
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PORT = 9102
LAST = """
select distinct on (dag_id) dag_id, state, extract(epoch from end_date) as ended,
extract(epoch from end_date - start_date) as took
from dag_run where state in ('success', 'failed') order by dag_id, end_date desc
"""
# Name, help, labels, query: its columns are the labels' values and the figure.
FIGURES = (
    (
        "airflow_dag_runs",
        "Runs that Airflow knows",
        ["dag_id", "state"],
        "select dag_id, state, count(*) from dag_run group by dag_id, state",
    ),
    (
        "airflow_dag_paused",
        "1 for a DAG that is paused",
        ["dag_id"],
        "select dag_id, is_paused::int from dag where not is_stale",
    ),
    (
        "airflow_last_run_failed",
        "1 when the last run that ended has failed",
        ["dag_id"],
        f"select dag_id, (state = 'failed')::int from ({LAST}) as last",  # noqa: S608
    ),
    (
        "airflow_last_run_end_seconds",
        "When the last run ended, in seconds since 1970",
        ["dag_id"],
        f"select dag_id, ended from ({LAST}) as last",  # noqa: S608
    ),
    (
        "airflow_last_run_duration_seconds",
        "How long the last run took",
        ["dag_id"],
        f"select dag_id, took from ({LAST}) as last",  # noqa: S608
    ),
    (
        "airflow_tasks",
        "Tasks that wait or run",
        ["state"],
        "select s, count(state) from unnest(array['scheduled', 'queued', 'running', 'up_for_retry']) s"
        " left join task_instance on state = s group by s",
    ),
    (
        "airflow_heartbeat_age_seconds",
        "Time since a part of Airflow was last heard of",
        ["job"],
        "select job_type, extract(epoch from now() - max(latest_heartbeat)) from job"
        " where job_type in ('SchedulerJob', 'DagProcessorJob', 'TriggererJob') group by job_type",
    ),
    ("airflow_import_errors", "DAG files that cannot be read", [], "select count(*) from import_error"),
)


class Airflow(Collector):
    """Airflow's database as figures."""

    def describe(self) -> list[Metric]:
        """Name no figure beforehand: the registry would ask the database at its start."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Ask each query anew."""
        url = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg", "")
        options = "-c statement_timeout=5000 -c default_transaction_read_only=on"
        with psycopg.connect(url, connect_timeout=5, options=options) as database:
            for name, told, labels, query in FIGURES:
                figure = GaugeMetricFamily(name, told, labels=labels)
                for *values, value in database.execute(query):
                    figure.add_metric([str(each) for each in values], float(value))
                yield figure


registry = CollectorRegistry()
registry.register(Airflow())
start_http_server(PORT, registry=registry)
threading.Event().wait()
