"""The whole path on the whole stack, as a newcomer meets it: `updraft demo` twice, a killed task, `updraft down`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pymongo
import pytest
import requests

from evidence import escape
from tests.support.local_stack import airflow, free, free_environment, listening, marked, run_ids, updraft
from tests.support.repository import add_file_case, add_watching_case, copy_repository
from updraft.addresses import from_environment
from updraft.airflow_client import Airflow, AirflowError
from updraft.demo.rows import generate, write
from updraft.destinations import open_destination
from updraft.local_stack import supervision
from updraft.local_stack.credentials import ADMIN, SERVICE
from updraft.local_stack.stack import Stack
from updraft.model.model import Model
from updraft.registry.registry import Registry, open_registry
from updraft.sources import open_source
from updraft.stages.stage_folder import read_json
from updraft.usecase import from_file, load, paths

pytestmark = pytest.mark.timeout(900)

CASE, FROM_FILE, WATCHED = "vehicle_insurance", "insurance_file", "insurance_watched"
POLL_SECONDS = 30  # of the trigger that counts new rows
DAG = f"train_{CASE}"


@pytest.fixture(scope="module")
def stack(starts_stack: None, starts_airflow: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that is not up yet: the first demo starts it."""
    stack = Stack(tmp_path_factory.mktemp("end to end") / "home", free_environment(SERVING_SHIP_SECONDS="1"))
    yield stack
    supervision.stop(stack.home)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the repository with two more use cases: the source of one is a file, one waits for rows."""
    root = copy_repository(tmp_path_factory.mktemp("repository"))
    add_file_case(root, FROM_FILE)
    add_watching_case(root, WATCHED, rows=300)
    return root


def demo(stack: Stack, repository: Path, *words: str) -> tuple[int, str]:
    process = updraft(stack.home, stack.environ | {"COLUMNS": "200"}, "demo", *words, root=repository)
    output, error = process.communicate(timeout=800)
    return process.returncode, output + error


def registry(stack: Stack) -> Registry:
    return open_registry(stack.settings())


def training_process(server: Airflow, run_id: str) -> psutil.Process | None:
    """Find a process that trains a candidate at this moment."""
    for task in server.tasks(DAG, run_id):
        if task.task_id == "train" and task.state == "running" and task.pid:
            return psutil.Process(task.pid)
    return None


def test_the_first_demo_promotes_a_version_that_the_service_answers_with(stack: Stack, repository: Path) -> None:
    code, output = demo(stack, repository)
    assert code == 0, output
    for name in ("ingest", "validate", "transform", "train [random_forest]", "evaluate", "push"):
        assert any(line.strip().startswith(f"{name} ") for line in output.splitlines()), name
    assert "version 1" in output and "decision: promote, because there is no champion yet" in output
    assert stack.settings()["AIRFLOW_URL"] in output and "Traceback" not in output

    assert registry(stack).production(CASE) == 1
    pages = dict(words for line in output.splitlines() if len(words := line.split()) == 2)
    form = requests.get(pages["Form"], timeout=60)
    assert form.status_code == 200 and "<h1>Would a customer buy vehicle insurance?</h1>" in form.text
    assert pages["Card"] == f"{pages['Run']}/plugin/model-card" and f"/dags/{DAG}/runs/demo-" in pages["Run"]
    models = requests.get(f"{stack.settings()['SERVING_URL']}/models", timeout=60).json()["models"]
    assert [(model["use_case"], model["version"]) for model in models] == [(CASE, 1)]
    assert stack.running()


def test_the_second_demo_skips_push_with_its_reason(stack: Stack, repository: Path) -> None:
    code, output = demo(stack, repository)
    assert code == 0, output
    assert any(line.split()[:2] == ["push", "skipped"] for line in output.splitlines())
    assert "decision: reject, because f1 does not beat the champion's, version 1" in output
    assert [version.number for version in registry(stack).versions(CASE)] == [1]


def test_nothing_listens_to_other_machines(stack: Stack) -> None:
    assert set(listening(stack.home)) == {"127.0.0.1"}


def test_no_program_is_given_secrets_that_it_does_not_need(stack: Stack) -> None:
    secret = {path.name: path.read_text() for path in (stack.home / "secrets").iterdir() if path.is_file()}
    programs = stack.processes()
    s3, training = {"s3_access_key", "s3_secret_key"}, {"airflow_service_password", "train_token"}
    for name, needed in {"mongod": set(), "serving": s3 | training}.items():
        values = "\0".join(psutil.Process(programs[name]["pid"]).environ().values())
        assert {each for each, value in secret.items() if value in values} == needed, name
    values = "\0".join(psutil.Process(programs["scheduler"]["pid"]).environ().values())
    assert not {each for each in training if secret[each] in values}


def test_the_service_trains_with_a_user_that_can_do_no_more_and_a_person_approves(stack: Stack, tmp_path: Path) -> None:
    """A POST leads to a version that serves, once a person said so; its user sees no connection of Airflow's."""
    settings, store = stack.settings(), registry(stack)
    store.remove(CASE, who="tests", why="no champion: whatever this run makes wins")
    headers = {"Authorization": f"Bearer {settings['SERVING_TRAIN_TOKEN']}", "Idempotency-Key": "end-to-end"}
    params, server, answered = {"seed": 7, "promote": "approve"}, airflow(stack), False
    started = [
        requests.post(f"{settings['SERVING_URL']}/train/{CASE}", json=params, headers=headers, timeout=60)
        for _ in range(2)
    ]
    assert [answer.status_code for answer in started] == [202, 202], started[0].text
    assert started[0].json()["run_id"] == started[1].json()["run_id"] == "service__end-to-end"
    url = settings["SERVING_URL"] + started[0].headers["Location"]
    until = time.monotonic() + 240
    while (run := requests.get(url, headers=headers, timeout=60).json())["state"] not in ("success", "failed"):
        assert time.monotonic() < until, run
        if not answered and any(task["state"] == "awaiting_input" for task in run["tasks"]):
            answer(server, DAG, run["run_id"], "promote", "it sells")
            answered = True
        time.sleep(0.5)
    assert answered
    require_traces(server, store, settings, run["run_id"])
    assert (run["outcome"], run["version"]) == ("promoted", store.production(CASE)), run
    assert run["reason"] == f"{ADMIN} approved it: it sells; there is no champion yet"
    assert {task["candidate"] for task in run["tasks"] if task["name"] == "train"} == {*load(CASE).candidates}
    assert {task["state"] for task in run["tasks"]} == {"success"}
    row = Model.load(store.pull(CASE, run["version"], tmp_path / "version")).signature.example
    until = time.monotonic() + 30
    while served(settings, row) != (run["version"], run["run_id"]):
        assert time.monotonic() < until
        time.sleep(0.5)

    service = Airflow.patient(settings["AIRFLOW_URL"], SERVICE, settings["AIRFLOW_PASSWORD"])
    with pytest.raises(AirflowError, match="403"):
        service.request("GET", "connections")
    with pytest.raises(AirflowError, match="403"):
        service.request("GET", "variables")


