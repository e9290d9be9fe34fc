"""The values of Airflow's Helm chart: held to what the chart takes, to Compose, to the roles, and to the image.

Neither Helm nor the chart is at hand here. `CHART` says of each key that is used what the chart's own schema
(`values.schema.json`, which refuses names that it does not know) says of it, written down by hand from chart 1.20's.
What the chart passes on to Kubernetes as it is, is put into pods, and these are held to Kubernetes' schemas.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.deploy.test_eks import VERSIONS
from tests.support.aws_stacks import resources, template
from updraft.defaults import ROOT

VALUES: dict[str, Any] = yaml.safe_load((ROOT / "deploy/eks/airflow/values.yaml").read_text(encoding="utf-8"))
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LASTING = ("apiServer", "scheduler", "dagProcessor", "triggerer")
JOBS = ("migrateDatabaseJob", "createUserJob", "cleanup")
COMPONENTS = ("workers", *LASTING, *JOBS)
SIGNERS = {"workers", "apiServer"}

Schema = dict[str, Any]
TEXT, FLAG, WHOLE, ANY = {"type": "string"}, {"type": "boolean"}, {"type": "integer"}, {"type": "object"}
TEXTS, LIST = {"type": "array", "items": TEXT}, {"type": "array"}  # LIST: of objects of Kubernetes', see the pods


def of(**names: Schema) -> Schema:
    return {"type": "object", "properties": names, "additionalProperties": False}


def each(**names: Schema) -> Schema:
    return {"type": "array", "items": of(**names) | {"required": list(names)}}


ENABLED = of(enabled=FLAG)
ACCOUNT = of(name=TEXT, create=FLAG, automountServiceAccountToken=FLAG, annotations=ANY)
PROBE = of(command=TEXTS, failureThreshold=WHOLE)
ENV = {  # of a component: also from a secret or a config map, and from nothing else
    "type": "array",
    "items": of(name=TEXT, value=TEXT, valueFrom=of(secretKeyRef=ANY, configMapKeyRef=ANY)) | {"required": ["name"]},
}
POD: dict[str, Schema] = {"serviceAccount": ACCOUNT, "resources": ANY, "env": ENV}
MOUNTS: dict[str, Schema] = {"extraVolumes": LIST, "extraVolumeMounts": LIST}
LOOP: dict[str, Schema] = {**POD, **MOUNTS, "livenessProbe": PROBE, "logGroomerSidecar": ENABLED}
CHART = of(
    airflowVersion=TEXT,
    defaultAirflowRepository=TEXT,
    defaultAirflowTag=TEXT,
    airflowHome=TEXT,
    airflowLocalSettings=TEXT,
    executor=TEXT,
    images=of(migrationsWaitTimeout=WHOLE),
    uid=WHOLE,
    gid=WHOLE,
    securityContexts=of(pod=ANY, containers=ANY),
    env=each(name=TEXT, value=TEXT),  # of all: values alone
    volumes=LIST,
    volumeMounts=LIST,
    data=of(metadataSecretName=TEXT),
    fernetKeySecretName=TEXT,
    apiSecretKeySecretName=TEXT,
    jwtSecretName=TEXT,
    secret=each(envName=TEXT, secretName=TEXT, secretKey=TEXT),
    enableBuiltInSecretEnvVars=of(AIRFLOW_CONN_AIRFLOW_DB=FLAG, AIRFLOW__WEBSERVER__SECRET_KEY=FLAG),
    postgresql=ENABLED,
    redis=ENABLED,
    statsd=ENABLED,
    logs=of(persistence=ENABLED),
    workers=of(**POD, **MOUNTS),
    apiServer=of(**POD, **MOUNTS, startupProbe=of(failureThreshold=WHOLE)),
    scheduler=of(**LOOP, startupProbe=PROBE),
    dagProcessor=of(**LOOP, enabled=FLAG),
    triggerer=of(**LOOP, persistence=ENABLED),
    migrateDatabaseJob=of(**POD),
    createUserJob=of(**POD, args=TEXTS),
    cleanup=of(**POD, enabled=FLAG),
)


def env(component: str) -> dict[str, str]:
    """Return the plain variables of a component, with those of all."""
    variables = [*VALUES["env"], *VALUES[component].get("env", [])]
    return {one["name"]: one["value"] for one in variables if "value" in one}


def pod(component: str) -> dict[str, Any]:
    """Return a pod of what the chart passes on of a component."""
    own = VALUES[component]
    secrets = [
        {"name": one["envName"], "valueFrom": {"secretKeyRef": {"name": one["secretName"], "key": one["secretKey"]}}}
        for one in VALUES["secret"]
    ]
    container = {
        "name": "base",
        "image": f"{VALUES['defaultAirflowRepository']}:{VALUES['defaultAirflowTag']}",
        "env": [*VALUES["env"], *secrets, *own.get("env", [])],
        "resources": own["resources"],
        "securityContext": VALUES["securityContexts"]["containers"],
        "volumeMounts": [*VALUES["volumeMounts"], *own.get("extraVolumeMounts", [])],
    }
    if "command" in own.get("livenessProbe", {}):
        container["livenessProbe"] = {"exec": {"command": own["livenessProbe"]["command"]}}
    spec = {
        "serviceAccountName": own["serviceAccount"].get("name", "default") if "serviceAccount" in own else "default",
        "securityContext": VALUES["securityContexts"]["pod"],
        "containers": [container],
        "volumes": [*VALUES["volumes"], *own.get("extraVolumes", [])],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": component.lower()}, "spec": spec}


def test_every_value_is_one_that_the_chart_takes() -> None:
    jsonschema.validate(VALUES, CHART)
    for broken in ({"apiserver": {}}, {"workers": {"signingKey": "x"}}, {"env": [{"name": "A", "valueFrom": {}}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(VALUES | broken, CHART)


@pytest.mark.usefixtures("takes_long")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("component", COMPONENTS)
def test_what_the_chart_passes_on_is_strictly_valid(component: str, version: str) -> None:
    assert kubernetes_validate.validate(pod(component), version, strict=True) == version
    spec = pod(component)["spec"]
    mounted = {mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}
    broken = pod(component)
    broken["spec"]["containers"][0]["volumeMount"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, version, strict=True)


# What differs from Compose, and why.
BY_THE_CHART = {"AIRFLOW__CORE__EXECUTOR", "AIRFLOW__CORE__EXECUTION_API_SERVER_URL"}
OWN_SERVER = {"AWS_ENDPOINT_URL_S3"}
OF_THE_PLACE = {
    "AIRFLOW__API__BASE_URL", "AIRFLOW__CORE__PARALLELISM", "AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER",
    "AWS_DEFAULT_REGION", "SERVING_PREDICTIONS", "SERVING_URL", "UPDRAFT_ARTIFACTS", "UPDRAFT_DATASETS",
    "UPDRAFT_REGISTRY", "UPDRAFT_VERIFY_KEY",
}  # fmt: skip


def test_settings_are_those_of_compose() -> None:
    compose = COMPOSE["x-airflow-settings"]
    ours = {one["name"]: one["value"] for one in VALUES["env"]}
    assert ours.keys() == compose.keys() - BY_THE_CHART - OWN_SERVER
    same = ours.keys() - OF_THE_PLACE
    assert {name: ours[name] for name in same} == {name: compose[name] for name in same}
    signing = COMPOSE["x-signing-settings"].keys() - compose.keys()
    assert {name for name in signing if not name.startswith("MLFLOW_TRACKING_")} == {
        "UPDRAFT_SIGNING_KEY",
        "UPDRAFT_MIRROR",
    }
    values = (ROOT / "deploy/eks/airflow/values.yaml").read_text(encoding="utf-8")
    assert all(name in values for name in ("UPDRAFT_MIRROR", "MLFLOW_TRACKING_"))  # for who has a mirror or a tracker


def test_files_of_runs_rows_and_logs_are_in_the_buckets_of_the_stack() -> None:
    parameters = {"Prefix": "updraft", "AWS::AccountId": "123456789012"}
    names = {
        re.sub(r"\$\{([^}]+)\}", lambda match: parameters[match[1]], each["BucketName"]["Sub"])
        for each in resources("storage", "AWS::S3::Bucket").values()
    }
    uris = [one["value"] for one in VALUES["env"] if one["value"].startswith("s3://")]
    assert {uri.removeprefix("s3://") for uri in uris} == names and len(uris) == len(names) == 5


@pytest.mark.parametrize("component", COMPONENTS)
def test_only_what_moves_pointers_has_the_signing_key(component: str) -> None:
    signs = component in SIGNERS
    assert ("updraft-signing-key" in str(pod(component))) == signs
    assert ("UPDRAFT_SIGNING_KEY" in env(component)) == signs
    mounts = pod(component)["spec"]["containers"][0]["volumeMounts"]
    assert all(mount["readOnly"] for mount in mounts)
    for variable in ("UPDRAFT_VERIFY_KEY", *(["UPDRAFT_SIGNING_KEY"] if signs else [])):
        assert env(component)[variable].rpartition("/")[0] in {mount["mountPath"] for mount in mounts}


def test_no_secret_stands_in_the_values() -> None:
    taken = [
        VALUES["data"]["metadataSecretName"],
        *(VALUES[f"{each}SecretName"] for each in ("fernetKey", "apiSecretKey")),
    ]
    assert {*taken, VALUES["jwtSecretName"]} == {"updraft-airflow"}
    for component in COMPONENTS:
        for name, value in env(component).items():
            assert not re.search("PASSWORD|TOKEN|MONGODB_URL|SQL_ALCHEMY|FERNET|JWT", name), name
            assert not re.search(r"//[^/]*:[^/]*@", value), name
    assert "defaultUser" not in VALUES["createUserJob"]  # the chart's own user is admin, with the password admin


def test_each_role_is_trusted_to_the_accounts_that_have_it_and_only_who_needs_kubernetes_has_a_token() -> None:
    accounts: dict[str, dict[str, Any]] = {
        name: VALUES[name].get("serviceAccount", {}) for name in COMPONENTS
    }  # fmt: skip
    annotated: dict[str, set[str]] = {}
    for account in accounts.values():
        if arn := account.get("annotations", {}).get("eks.amazonaws.com/role-arn"):
            annotated.setdefault(arn.rpartition("-")[2], set()).add(account["name"])
    for role, names in annotated.items():
        trust = str(template("access")["Resources"][role]["Properties"]["AssumeRolePolicyDocument"])
        assert set(re.findall(r"\$\{Namespace\}:([a-z-]+)", trust)) == names
    assert annotated.keys() == {"Trainer", "Triggerer"}
    named = [account["name"] for account in accounts.values() if "name" in account]
    assert len(named) == len(set(named))
    with_token = {name for name, account in accounts.items() if account.get("automountServiceAccountToken", True)}
    assert with_token == {"apiServer", "scheduler", "cleanup"}  # reads logs of pods, starts pods, removes pods


def test_the_image_has_what_the_values_name() -> None:
    assert VALUES["airflowHome"] == re.findall(r"AIRFLOW_HOME=(\S+)", DOCKERFILE)[0]
    (uid, gid) = re.findall(r"useradd --uid (\d+) --gid (\d+)", DOCKERFILE)[0]
    security = VALUES["securityContexts"]["pod"]
    assert (int(uid), int(gid)) == (VALUES["uid"], VALUES["gid"]) == (security["runAsUser"], security["runAsGroup"])
    commands = [VALUES[each]["livenessProbe"]["command"] for each in LASTING[1:]]
    commands += [
        VALUES["scheduler"]["startupProbe"]["command"],
        ["updraft-entrypoint", *VALUES["createUserJob"]["args"]],
    ]
    for entrypoint, python, script, *_ in commands:
        assert f"/usr/local/bin/{entrypoint}" in DOCKERFILE and python == "python"
        assert (ROOT / script.removeprefix("/app/")).is_file()
    assert {command[3] for command in commands[:3]} == {"SchedulerJob", "DagProcessorJob", "TriggererJob"}
    assert all(not VALUES[each]["logGroomerSidecar"]["enabled"] for each in LASTING[1:])
    pinned = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert f"apache-airflow=={VALUES['airflowVersion']}" in pinned


def test_airflow_has_the_executor(takes_long: None, tmp_path: Path) -> None:
    script = (
        "from airflow.executors.executor_loader import ExecutorLoader\n"
        "cls, _ = ExecutorLoader.import_default_executor_cls()\n"
        "print(cls.__module__, cls.__name__)"
    )
    environ = {"PATH": "/usr/bin", "AIRFLOW__CORE__EXECUTOR": VALUES["executor"], "AIRFLOW_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False)
    expected = "airflow.providers.cncf.kubernetes.executors.kubernetes_executor KubernetesExecutor"
    assert done.stdout.splitlines()[-1:] == [expected], done.stderr
