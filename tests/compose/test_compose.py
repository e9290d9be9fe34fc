"""docker-compose.yaml, run as users run it. `make compose-test` asks for it; without Docker it is skipped.

The tests follow one another on one stack, in the order of the file.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.support.compose_runs import DAG, ENDED, ended, fill, logged, predict, production, rows, runs, tries, version
from tests.support.compose_stack import RUN, ComposeStack, docker, started, until
from tests.support.small_cases import SHARED_DATA
from tests.support.small_models import NAME, ROW
from updraft.airflow_client import Airflow, AirflowError
from updraft.defaults import ROOT

pytestmark = [pytest.mark.timeout(1500), pytest.mark.usefixtures("starts_compose")]
log = logging.getLogger(__name__)
LONG_RUNNING = {"postgres", "mongodb", "s3", "apiserver", "scheduler", "dag-processor", "triggerer", "serving"}
LONG_RUNNING |= {"shipper", "exporter", "prometheus", "grafana"}
ONCE = {"secrets", "airflow-init"}
SAME = ("version", "predictions", "probabilities", "threshold")
MANY = 200_000  # rows: so many that reading them takes longer than a kill
REAL = SHARED_DATA / "vehicle_insurance" / "data.csv"
FIRST_BATCHES = """
const batches = () => db.serverStatus({metrics: 0}).opcounters.getmore
const before = batches()
print("watching")
while (batches() < before + 3) sleep(2)
print("reading")
"""
LOGGED = """
import sqlite3
log = sqlite3.connect("/var/lib/updraft/serving-data/predictions.sqlite")
print(*[id.hex() for id, in log.execute("SELECT id FROM requests ORDER BY number")])
"""
SECRETS_OF = "/run/updraft/env"
TRY_ALL = """
import boto3, json
from botocore.config import Config
from botocore.exceptions import ClientError
client = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))
may = {}
for name in ("models", "logs", "artifacts", "datasets", "predictions"):
    where = {"Bucket": "updraft-" + name}
    for verb, call in {
        "list": lambda: client.list_objects_v2(**where),
        "get": lambda: client.get_object(Key="tried/nothing", **where),
        "put": lambda: [client.put_object(Key="tried", Body=b"", **where), client.delete_object(Key="tried", **where)],
        "create": lambda: client.create_bucket(Bucket="updraft-tried"),
    }.items():
        try:
            call()
        except ClientError as error:
            if error.response["Error"]["Code"] == "AccessDenied":
                continue
            assert error.response["Error"]["Code"] in ("NoSuchKey", "NoSuchBucket"), error
        may.setdefault(name, []).append(verb)
    may.setdefault(name, [])