def answer(server: Airflow, dag: str, run_id: str, choice: str, reason: str) -> None:
    """Answer what `approve` asks, after a look at it: no process waits, and the evidence is there."""
    task = f"dags/{dag}/dagRuns/{run_id}/taskInstances/approve"
    (asked,) = server.request("GET", f"dags/{dag}/dagRuns/{run_id}/hitlDetails")["hitl_details"]
    assert asked["options"] == ["promote", "reject"] and asked["defaults"] == ["reject"]
    (chosen,) = (name for name in load(CASE).candidates if f"Promote {name} of {CASE}" in asked["subject"])
    assert f"| {escape(chosen)}" in asked["body"] and f"/runs/{run_id}/plugin/model-card)" in asked["body"]
    pid = server.request("GET", task)["pid"]
    until = time.monotonic() + 30
    while pid and psutil.pid_exists(pid):
        assert time.monotonic() < until, "a worker waits for the answer"
        time.sleep(0.5)
    # No person is so quick: a task that is answered before the scheduler has read the executor's report of its wait,
    # some 0.2 s, Airflow 3.3 takes for lost, and asks again.
    time.sleep(2)
    server.request("PATCH", f"{task}/-1/hitlDetails", {"chosen_options": [choice], "params_input": {"reason": reason}})


