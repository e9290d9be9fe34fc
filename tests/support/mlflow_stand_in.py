"""The part of MLflow's REST API that is used here, as a real HTTP server: what it answers is what MLflow answers.

`tests/trackers/test_mlflow.py` holds both to the same tests.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.support.web_server import Answer, Request

API = "/api/2.0/"


class Failure(Exception):
    """An error as MLflow sends it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class MlflowStandIn:
    """Experiments, runs, artifacts and registered models in memory."""

    def __init__(self) -> None:
        self.experiments: list[dict[str, Any]] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[str, bytes] = {}
        self._one_at_a_time = threading.Lock()

    def answer(self, request: Request) -> Answer:
        """Answer a request."""
        parts = urlsplit(request.path)
        path = parts.path.removeprefix(API)
        try:
            if path.startswith("mlflow-artifacts/artifacts/"):
                return self._artifact(request, unquote(path.removeprefix("mlflow-artifacts/artifacts/")))
            content = json.loads(request.body) if request.body else dict(parse_qsl(parts.query))
            with self._one_at_a_time:
                return Answer(json.dumps(self._routes()[request.method, path](content)).encode())
        except Failure as error:
            return Answer(json.dumps({"error_code": error.code, "message": str(error)}).encode(), error.status)

    def recorded(self) -> list[dict[str, Any]]:
        """Return every run, with its tags, params and metrics as dicts."""
        kinds = ("tags", "params", "metrics")
        return [
            run["info"] | {kind: {each["key"]: each["value"] for each in run["data"][kind]} for kind in kinds}
            for run in self.runs.values()
        ]

    def _routes(self) -> dict[tuple[str, str], Callable[[dict[str, Any]], object]]:
        return {
            ("GET", "mlflow/experiments/get-by-name"): self._experiment,
            ("POST", "mlflow/experiments/create"): self._new_experiment,
            ("POST", "mlflow/runs/create"): self._new_run,
            ("POST", "mlflow/runs/search"): self._search,
            ("POST", "mlflow/runs/log-batch"): self._log,
            ("POST", "mlflow/runs/update"): self._update,
            ("POST", "mlflow/runs/set-tag"): self._set_tag,
            ("POST", "mlflow/runs/delete"): lambda asked: self.runs.pop(self._run(asked)["info"]["run_id"]) and {},
            ("GET", "mlflow/registered-models/get"): lambda asked: {"registered_model": self._model(asked)},
            ("POST", "mlflow/registered-models/create"): self._new_model,
            ("GET", "mlflow/model-versions/search"): self._versions,
            ("POST", "mlflow/model-versions/create"): self._new_version,
            ("DELETE", "mlflow/model-versions/delete"): self._delete_version,
            ("POST", "mlflow/registered-models/alias"): self._set_alias,
            ("DELETE", "mlflow/registered-models/alias"): self._delete_alias,
        }

    def _experiment(self, asked: dict[str, Any]) -> object:
        for each in self.experiments:
            if each["name"] == asked["experiment_name"]:
                return {"experiment": each}
        raise Failure(404, "RESOURCE_DOES_NOT_EXIST", "Could not find experiment")

    def _new_experiment(self, asked: dict[str, Any]) -> object:
        if asked["name"] in [each["name"] for each in self.experiments]:
            raise Failure(400, "RESOURCE_ALREADY_EXISTS", "Experiment already exists.")
        number = str(len(self.experiments) + 1)
        self.experiments.append({"name": asked["name"], "experiment_id": number, "lifecycle_stage": "active"})
        return {"experiment_id": number}

    def _new_run(self, asked: dict[str, Any]) -> object:
        run_id = uuid.uuid4().hex
        info = {"run_id": run_id, "experiment_id": asked["experiment_id"], "run_name": asked["run_name"]}
        info |= {"status": "RUNNING", "start_time": asked["start_time"]}
        info["artifact_uri"] = f"mlflow-artifacts:/{asked['experiment_id']}/{run_id}/artifacts"
        self.runs[run_id] = {"info": info, "data": {"tags": asked["tags"], "params": [], "metrics": []}}
        return {"run": self.runs[run_id]}

    def _search(self, asked: dict[str, Any]) -> object:
        matched = re.fullmatch(r"tags\.`([^`]+)` = '([^']*)'", asked.get("filter", ""))
        wanted = [{"key": matched[1], "value": matched[2]}] if matched else []
        runs = [run for run in self.runs.values() if run["info"]["experiment_id"] in asked["experiment_ids"]]
        return {"runs": [run for run in runs if all(tag in run["data"]["tags"] for tag in wanted)]}

    def _run(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["run_id"] not in self.runs:
            raise Failure(400, "INVALID_PARAMETER_VALUE", f"The run {asked['run_id']} must be in the 'active' state.")
        return self.runs[asked["run_id"]]

    def _set_tag(self, asked: dict[str, Any]) -> object:
        tags = self._run(asked)["data"]["tags"]
        tags[:] = [tag for tag in tags if tag["key"] != asked["key"]]
        tags.append({"key": asked["key"], "value": asked["value"]})
        return {}

    def _log(self, asked: dict[str, Any]) -> object:
        data = self._run(asked)["data"]
        for param in asked["params"]:
            if [each for each in data["params"] if each["key"] == param["key"] and each != param]:
                raise Failure(400, "INVALID_PARAMETER_VALUE", "Changing param values is not allowed.")
        for kind in ("params", "metrics"):
            data[kind] += [each for each in asked[kind] if each not in data[kind]]
        return {}

    def _update(self, asked: dict[str, Any]) -> object:
        info = self._run(asked)["info"]
        info |= {"status": asked["status"], "end_time": asked["end_time"]}
        return {"run_info": info}

    def _model(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["name"] not in self.models:
            raise Failure(404, "RESOURCE_DOES_NOT_EXIST", "Registered Model not found")
        return self.models[asked["name"]]

    def _new_model(self, asked: dict[str, Any]) -> object:
        if asked["name"] in self.models:
            raise Failure(400, "RESOURCE_ALREADY_EXISTS", "Registered Model already exists.")
        self.models[asked["name"]] = {"name": asked["name"], "tags": asked.get("tags", []), "aliases": []}
        self.models[asked["name"]]["versions"] = []
        return {"registered_model": self.models[asked["name"]]}

    def _versions(self, asked: dict[str, Any]) -> object:
        name = asked["filter"].removeprefix("name='").removesuffix("'")
        found = [each for each in self.models.get(name, {"versions": []})["versions"] if each]
        start, size = int(asked.get("page_token") or 0), int(asked["max_results"])
        after = {"next_page_token": str(start + size)} if len(found) > start + size else {}
        return {"model_versions": found[start : start + size]} | after

    def _new_version(self, asked: dict[str, Any]) -> object:
        versions = self._model(asked)["versions"]
        versions.append({**asked, "version": str(len(versions) + 1)})
        return {"model_version": versions[-1]}

    def _delete_version(self, asked: dict[str, Any]) -> object:
        self._model(asked)["versions"][int(asked["version"]) - 1] = None
        return {}

    def _set_alias(self, asked: dict[str, Any]) -> object:
        self._delete_alias(asked)
        self._model(asked)["aliases"].append({"alias": asked["alias"], "version": asked["version"]})
        return {}

    def _delete_alias(self, asked: dict[str, Any]) -> object:
        model = self._model(asked)
        model["aliases"] = [each for each in model["aliases"] if each["alias"] != asked["alias"]]
        return {}

    def _artifact(self, request: Request, path: str) -> Answer:
        if request.method == "PUT":
            self.artifacts[path] = request.body
            return Answer(b"{}")
        return Answer(self.artifacts[path])
