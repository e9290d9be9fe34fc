"""The manifests of deploy/eks, rendered as `kubectl apply -k` renders them, and held to Kubernetes' own schemas."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from updraft.defaults import ROOT

OVERLAYS = ("production", "staging")
VERSIONS = ("1.35", "1.36", "1.37")
FOLDER = ROOT / "deploy" / "eks"
SERVING = ROOT / "serving"


def kustomize() -> list[str]:
    """Return the command that renders; kubectl has had it inside since 1.14, as of kustomize 5 since 1.27."""
    for command in (["kubectl", "kustomize"], ["kustomize", "build"]):
        if shutil.which(command[0]):
            return command
    pytest.skip("neither kubectl nor kustomize here")


@pytest.fixture(scope="module", params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    folder = FOLDER / "overlays" / request.param
    done = subprocess.run([*kustomize(), folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # a warning of something deprecated
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def of_kind(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (each for each in manifests if each["kind"] == kind)
    return dict(found)


def container(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    (only,) = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(only)


def shipper(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    (only,) = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]["initContainers"]
    return dict(only)


@pytest.mark.usefixtures("takes_long")
@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_strictly_valid(manifests: list[dict[str, Any]], version: str) -> None:
    kinds = [each["kind"] for each in manifests]
    assert sorted(kinds) == [
        "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service",
        "ServiceAccount",
    ]  # fmt: skip
    for each in manifests:
        assert kubernetes_validate.validate(each, version, strict=True) == version
    broken = of_kind(manifests, "Deployment") | {"specs": {}}
    with pytest.raises(kubernetes_validate.ValidationError):  # strict: a name that does not exist is an error
        kubernetes_validate.validate(broken, version, strict=True)


def test_all_of_an_overlay_is_in_one_namespace_and_images_are_named_by_digest(manifests: list[dict[str, Any]]) -> None:
    assert len({each["metadata"]["namespace"] for each in manifests}) == 1
    for each in (container(manifests), shipper(manifests)):
        assert re.fullmatch(r"[^@:]+\.amazonaws\.com/updraft-serving@sha256:[0-9a-f]{64}", each["image"])


def test_probes_ask_what_the_service_answers(manifests: list[dict[str, Any]]) -> None:
    routes = set(re.findall(r'app\.get\("([^"]+)"\)', (SERVING / "app.py").read_text(encoding="utf-8")))
    asked = {name: container(manifests)[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in asked.items()} == {
        "startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz",
    }  # fmt: skip
    annotations = of_kind(manifests, "Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert {probe["path"] for probe in asked.values()} | {annotations["prometheus.io/path"]} <= routes
    (port,) = container(manifests)["ports"]
    assert {probe["port"] for probe in asked.values()} == {port["name"]}
    (exposed,) = re.findall(r"^EXPOSE (\d+)$", (SERVING / "Dockerfile").read_text(encoding="utf-8"), re.M)
    assert {str(port["containerPort"]), annotations["prometheus.io/port"]} == {exposed}


def test_the_container_writes_only_where_the_service_keeps_something(manifests: list[dict[str, Any]]) -> None:
    pod = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]
    (uid,) = re.findall(r"useradd --uid (\d+)", (SERVING / "Dockerfile").read_text(encoding="utf-8"))
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == int(uid)
    may = container(manifests)["securityContext"]
    assert (may["readOnlyRootFilesystem"], may["allowPrivilegeEscalation"]) == (True, False)
    assert may["capabilities"] == {"drop": ["ALL"]}
    volumes = {each["name"]: each for each in pod["volumes"]}
    writable = {
        each["mountPath"] for each in container(manifests)["volumeMounts"] if "emptyDir" in volumes[each["name"]]
    }
    assert writable == {"/var/lib/updraft", "/tmp"}
    settings = of_kind(manifests, "ConfigMap")["data"]
    assert all(settings[name].startswith("/var/lib/updraft/") for name in ("SERVING_DATA", "SERVING_CACHE"))
    assert not pod["automountServiceAccountToken"]


def test_the_shipper_shares_the_log_and_ends_after_the_service_has(manifests: list[dict[str, Any]]) -> None:
    it, service = shipper(manifests), container(manifests)
    assert it["restartPolicy"] == "Always"  # what makes Kubernetes end it after the service, when it ships what is left
    assert {each["name"]: each["value"] for each in it["env"]} == {"SERVING_SHIP_AT_END": "on"}
    assert it["envFrom"] == service["envFrom"] and "UPDRAFT_VERIFY_KEY" not in str(it)
    state = {"name": "state", "mountPath": "/var/lib/updraft"}
    assert state in it["volumeMounts"] and state in service["volumeMounts"]
    assert it["securityContext"] == service["securityContext"]
    assert (
        len({each.get("subPath") for one in (it, service) for each in one["volumeMounts"] if each["name"] == "tmp"})
        == 2
    )
    assert of_kind(manifests, "ConfigMap")["data"]["SERVING_PREDICTIONS"].startswith("s3://")


@pytest.mark.parametrize(
    ("age", "log", "alive"), [(None, False, True), (0, True, True), (600, True, False), (600, False, True)]
)
def test_the_probe_of_the_shipper_finds_one_that_hangs(
    manifests: list[dict[str, Any]], tmp_path: Path, age: int | None, log: bool, alive: bool
) -> None:
    if log:
        (tmp_path / "predictions.sqlite").touch()
    if age is not None:
        (tmp_path / "shipped.json").touch()
        os.utime(tmp_path / "shipped.json", (time.time() - age,) * 2)
    command = [sys.executable, *shipper(manifests)["livenessProbe"]["exec"]["command"][1:]]
    done = subprocess.run(command, env={"SERVING_DATA": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode == 0, done.stderr) == (alive, "")


def test_every_setting_is_one_that_the_service_reads(manifests: list[dict[str, Any]]) -> None:
    folders = (SERVING, *(ROOT / "include" / "updraft" / room for room in ("registry", "predictions")))
    read = "".join(path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py"))
    settings = of_kind(manifests, "ConfigMap")
    assert all(f'"{name}"' in read for name in settings["data"])
    named = container(manifests)["envFrom"][0]["configMapRef"]["name"]
    assert named == settings["metadata"]["name"]  # with a hash of its content: a change starts new pods


def test_two_pods_at_least_stay_while_nodes_are_drained_and_versions_roll_out(manifests: list[dict[str, Any]]) -> None:
    scaler, budget = of_kind(manifests, "HorizontalPodAutoscaler")["spec"], of_kind(manifests, "PodDisruptionBudget")
    deployment = of_kind(manifests, "Deployment")["spec"]
    assert scaler["minReplicas"] == 2 and "replicas" not in deployment
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert budget["spec"]["maxUnavailable"] == 1
    labels = deployment["template"]["metadata"]["labels"]
    for selector in (
        budget["spec"]["selector"]["matchLabels"],
        of_kind(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        of_kind(manifests, "Service")["spec"]["selector"],
    ):
        assert selector.items() <= labels.items()


def test_the_service_account_has_a_role_and_pods_have_no_way_to_the_instance(manifests: list[dict[str, Any]]) -> None:
    account = of_kind(manifests, "ServiceAccount")
    assert account["metadata"]["name"] == "serving"  # which the role of deploy/aws/access.yaml trusts
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].startswith("arn:aws:iam::")
    policy = of_kind(manifests, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    blocks = [to["ipBlock"] for rule in policy["egress"] for to in rule["to"] if "ipBlock" in to]
    assert all("169.254.169.254/32" in block["except"] for block in blocks)


IMAGE, SHIPPER = (
    f"210987654321.dkr.ecr.us-east-1.amazonaws.com/models-serving@sha256:{each * 32}" for each in ("ab", "cd")
)


def deploy(*words: str) -> subprocess.CompletedProcess[str]:
    kustomize()
    return subprocess.run([FOLDER / "deploy.sh", *words], capture_output=True, text=True, check=False)


def test_a_release_is_the_overlay_with_other_images() -> None:
    done = deploy("production", IMAGE, SHIPPER, "--render")
    assert done.returncode == 0, done.stderr
    released = [each for each in yaml.safe_load_all(done.stdout) if each]
    plain = subprocess.run([*kustomize(), FOLDER / "overlays/production"], capture_output=True, text=True, check=True)
    expected = [each for each in yaml.safe_load_all(plain.stdout) if each]
    assert (container(released)["image"], shipper(released)["image"]) == (IMAGE, SHIPPER)
    pod = of_kind(expected, "Deployment")["spec"]["template"]["spec"]
    pod["containers"][0]["image"], pod["initContainers"][0]["image"] = IMAGE, SHIPPER
    assert released == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "nothing: expected one of production staging"),
        (("../base", IMAGE), "../base: expected one of production staging"),
        (("production", "updraft-serving:latest"), "updraft-serving:latest: expected IMAGE@sha256:"),
        (("production", f"{IMAGE}; touch x"), "expected IMAGE@sha256:"),
        (("production", IMAGE), "nothing: expected IMAGE@sha256:"),
        (("production", IMAGE, "updraft-shipper:v1"), "updraft-shipper:v1: expected IMAGE@sha256:"),
        (("production", IMAGE, IMAGE), "expected two images"),
        (("production", IMAGE, SHIPPER, "--rend"), "--rend: expected --render or nothing"),
    ],
)
def test_what_is_no_overlay_or_no_digest_is_refused_in_a_line(words: tuple[str, ...], expected: str) -> None:
    done = deploy(*words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert expected in done.stderr