def require_traces(server: Airflow, store: Registry, settings: dict[str, str], run_id: str) -> None:
    """Who answered is in the history and in the event; the task leads to the version and the service."""
    last = store.history(CASE)[-1]
    assert (last.action, last.who) == ("promote", f"{ADMIN} (airflow:{DAG})") and last.why.startswith("it sells; ")
    (event,) = server.request("GET", f"assets/events?source_dag_id={DAG}&source_run_id={run_id}")["asset_events"]
    assert (event["extra"]["answered_by"], event["extra"]["answer"]) == (ADMIN, "promote")
    links = server.request("GET", f"dags/{DAG}/dagRuns/{run_id}/taskInstances/push/links")["extra_links"]
    assert links == {
        "Version": f"{settings['AIRFLOW_URL']}/updraft/versions/{DAG}/{last.version}",
        "Service": f"{settings['SERVING_URL']}/{CASE}",
    }
    assert server.result(DAG, run_id, "approve")["chosen_options"] == ["promote"]


def served(settings: dict[str, str], row: dict[str, Any]) -> tuple[int | None, str]:
    """Ask the service for a prediction; give the version that made it and the run that made the version."""
    answer = requests.post(f"{settings['SERVING_URL']}/predict/{CASE}", json=row, timeout=60).json()
    models = requests.get(f"{settings['SERVING_URL']}/models", timeout=60).json()["models"]
    model = next((model for model in models if model["use_case"] == CASE), None)
    if model is None:  # not polled since it was removed
        return None, ""
    return answer.get("version"), model["run_id"].partition("~")[0]


def test_an_unknown_parameter_starts_no_run_and_is_named(stack: Stack) -> None:
    server = airflow(stack)
    with pytest.raises(AirflowError, match=r"400.*sede"):
        server.trigger(DAG, "wrong", {"sede": 1})
    assert server.request("GET", f"dags/{DAG}/dagRuns?run_id_pattern=wrong")["dag_runs"] == []


def test_a_killed_training_task_is_tried_again_and_the_run_makes_one_version(stack: Stack) -> None:
    server, store = airflow(stack), registry(stack)
    store.remove(CASE, who="tests", why="no champion: whatever this run makes wins")
    before = store.numbers(CASE)
    server.trigger(DAG, "killed")
    until = time.monotonic() + 120
    while (victim := training_process(server, "killed")) is None and time.monotonic() < until:
        time.sleep(0.05)
    assert victim is not None, server.tasks(DAG, "killed")
    victim.kill()
    assert _wait(server, "killed") == "success"
    tries = [task.try_number for task in server.tasks(DAG, "killed") if task.task_id == "train"]
    assert sorted(tries) == [1, 2]
    (number,) = set(store.numbers(CASE)) - set(before)
    assert store.production(CASE) == number
    store.verify(CASE, number)