print(json.dumps(may))
"""
MIXED = ("Age", "Policy_Sales_Channel", "Vehicle_Age", "Region_Code")  # what the first model has to do without


@pytest.fixture(scope="module")
def stack(starts_compose: None, request: pytest.FixtureRequest) -> Iterator[ComposeStack]:
    yield from started(ComposeStack(SERVING_SHIP_SECONDS="5"), request.session)


@pytest.fixture(scope="module")
def admin(stack: ComposeStack) -> Airflow:
    return stack.airflow("admin")


@pytest.fixture(scope="module")
def token(stack: ComposeStack) -> str:
    return stack.secrets()["train_token"]


def test_all_of_it_is_healthy_and_only_two_ports_are_open(stack: ComposeStack) -> None:
    found = {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in stack.containers()}
    assert found.keys() == LONG_RUNNING | ONCE
    for name, each in found.items():
        state, policy = each["State"], each["HostConfig"]["RestartPolicy"]["Name"]
        assert (policy in ("no", "")) == (name in ONCE), name
        assert state["Health"]["Status"] == "healthy" if name in LONG_RUNNING else state["ExitCode"] == 0, name
        assert each["HostConfig"]["Memory"], name
    ports = {
        (name, port["HostIp"], port["HostPort"])
        for name, each in found.items()
        for bound in (each["NetworkSettings"]["Ports"] or {}).values()
        for port in bound or []
    }
    assert ports == {
        ("apiserver", "127.0.0.1", stack.environ["AIRFLOW_PORT"]),
        ("serving", "127.0.0.1", stack.environ["SERVING_PORT"]),
    }


def test_make_login_shows_where_to_log_in_and_as_whom(stack: ComposeStack) -> None:
    done = stack.make("login")
    assert done.returncode == 0, done.stderr
    assert f"{stack.airflow_url}   user admin, password {stack.secrets()['airflow_admin_password']}\n" in done.stdout


def test_a_service_sees_its_own_secrets_and_the_images_hold_no_more_than_they_need(stack: ComposeStack) -> None:
    signing, verifying = ("apiserver", "scheduler"), ("dag-processor", "triggerer")
    services = ("serving", "shipper", *signing, *verifying)
    see = {name: stack.compose("exec", "-T", name, "ls", "/run/updraft").split() for name in services}
    assert sorted(see["serving"]) == ["env", "verify.pem"]
    assert see["shipper"] == ["env"]
    assert all(sorted(see[name]) == ["env", "signing.pem", "verify.pem"] for name in signing)
    assert all(sorted(see[name]) == ["env", "verify.pem"] for name in verifying)
    for name in services:
        assert stack.compose("exec", "-T", name, "id", "-u").strip() != "0", name
    with_login = [name for name in services if "AWS_SECRET" in stack.compose("exec", "-T", name, "cat", SECRETS_OF)]
    assert set(services) - set(with_login) == {"dag-processor"}
    heavy = "('airflow', 'great_expectations')"
    lacks = f"import importlib.util as u; print(*[n for n in {heavy} if u.find_spec(n)])"
    assert stack.compose("exec", "-T", "serving", "python", "-c", lacks).split() == []
    assert stack.compose("exec", "-T", "serving", "sh", "-c", "command -v cc gcc uv || true").split() == []


def test_each_s3_login_may_do_what_its_purpose_needs_and_no_more(stack: ComposeStack) -> None:
    """Each container tries to list, read and write in each bucket, with the login that it has."""
    read, write = ["list", "get"], ["list", "get", "put"]
    buckets = ("models", "logs", "artifacts", "datasets", "predictions")
    nothing: dict[str, list[str]] = {name: [] for name in buckets}
    assert {service: allowed(stack, service) for service in ("serving", "shipper", "scheduler", "apiserver")} == {
        "serving": nothing | {"models": read},
        "shipper": nothing | {"predictions": write},
        # There is no bucket of artifacts, as these lie in a volume; no login but the init container's may create one.
        "scheduler": dict.fromkeys(buckets, write) | {"artifacts": read, "predictions": read},
        "apiserver": nothing | {"models": write, "logs": read, "artifacts": read},
    }
    assert allowed(stack, "triggerer") == nothing | {"logs": write, "predictions": read}


def allowed(stack: ComposeStack, service: str) -> dict[str, list[str]]:
    command = ("exec", "-T", service, "updraft-entrypoint", "python", "-c", TRY_ALL)
    return dict(json.loads(stack.compose(*command)))


def test_the_images_of_the_service_and_of_its_shipper_are_small(stack: ComposeStack) -> None:
    for name, most in (("serving", 600e6), ("shipper", 450e6)):  # serving-full: scikit-learn, pandas and pyarrow
        size = int(docker("image", "inspect", "--format", "{{.Size}}", f"{stack.project}-{name}"))
        log.warning("image %s: %.0f MB", name, size / 1e6)
        assert size <= most, name


def test_what_the_data_was_made_with_cannot_be_changed_by_a_setting_alone(stack: ComposeStack) -> None:
    done = stack.attempt(*RUN, "-e", "POSTGRES_PASSWORD=another-password", "secrets")
    assert done.returncode == 1
    assert "POSTGRES_PASSWORD: the stored data uses another one" in done.stderr
    assert "another-password" not in done.stdout + done.stderr


def test_a_run_triggered_by_the_service_user_is_served(stack: ComposeStack, admin: Airflow, tmp_path: Path) -> None:
    fill(stack, rows(tmp_path, 4000, 1, mixed=MIXED))
    until(lambda: admin.dag(DAG), 180)
    admin.unpause(DAG)
    service = stack.airflow("service")
    service.trigger(DAG, "first")
    assert ended(service, "first") == "success"
    assert until(lambda: version(stack), 60) == 1
    assert predict(stack)["version"] == 1


def test_a_prediction_arrives_as_parquet_and_is_read_back(stack: ComposeStack) -> None:
    answer = predict(stack)
    (wanted,) = answer["prediction_ids"]
    command = (*RUN, "cli", "updraft", "predictions", NAME, "--id", wanted)
    shown = until(lambda: json.loads(stack.attempt(*command).stdout), 120)
    assert (shown["version"], shown["value"]) == (answer["version"], answer["predictions"][0])


def test_training_through_the_service_changes_what_it_answers(stack: ComposeStack, token: str, tmp_path: Path) -> None:
    before = predict(stack)
    fill(stack, REAL if REAL.is_file() else rows(tmp_path, 20_000, 2))
    headers = {"Authorization": f"Bearer {token}"}
    started = requests.post(f"{stack.url}/train/{NAME}", headers=headers, timeout=30)
    assert started.status_code == 202, started.text
    url = stack.url + started.json()["url"]
    run = until(lambda: (told := requests.get(url, headers=headers, timeout=30).json())["outcome"] and told, 240)
    assert (run["state"], run["outcome"], run["version"]) == ("success", "promoted", 2), run
    until(lambda: version(stack) == 2, 60)
    after = predict(stack)
    assert after["version"] == 2
    assert after["probabilities"] != before["probabilities"]


def test_task_logs_lie_in_s3_and_are_read_back(stack: ComposeStack, admin: Airflow) -> None:
    lines = logged(admin, "first", "ingest")
    assert any(line.startswith("s3://updraft-logs/") for line in lines), lines[:5]
    assert any("4,000" in line or "4000" in line for line in lines)
    assert not any("deprecated" in line for line in lines)
    left = stack.compose("exec", "-T", "scheduler", "find", "/var/lib/airflow/logs", "-path", "*dag_id=*", "-type", "f")
    assert left.split() == []


def test_where_memory_runs_out_a_task_goes_before_the_scheduler(stack: ComposeStack) -> None:
    look = "for each in /proc/[0-9]*; do echo $(cat $each/oom_score_adj) $(tr '\\0' ' ' <$each/cmdline); done"
    told = stack.compose("exec", "-T", "scheduler", "sh", "-c", look).splitlines()
    assert any(line.startswith("300 ") and "LocalExecutor" in line for line in told), told  # a task has 600
    assert any(line.startswith("0 ") and "airflow scheduler" in line for line in told), told


def test_prometheus_has_the_services_figures(stack: ComposeStack) -> None:
    assert until(lambda: stack.measured("up == 1").keys() == {"serving", "airflow", "prometheus"}, 60)
    assert until(lambda: stack.measured("updraft_model_version").get(NAME) == 2, 60)
    assert stack.measured("updraft_rows_total")[NAME] >= 2


def test_every_query_asks_for_a_figure_that_there_is(stack: ComposeStack) -> None:
    for row, status in ((ROW | {"Annual_Premium": 2_000_000.0}, 200), (ROW | {"Age": "old"}, 422)):
        answer = requests.post(f"{stack.url}/predict/{NAME}", json=row, timeout=10)
        assert answer.status_code == status, answer.text
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())["groups"]
    boards = [json.loads(path.read_text()) for path in (ROOT / "deploy/grafana/dashboards").glob("*.json")]
    queries = [rule["expr"] for group in rules for rule in group["rules"]]
    queries += [target["expr"] for board in boards for panel in board["panels"] for target in panel["targets"]]
    asked = {name for query in queries for name in re.findall(r"\b(?:updraft|airflow)_[a-z_]+|\bup\b", query)}
    assert len(asked) > 20
    # Of these there is a value while a model is monitored or rolled out; until then the service names them.
    later = {name for name in asked if name.startswith(("updraft_monitor_", "updraft_rollout_", "updraft_taken_back_"))}
    assert later <= stack.families_of_the_service()
    until(lambda: asked - later <= stack.figures(), 60)
    for query in queries:
        stack.measured(query)


def test_no_rule_fires_on_a_stack_that_is_well_and_the_rules_own_tests_pass(stack: ComposeStack) -> None:
    assert stack.measured('ALERTS{alertstate="firing"}') == {}
    assert stack.measured("prometheus_rule_evaluation_failures_total > 0") == {}
    stack.compose("exec", "-T", "prometheus", "promtool", "test", "rules", "/etc/prometheus/rules.test.yml")


def test_the_service_user_may_train_and_nothing_else(stack: ComposeStack) -> None:
    # In FAB's terms a start takes `can_edit` of the DAG, and that lets it pause and backfill the same DAG.
    service = stack.airflow("service")
    for path in ("connections", "variables", "pools", "config", "eventLogs", "importErrors", "jobs"):
        with pytest.raises(AirflowError, match="403"):
            service.request("GET", path)
    for method, path in (("DELETE", f"dags/{DAG}"), ("DELETE", f"dags/{DAG}/dagRuns/first")):
        with pytest.raises(AirflowError, match="403"):
            service.request(method, path)
    with pytest.raises(AirflowError, match="403"):
        service.request("GET", f"dags/{DAG}/dagRuns/first/taskInstances/ingest/logs/1")


def test_a_use_case_that_is_added_later_can_be_trained_by_the_service_user(
    stack: ComposeStack, admin: Airflow, tmp_path: Path
) -> None:
    for kind, folder in (("yaml", "include/usecases"), ("json", "expectations")):
        source = tmp_path / f"later.{kind}"
        shutil.copy(ROOT / folder / f"{NAME}.{kind}", source)
        source.chmod(0o644)
        for name in ("dag-processor", "scheduler"):
            stack.compose("cp", str(source), f"{name}:/app/{folder}/later.{kind}")
    until(lambda: admin.dag("train_later"), 180)
    admin.unpause("train_later")
    service = stack.airflow("service")
    until(lambda: service.trigger("train_later", "later") or True, 30)  # Airflow keeps a user's rights for some seconds
    assert until(lambda: (s := service.state("train_later", "later")) in ENDED and s, 240) == "success"


@pytest.mark.parametrize("victim", ["postgres", "s3", "scheduler"])
def test_a_run_ends_well_though_a_part_is_killed(stack: ComposeStack, admin: Airflow, victim: str) -> None:
    before = stack.container(victim)
    run_id = f"without_{victim}"
    with stack.killer(before["State"]["Pid"]) as kill:
        admin.trigger(DAG, run_id)
        until(lambda: runs(admin, run_id, "train 0"), 120)
        began = time.monotonic()
        kill()
    ends_well(stack, admin, run_id, victim, began)
    assert stack.container(victim)["RestartCount"] == before["RestartCount"] + 1
    assert victim != "scheduler" or tries(admin, run_id)["train 0"] > 1  # its tasks die with it


def test_no_row_is_lost_when_mongodb_is_killed_while_its_rows_are_read(
    stack: ComposeStack, admin: Airflow, tmp_path: Path
) -> None:
    fill(stack, rows(tmp_path, MANY, 3))
    before = stack.container("mongodb")
    with stack.killer(before["State"]["Pid"]) as kill, stack.mongosh(FIRST_BATCHES) as told:
        assert told.readline() == "watching\n"
        admin.trigger(DAG, "without_mongodb")
        assert told.readline() == "reading\n"
        began = time.monotonic()
        kill()
    ends_well(stack, admin, "without_mongodb", "mongodb", began)
    assert stack.container("mongodb")["RestartCount"] == before["RestartCount"] + 1
    assert tries(admin, "without_mongodb")["ingest"] == 2
    assert any(f"{MANY:,} rows read, {MANY:,} fit" in line for line in logged(admin, "without_mongodb", "ingest", 2))


def ends_well(stack: ComposeStack, admin: Airflow, run_id: str, victim: str, began: float) -> None:
    state = ended(admin, run_id, 420)
    took, tried = time.monotonic() - began, tries(admin, run_id)
    log.warning("kill -9 %s: %s %.0f s later, tries %s", victim, state, took, tried)
    assert state == "success"
    until(stack.healthy, 120)
    assert until(lambda: version(stack) == production(stack), 30)
    assert predict(stack)["version"] == version(stack)


def test_neither_a_log_nor_dockers_inspection_tells_a_secret(stack: ComposeStack) -> None:
    assert len(stack.secrets()) >= 14
    assert stack.leaked() == set()


def test_down_and_up_keep_all_data(stack: ComposeStack, admin: Airflow) -> None:
    before, secrets = predict(stack), stack.secrets()
    # The last test may have promoted a version that Prometheus has not asked for yet.
    assert until(lambda: stack.measured("updraft_model_version").get(NAME) == before["version"], 60)
    moment = time.time()
    stack.compose("down")
    assert stack.compose("ps", "--all", "--quiet").split() == []
    log.warning("up --wait, warm: %.0f s", stack.up())
    assert stack.secrets() == secrets
    assert admin.state(DAG, "first") == "success"
    after = until(lambda: predict(stack), 60)
    assert [after[each] for each in SAME] == [before[each] for each in SAME]
    assert stack.measured("updraft_model_version", at=moment)[NAME] == before["version"]


def test_a_backup_brings_all_of_it_back_in_a_stack_of_another_name(
    stack: ComposeStack, admin: Airflow, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    wanted = predict(stack)["prediction_ids"][0].partition(".")[0]
    until(lambda: wanted in requests_logged(stack), 30)
    before = contents(stack, admin)
    moment = time.time()
    took = time.monotonic()
    done = stack.script("backup", str(folder))
    assert done.returncode == 0, done.stderr
    log.warning("back up: %.0f s, %s", time.monotonic() - took, done.stdout.strip())
    until(stack.healthy, 180)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {each.stat().st_mode & 0o777 for each in folder.iterdir()} == {0o600}
    assert list(tmp_path.iterdir()) == [folder]
    assert "exists already, expected a new folder" in stack.script("backup", str(folder)).stderr

    refused = stack.script("restore", str(folder))
    assert refused.returncode == 1 and "has data already" in refused.stderr
    assert stack.healthy()

    stack.compose("down", "--volumes")
    stack.rename()
    whole = (folder / "s3.tar.gz").read_bytes()
    (folder / "s3.tar.gz").write_bytes(whole[:-100])
    damaged = stack.script("restore", str(folder))
    assert damaged.returncode == 1 and "is damaged" in damaged.stderr
    assert not stack.volumes()
    (folder / "s3.tar.gz").write_bytes(whole)

    stack.kill_restore(str(folder), at="mongodb")
    assert "a restore was interrupted" in stack.attempt(*RUN, "secrets").stderr
    took = time.monotonic()
    done = stack.script("restore", str(folder))
    assert done.returncode == 0, done.stderr
    log.warning("restore: %.0f s; up --wait: %.0f s", time.monotonic() - took, stack.up())
    assert until(lambda: version(stack) == before["production"], 60)
    assert contents(stack, admin) == before
    assert stack.measured("updraft_model_version", at=moment)[NAME] == before["production"]
    stack.compose(*RUN, "cli", "updraft", "registry", "verify", NAME)  # every signature and hash
    golden = (ROOT / "deploy/ask_golden.py").read_text(encoding="utf-8")
    assert "golden rows are answered as recorded" in stack.compose("exec", "-T", "serving", "python", "-c", golden)


def contents(stack: ComposeStack, admin: Airflow) -> dict[str, Any]:
    """Return what a backup has to bring back: rows, runs, versions with their history, files, secrets, predictions."""
    hashes = 'print(db.getSiblingDB("updraft").runCommand({dbHash: 1}).md5)'
    with stack.mongosh(hashes) as printed:
        rows_hash = printed.readline()
    assert re.fullmatch(r"[0-9a-f]{32}\n", rows_hash)
    shown = json.loads(stack.compose(*RUN, "cli", "updraft", "registry", "list", NAME, "--json"))
    runs_of_dag = admin.request("GET", f"dags/{DAG}/dagRuns")["dag_runs"]
    return {
        "rows": rows_hash,
        "runs": sorted((run["dag_run_id"], run["state"]) for run in runs_of_dag),
        "versions": shown,
        "production": production(stack),
        "files": sorted(
            stack.compose("exec", "-T", "scheduler", "find", "/var/lib/updraft/artifacts", "-type", "f").split()
        ),
        "secrets": stack.secrets(),
        "requests": requests_logged(stack),
    }


def requests_logged(stack: ComposeStack) -> list[str]:
    return stack.compose("exec", "-T", "serving", "python", "-c", LOGGED).split()


def test_a_wrong_variable_is_told_and_the_next_up_takes_over_what_has_changed(
    stack: ComposeStack, admin: Airflow
) -> None:
    stack.environ |= {"SERVING_API_KEYS": "ann:a-key-of-anns-own", "AIRFLOW_PARALLELISM": "many"}
    looked = stack.make("compose-up")
    assert looked.returncode != 0
    assert "secrets: AIRFLOW_PARALLELISM: 'many', expected a whole number" in looked.stderr
    assert stack.healthy()
    assert stack.attempt("up", "--detach", "--wait").returncode != 0
    assert "AIRFLOW_PARALLELISM: 'many', expected a whole number" in stack.compose("logs", "secrets")
    stack.environ["AIRFLOW_PARALLELISM"] = "3"
    log.warning("up --wait, with changed variables: %.0f s", stack.up())
    url = f"{stack.url}/predict/{NAME}"
    assert requests.post(url, json=ROW, timeout=10).status_code == 401
    known = {"X-API-Key": "a-key-of-anns-own"}
    assert until(lambda: requests.post(url, json=ROW, headers=known, timeout=10).status_code == 200, 60)
    assert until(lambda: stack.measured('up{job="serving"} == 1'), 60)  # Prometheus has a key of its own
    assert admin.state(DAG, "first") == "success"


def test_down_v_removes_all_volumes(stack: ComposeStack) -> None:
    assert len(stack.volumes()) == 10
    stack.compose("down", "--volumes")
    assert stack.volumes() == []
