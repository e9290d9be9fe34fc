"""What can be said of the images and the Compose file without Docker."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.imports import SHARED
from updraft.compose_secrets.variables import OWN_TRACKER, TRACKER
from updraft.defaults import ROOT
from updraft.predictions.layout import VARIABLE

COMPOSE, CELERY = ((ROOT / f"docker-compose{kind}.yaml").read_text(encoding="utf-8") for kind in ("", ".celery"))
DOCKERFILES = [ROOT / "Dockerfile", ROOT / "serving" / "Dockerfile"]
SERVICES = yaml.safe_load(COMPOSE)["services"]
OF_CELERY = yaml.safe_load(re.sub(r"!(override|reset)", "", CELERY))["services"]


def test_env_example_names_each_variable_of_the_compose_file_and_no_other() -> None:
    used = set(re.findall(r"\$\{([A-Z0-9_]+)", COMPOSE + CELERY)) | {"COMPOSE_FILE"}
    told = re.findall(r"^#?([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.M)
    assert sorted(told) == sorted(used)


def test_every_setting_of_the_service_can_be_given() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "serving").rglob("*.py"))
    read = set(re.findall(r'"((?:SERVING|SERVE)_[A-Z_]+)"', text)) - {"SERVING_CACHE", "SERVING_DATA"}
    secret = {"SERVING_API_KEYS", "SERVING_TRAIN_TOKEN", "SERVING_FEATURES_TOKEN"}
    given = {
        name: {variable for variable in SERVICES[name]["environment"] if variable.startswith("SERV")}
        for name in ("serving", "shipper")
    }
    assert given["shipper"] == {"SERVING_SHIP_SECONDS", "SERVING_LOG_LEVEL", "SERVING_LOG_FORMAT", VARIABLE}
    of_pods = {"SERVING_SHIP_AT_END"}  # here the log outlives its container
    assert given["serving"] == read - secret - of_pods - {"SERVING_SHIP_SECONDS"} | {VARIABLE}
    assert secret <= set(re.findall(r"\$\{(SERVING_[A-Z_]+)", COMPOSE))


def test_the_services_image_holds_the_shared_modules_and_no_other_of_the_package() -> None:
    text = DOCKERFILES[1].read_text(encoding="utf-8")
    copied = set(re.findall(r"include/updraft/(\w+)", text))
    assert copied == {"__init__", *SHARED}
    assert set(re.findall(r"^COPY (?:--\S+ )*(\S+)", text, re.M)) == {
        "serving/prune.sh",
        "serving/requirements.txt",
        "serving/requirements-full.txt",
        "serving/requirements-shipper.txt",
        "/app/.venv",
        "deploy/entrypoint.sh",
        "include/updraft/__init__.py",
        "include/updraft/model",
        "include/updraft/predictions",
        "include/updraft/registry",
        "serving",
    }


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_an_image_is_built_in_stages_from_locks_and_does_not_run_as_root(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    pinned = re.search(r"^UV := (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert "syntax=" not in text
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.M))
    assert set(re.findall(r"^FROM (\S+)", text, re.M)) - stages == {"${PYTHON_IMAGE}"}
    assert pinned and f"uv=={pinned[1]}\n" in text
    users = re.findall(r"^USER (\S+)", text, re.M)
    assert users and not {"root", "0"} & set(users)
    install = r"apt-get install --yes --no-install-recommends (.*?)(?= &&|$)"
    installed = re.findall(rf"^FROM \S+(?: AS (\S+))?(?:(?!^FROM).)*?{install}", text, re.M | re.S)
    assert len(installed) == text.count("apt-get install")
    # What `tools` installs is in no image.
    assert {(stage == "tools", packages) for stage, packages in installed} <= {(True, "binutils"), (False, "libgomp1")}
    assert not re.search(r"https?://|--index", text)


def test_compose_builds_the_image_that_serves_every_model_unless_told_otherwise() -> None:
    targets = re.findall(r"^FROM service AS (\S+)", DOCKERFILES[1].read_text(encoding="utf-8"), re.M)
    assert targets == ["serving", "serving-full", "shipper"]
    assert SERVICES["serving"]["build"]["target"] == "${SERVING_TARGET:-serving-full}"
    assert SERVICES["shipper"]["build"]["target"] == "shipper"


def test_every_image_of_others_can_be_replaced_and_has_a_tag_by_default() -> None:
    images = {name: service["image"] for name, service in {**SERVICES, **OF_CELERY}.items() if "image" in service}
    for name, image in images.items():
        own = re.fullmatch(r"\$\{COMPOSE_PROJECT_NAME:-updraft\}-(airflow|serving|shipper)", image)
        assert own or re.fullmatch(r"\$\{[A-Z0-9]+_IMAGE:-[a-z./]+:v?[0-9][0-9.]*\}", image), name
    builds = [service["build"] for service in SERVICES.values() if "build" in service]
    assert len(builds) == 3 and len({build["args"]["PYTHON_IMAGE"] for build in builds}) == 1


def test_every_part_of_airflow_knows_of_celery_and_where_files_lie_then() -> None:
    known = {name for name, service in OF_CELERY.items() if "AIRFLOW__CORE__EXECUTOR" in service.get("environment", {})}
    assert known == {"worker", "scheduler", "airflow-init", "apiserver", "dag-processor", "triggerer", "cli"}
    assert all(OF_CELERY[name]["environment"]["UPDRAFT_ARTIFACTS"] for name in known)


def test_only_what_moves_pointers_gets_the_key_that_signs() -> None:
    signing = {name for name, service in SERVICES.items() if "UPDRAFT_SIGNING_KEY" in service.get("environment", {})}
    tracking = {name for name, service in SERVICES.items() if "MLFLOW_TRACKING_TOKEN" in service.get("environment", {})}
    assert tracking == signing
    assert signing == {"apiserver", "scheduler", "cli"}
    mounted = {name: folder(SERVICES[name]) for name in (*signing, "triggerer", "dag-processor")}
    assert mounted == {
        "apiserver": "apiserver",
        "scheduler": "tasks",
        "cli": "cli",
        "triggerer": "triggerer",
        "dag-processor": "airflow",  # which has no S3 login
    }
    assert [folder(OF_CELERY[name]) for name in ("worker", "scheduler")] == ["tasks", "airflow"]
    assert OF_CELERY["worker"]["extends"]["service"] == "scheduler"
    assert OF_CELERY["scheduler"]["environment"]["UPDRAFT_SIGNING_KEY"] == ""


def folder(service: dict[str, Any]) -> str:
    """Return the folder of secrets that a service mounts."""
    (subpath,) = re.findall(r"subpath': '(\w+)'", str(service["volumes"]))
    return subpath


def test_alertmanager_runs_only_in_a_profile_that_is_asked_for_and_publishes_nothing() -> None:
    assert {name for name, service in SERVICES.items() if "alerts" in service.get("profiles", [])} == {"alertmanager"}
    assert "ports" not in SERVICES["alertmanager"] and "environment" not in SERVICES["alertmanager"]


def test_mlflow_runs_only_in_its_profile_listens_where_the_others_do_and_answers_the_hosts_that_call_it() -> None:
    assert {name for name, service in SERVICES.items() if "mlflow" in service.get("profiles", [])} == {"mlflow"}
    mlflow = SERVICES["mlflow"]
    assert mlflow["ports"] == ["${BIND:-127.0.0.1}:${MLFLOW_PORT:-5001}:5000"]
    assert mlflow["read_only"] is True and mlflow["volumes"] == ["mlflow:/var/lib/mlflow"]
    (hosts,) = re.findall(r"--allowed-hosts \$\{MLFLOW_HOSTS:-(\S+)\}", mlflow["command"])
    assert OWN_TRACKER.removeprefix("http://") in hosts.split(",")
    # Where it is set, though empty, the entrypoint would not take it from the file `env`.
    assert {name for name, each in SERVICES.items() if TRACKER in each.get("environment", {})} == {"secrets"}


def test_dask_runs_only_in_its_profile_without_secrets_and_only_what_runs_tasks_reaches_it() -> None:
    dask = {name for name, service in SERVICES.items() if "dask" in service.get("profiles", [])}
    assert dask == {"dask-scheduler", "dask-worker"}
    for name in dask:
        service = SERVICES[name]
        assert service["image"] == SERVICES["scheduler"]["image"] and service["read_only"] is True
        assert not {"ports", "volumes", "secrets", "env_file"} & service.keys()
        assert "--no-dashboard --dashboard-address 127.0.0.1:" in service["command"]
    networks = {name: service.get("networks", ["default"]) for name, service in SERVICES.items() if name != "secrets"}
    assert {name: each for name, each in networks.items() if "dask" in each} == {
        "dask-scheduler": ["dask"],
        "dask-worker": ["dask"],
        "scheduler": ["default", "data", "dask"],
    }
    assert yaml.safe_load(COMPOSE)["networks"]["dask"] == {"internal": True}
    # The worker extends the scheduler, which then runs no task and leaves.
    assert "networks" not in OF_CELERY["worker"] and OF_CELERY["scheduler"]["networks"] == ["default", "data"]
    assert {name for name, each in SERVICES.items() if "DASK_URL" in each.get("environment", {})} == {"scheduler"}


def test_long_running_services_restart_and_ask_whether_they_are_well() -> None:
    for name, service in {**SERVICES, "redis": OF_CELERY["redis"]}.items():
        if service["restart"] == "no":
            continue
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert service["mem_limit"] and service["logging"]["options"]["max-size"], name


def test_no_container_keeps_a_capability_that_it_does_not_need() -> None:
    files = {"CHOWN", "DAC_OVERRIDE", "FOWNER"}
    needed = {key: {*files, "SETGID", "SETUID"} for key in ("postgres", "mongodb", "s3")} | {"secrets": files}
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {*service.get("cap_add", [])} == needed.get(name, set()), name