def test_all_use_cases_train_in_one_airflow_at_the_same_time_and_are_served(stack: Stack, tmp_path: Path) -> None:
    server, settings = airflow(stack), stack.settings()
    names = [path.stem for path in paths()]
    for name in names:
        case = load(name)
        file = write(case, generate(case, 1500, seed=1), tmp_path / f"{name}.csv")
        connections = from_environment(settings)
        with open_source(from_file(case, file), connections) as rows, open_destination(case, connections) as place:
            place.load(rows, None)
    for name in names:
        until_parsed(server, f"train_{name}")
        server.unpause(f"train_{name}")
    *others, last = names
    for name in others:
        server.trigger(f"train_{name}", "together")
    by_hand = updraft(stack.home, stack.environ, "train", last, "--json")
    for name in others:
        assert _wait(server, "together", dag=f"train_{name}", seconds=800) == "success", name
    output, error = by_hand.communicate(timeout=400)
    assert by_hand.returncode == 0 and "evaluate" in error, output + error
    followed = json.loads(output)
    assert (followed["state"], followed["decision"]) == ("success", "promote")
    assert followed["version"] == registry(stack).production(last)
    production = {name: registry(stack).production(name) for name in names}
    assert None not in production.values(), production
    until = time.monotonic() + 30
    while (ready := requests.get(f"{settings['SERVING_URL']}/readyz", timeout=60).json()["versions"]) != production:
        assert time.monotonic() < until, (ready, production)
        time.sleep(0.5)
    for name in names:
        pulled = registry(stack).pull(name, production[name] or 0, tmp_path / name)
        example = Model.load(pulled).signature.example
        answer = requests.post(f"{settings['SERVING_URL']}/predict/{name}", json=example, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.json()["version"] == production[name] and len(answer.json()["predictions"]) == 1


def until_parsed(server: Airflow, dag_id: str) -> None:
    until = time.monotonic() + 60
    while server.dag(dag_id) is None:
        assert time.monotonic() < until, dag_id
        time.sleep(0.5)


def test_a_use_case_whose_source_is_a_file_trains_on_the_rows_as_they_are(stack: Stack, repository: Path) -> None:
    rows = repository / "data" / f"{FROM_FILE}.csv"
    code, output = demo(stack, repository, "--use-case", FROM_FILE)
    assert code == 0, output
    assert f"Use the rows as they are: file '{rows}'" in output and "Load rows into" not in output
    assert registry(stack).production(FROM_FILE) == 1 and f"{FROM_FILE}: " in output
    (ingested,) = (stack.home / "artifacts" / FROM_FILE).glob("*/ingest/ingest.json")
    assert read_json(ingested)["source"] == f"file '{rows}'" and read_json(ingested)["rows"] == 1500

    code, output = demo(stack, repository, "--use-case", FROM_FILE, "--data", str(rows))
    (line,) = output.splitlines()
    assert code == 1 and line.startswith(f"updraft: {FROM_FILE}: its source is of kind file")


def test_enough_new_rows_start_training_and_enough_new_predictions_the_monitor(stack: Stack, tmp_path: Path) -> None:
    """The triggerer counts both: the rows of the source, and what the service has predicted and shipped."""
    server, store, train, monitor = airflow(stack), registry(stack), f"train_{WATCHED}", f"monitor_{WATCHED}"
    rows, new = (generate(load(CASE), count, seed) for count, seed in ((2000, 2), (100, 3)))
    records = rows.sort_values("id").to_dict("records")
    for dag in (train, monitor):
        until_parsed(server, dag)
        server.unpause(dag)
    with pymongo.MongoClient[dict[str, Any]](stack.settings()["MONGODB_URL"]) as client:
        collection = client.get_default_database()[WATCHED]
        collection.insert_many(records[:1500])
        _until_runs(server, {train: 1})
        assert store.production(WATCHED) == 1
        features = list(Model.load(store.pull(WATCHED, 1, tmp_path / "version")).signature.example)
        asked = json.loads(new[features].to_json(orient="records"))

        collection.insert_many(records[1500:1550])
        predict(stack, WATCHED, asked[:60])
        time.sleep(2 * POLL_SECONDS)  # both are too few
        assert (len(run_ids(server, train)), len(run_ids(server, monitor))) == (1, 0)

        collection.insert_many(records[1550:])
        predict(stack, WATCHED, asked[60:])
        _until_runs(server, {train: 2, monitor: 1})

    artifacts = stack.home / "artifacts"
    first, second = (
        read_json(artifacts / WATCHED / each / "ingest" / "dataset.json") for each in run_ids(server, train)
    )
    assert (first["rows"], first["new_rows"], first["base"]) == (1500, 1500, None)
    assert (second["rows"], second["new_rows"], second["replaced"], second["base"]) == (2000, 501, 1, 1)
    (watched,) = run_ids(server, monitor)
    assert read_json(artifacts / monitor / watched / "collect" / "collected.json")["rows"] == 100
    assert {run_id.split("__")[0] for run_id in (*run_ids(server, train), watched)} == {"asset_triggered"}


def predict(stack: Stack, name: str, rows: list[dict[str, Any]]) -> None:
    """Send rows, once the service has a version of the use case."""
    url, until = stack.settings()["SERVING_URL"], time.monotonic() + 60
    while name not in requests.get(f"{url}/readyz", timeout=60).json()["versions"]:
        assert time.monotonic() < until, name
        time.sleep(0.5)
    answer = requests.post(f"{url}/predict/{name}", json={"rows": rows}, timeout=60)
    assert answer.status_code == 200, answer.text


def _until_runs(server: Airflow, expected: dict[str, int]) -> None:
    """Wait until each of these DAGs has so many runs, and all of them have succeeded."""
    for dag, count in expected.items():
        until = time.monotonic() + 240
        while len(run_ids(server, dag)) < count:
            assert time.monotonic() < until, (dag, run_ids(server, dag))
            time.sleep(1)
        for run_id in run_ids(server, dag):
            assert _wait(server, run_id, dag=dag, seconds=240) == "success", run_id


def test_rows_that_an_etl_has_loaded_start_the_training(stack: Stack, repository: Path, tmp_path: Path) -> None:
    name = "network_security"
    code, output = demo(stack, repository, "--use-case", name, "--rows", "1500")
    assert code == 0, output
    assert f"DAG etl_{name}, run demo-" in output and f"DAG train_{name}, run asset_triggered__" in output
    assert "decision: " in output

    file, server = stack.home / "demo" / f"{name}.csv", airflow(stack)
    output = etl(stack, repository, name, file)
    assert "0 new, 0 changed, 1,500 unchanged\nNothing has changed" in output
    before = {run.dag_run_id for run in server.runs(f"train_{name}")}
    more = tmp_path / "more.csv"
    more.write_text(file.read_text() + file.read_text().splitlines()[1] + "\n")
    output = etl(stack, repository, name, more)
    assert "1 new, 0 changed, 1,500 unchanged" in output and f"Airflow trains {name} on these rows" in output
    (started,) = {run.dag_run_id for run in server.runs(f"train_{name}")} - before
    assert started.startswith("etl__") and _wait(server, started, dag=f"train_{name}") == "success"


def etl(stack: Stack, repository: Path, name: str, file: Path) -> str:
    process = updraft(stack.home, stack.environ | {"COLUMNS": "200"}, "etl", name, "--data", str(file), root=repository)
    output, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    return output


def test_the_task_logs_hold_no_secret(stack: Stack) -> None:
    values = [path.read_text() for path in (stack.home / "secrets").iterdir() if path.suffix == "" and path.is_file()]
    logs = [path for path in (stack.home / "logs").rglob("*.log*") if path.is_file()]
    assert len(logs) > 15
    assert [str(path) for path in logs for value in values if value in path.read_text(errors="replace")] == []


def test_down_leaves_no_process_and_no_port(stack: Stack) -> None:
    process = updraft(stack.home, stack.environ, "down")
    output, error = process.communicate(timeout=300)
    assert (process.returncode, error) == (0, "") and output.startswith("Stopped: ")
    assert marked(stack.home) == [] and free(stack.environ)


def _wait(server: Airflow, run_id: str, seconds: float = 600, dag: str = DAG) -> str:
    until = time.monotonic() + seconds
    while (state := server.state(dag, run_id)) not in ("success", "failed") and time.monotonic() < until:
        time.sleep(0.5)
    return state
