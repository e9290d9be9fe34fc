"""Prometheus exporter of Airflow, at :9102/metrics: runs and their last outcome, tasks, heartbeats, import errors, and
whether the API server is up. The optional argument is another port.

It queries Airflow's database at each scrape, so that a restart loses nothing and the scheduler, which forks its tasks,
needs no thread that sends metrics. Responds with 503 while the database is unavailable.
"""

import http.client
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, make_server

import psycopg
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector

PORT = 9102
DATABASE = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg", "")
API = urlsplit(os.environ["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"])
STATES = "'scheduled', 'queued', 'running', 'up_for_retry'"  # literals, so that PostgreSQL uses its index on them


@dataclass(frozen=True)
class Query:
    """A query whose first columns are `labels` and whose further ones are `metrics`: names and help texts."""

    labels: tuple[str, ...]
    metrics: dict[str, str]
    sql: str


QUERIES = (
    Query(
        ("dag_id", "state"),
        {"airflow_dag_runs": "Runs that Airflow knows"},
        "select dag_id, state, count(*) from dag_run group by dag_id, state",
    ),
    Query(
        ("dag_id",),
        {"airflow_dag_paused": "1 for a DAG that is paused"},
        "select dag_id, is_paused::int from dag where not is_stale",
    ),
    Query(  # a run that was marked failed before it began has no start_date, hence no duration
        ("dag_id",),
        {
            "airflow_last_run_failed": "1 when the last run that ended has failed",
            "airflow_last_run_end_seconds": "When the last run ended, in seconds since 1970",
            "airflow_last_run_duration_seconds": "How long the last run took",
        },
        "select distinct on (dag_id) dag_id, (state = 'failed')::int, extract(epoch from end_date),"
        " extract(epoch from end_date - start_date) from dag_run join dag using (dag_id)"
        " where not is_stale and state in ('success', 'failed') order by dag_id, end_date desc nulls last",
    ),
    Query(
        ("state",),
        {"airflow_tasks": "Tasks that wait or run"},
        f"select state, coalesce(count, 0) from unnest(array[{STATES}]) as state left join"  # noqa: S608
        f" (select state, count(*) from task_instance where state in ({STATES}) group by state) as found using (state)",
    ),
    Query(
        ("part",),  # `job` is a label of Prometheus's own
        {"airflow_heartbeat_age_seconds": "Time since a part of Airflow was last heard of; +Inf: never"},
        "select name, coalesce(extract(epoch from now() - max(latest_heartbeat)), 'Infinity')"
        " from unnest(array['SchedulerJob', 'DagProcessorJob', 'TriggererJob']) as name"
        " left join job on job_type = name group by name",
    ),
    Query((), {"airflow_import_errors": "DAG files that cannot be read"}, "select count(*) from import_error"),
)


class Airflow(Collector):
    """Metrics from Airflow's database, and of its API server."""

    def describe(self) -> list[Metric]:
        """Describe nothing in advance: otherwise the registry would query the database at start-up."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Run all queries."""
        options = "-c statement_timeout=5000 -c default_transaction_read_only=on"
        with psycopg.connect(DATABASE, connect_timeout=5, options=options) as database:
            for query in QUERIES:
                yield from _metrics(query, database.execute(query.sql).fetchall())
        yield GaugeMetricFamily("airflow_api_up", "1 while the API server answers", _api_up())


def _metrics(query: Query, rows: list[tuple[Any, ...]]) -> Iterator[Metric]:
    for index, (name, description) in enumerate(query.metrics.items(), len(query.labels)):
        metric = GaugeMetricFamily(name, description, labels=query.labels)
        for row in rows:
            if row[index] is not None:
                metric.add_metric([str(label) for label in row[: len(query.labels)]], float(row[index]))
        yield metric


def _api_up() -> bool:
    connection = http.client.HTTPConnection(API.hostname or "", API.port, timeout=2)
    try:
        connection.request("GET", "/api/v2/monitor/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class QuietHandler(WSGIRequestHandler):
    """Does not log scrapes."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


registry = CollectorRegistry()
registry.register(Airflow())
metrics_app = make_wsgi_app(registry)


def app(environ: dict[str, Any], start: Any) -> list[bytes]:
    """Respond with the metrics, or with 503 and one line that says why there are none."""
    try:
        return metrics_app(environ, start)
    except psycopg.Error as error:
        sys.stderr.write(f"Airflow's database does not answer: {type(error).__name__}\n")
        start("503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"Airflow's database does not answer\n"]


make_server("", int(sys.argv[1]) if sys.argv[1:] else PORT, app, ThreadingWSGIServer, QuietHandler).serve_forever()
