"""Start the trainings that are scheduled after an ETL, as its DAG's asset event does, from a shell."""

from __future__ import annotations

from collections.abc import Iterator

from updraft.airflow_client import DAG_PREFIX, Airflow, AirflowError
from updraft.cli.airflow_access import configured_airflow
from updraft.usecase import parse, paths


def start_training(etl_dag: str, run_id: str, *, changed: bool) -> Iterator[str]:
    """Trigger the DAGs of the use cases that name the ETL in `schedule.after`; yield a line for each.

    Where nothing has changed, Airflow is not to be reached or a DAG is paused, the line names the command that trains.
    """
    names = [path.stem for path in paths() if etl_dag in _after(path.stem)]
    if not changed:
        yield "Nothing has changed, so no training is started."
    airflow = configured_airflow() if changed and names else None
    for name in names:
        try:
            yield _trigger(airflow, name, run_id) if airflow else f"Next: updraft run {name}"
        except AirflowError as error:
            yield f"Next: updraft run {name} ({error})"


def _after(name: str) -> tuple[str, ...]:
    parsed = parse(name)
    return parsed.case.schedule.after if parsed.case and parsed.case.schedule else ()


def _trigger(airflow: Airflow, name: str, run_id: str) -> str:
    dag_id = f"{DAG_PREFIX}{name}"
    dag = airflow.dag(dag_id)
    if dag is None or dag.is_paused:
        state = "has no DAG" if dag is None else "has paused the DAG"
        return f"Next: updraft run {name} (Airflow {state} {dag_id})"
    airflow.trigger(dag_id, f"etl__{run_id.removeprefix('shell__')}")
    return f"Airflow trains {name} on these rows: {airflow.url}/dags/{dag_id}"
