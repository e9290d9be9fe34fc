"""Ask the stack's service, as its users do: over HTTP, with an API key where it wants one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from updraft.local_stack.environment import StackError

NO_HEADERS: Mapping[str, str] = {}


class Service:
    """The service at `url`; `key` is an API key, or empty. No proxy is used."""

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key

    def is_live(self, use_case: str, version: int) -> bool:
        """Return whether this version answers requests; StackError with the reason when the service refuses it."""
        model = self._model(use_case)
        refused = model and model["refused"]
        if refused and refused["version"] in (None, version):  # None: the pointer itself
            what = f"version {version}" if refused["version"] else "the registry's pointer"
            raise StackError(f"the service refuses {what} of {use_case}: {refused['reason']}")
        return bool(model and model["version"] == version)

    def tries(self, use_case: str, version: int) -> bool:
        """Return whether this version is tried beside the one in production."""
        model = self._model(use_case)
        return bool(model and model.get("rollout") and model["rollout"]["version"] == version)

    def predict(self, use_case: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the response to one row; StackError when it is an error."""
        return self._post(f"/predict/{use_case}", dict(row))

    def predict_rows(self, use_case: str, rows: Sequence[Mapping[str, Any]], caller: str = "") -> dict[str, Any]:
        """Return the response to rows of a caller, who meets one version while two answer; StackError as `predict`."""
        return self._post(f"/predict/{use_case}", {"rows": list(rows)}, {"X-Updraft-Key": caller} if caller else {})

    def send_feedback(self, labels: Mapping[str, Any]) -> None:
        """Send true labels by prediction id; StackError when they are not taken."""
        feedback = [{"prediction_id": name, "label": label} for name, label in labels.items()]
        self._post("/feedback", {"feedback": feedback})

    def _model(self, use_case: str) -> dict[str, Any] | None:
        """Return what the service says of a use case's model; None while it says nothing."""
        try:
            models = self._request("GET", "/models").json()["models"]
        except (requests.RequestException, KeyError):
            return None
        return next((model for model in models if model["use_case"] == use_case), None)

    def _post(self, path: str, body: Any, headers: Mapping[str, str] = NO_HEADERS) -> dict[str, Any]:
        try:
            response = self._request("POST", path, body, headers)
        except requests.RequestException as error:
            raise StackError(f"the service does not answer: {type(error).__name__}") from None
        if not response.ok:
            raise StackError(f"the service answers {response.status_code}: {response.text[:300]}")
        return dict(response.json())

    def _request(
        self, method: str, path: str, body: Any = None, more: Mapping[str, str] = NO_HEADERS
    ) -> requests.Response:
        headers = {**({"X-API-Key": self._key} if self._key else {}), **more}
        with requests.Session() as session:
            session.trust_env = False
            response = session.request(method, self._url + path, json=body, headers=headers, timeout=30)
        if response.status_code == 401:  # it has the keys of the shell that started it
            raise StackError("the service asks for an API key: set SERVING_API_KEYS as where it was started")
        return response


def api_key(environ: Mapping[str, str]) -> str:
    """Return the first key of the service's API keys, lines `name:key`; an empty one where they are off."""
    file = environ.get("SERVING_API_KEYS_FILE")
    try:
        text = Path(file).read_text(encoding="utf-8") if file else environ.get("SERVING_API_KEYS", "")
    except (OSError, ValueError):
        return ""
    lines = [line.strip() for line in text.splitlines()]
    return next((line.partition(":")[2].strip() for line in lines if line and not line.startswith("#")), "")
