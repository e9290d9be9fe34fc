"""The endpoint of Feast's feature server that the service asks, as a real HTTP server answers: recorded of Feast 0.67.

`tests/cli/test_feast.py` holds its answers against those of `feast serve`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.web_server import Answer, Request

EPOCH = "1970-01-01T00:00:00Z"


@dataclass
class FeastStandIn:
    """A feature view with the values of each entity; `instead`, where it is set, makes another answer."""

    view: str
    entity: str
    rows: Mapping[Any, Mapping[str, Any]]
    event_timestamp: str = "2026-01-01T00:00:00Z"
    instead: Callable[[Request], Answer] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, request: Request) -> Answer:
        """Answer a request."""
        self.asked.append(json.loads(request.body))
        return self.instead(request) if self.instead else self._features(request)

    def _features(self, request: Request) -> Answer:
        if (request.method, request.path) != ("POST", "/get-online-features"):
            return _json({"detail": "Not Found"}, 404)
        asked = json.loads(request.body)
        keys, names = asked["entities"][self.entity], []
        for reference in asked["features"]:
            view, _, name = reference.partition(":")
            if view != self.view:
                error = {"module": "feast.errors", "class": "FeatureViewNotFoundException"}
                error |= {"message": f"Feature view {view} does not exist in project {self.view}"}
                return _json(json.dumps(error), 404)
            if not any(name in row for row in self.rows.values()):
                return _json(f"'Feature {name} not found in projection {self.view}'", 500)
            names.append(name)
        entities = self._vector(keys, ["PRESENT"] * len(keys), EPOCH)
        vectors = [self._vector(*self._of(name, keys), self.event_timestamp) for name in reversed(names)]
        return _json({"results": [entities, *vectors], "metadata": {"feature_names": [self.entity, *reversed(names)]}})

    def _of(self, name: str, keys: list[Any]) -> tuple[list[Any], list[str]]:
        values = [self.rows[key][name] if key in self.rows else None for key in keys]
        return values, ["PRESENT" if key in self.rows else "NOT_FOUND" for key in keys]

    def _vector(self, values: list[Any], statuses: list[str], at: str) -> dict[str, Any]:
        times = [at if status == "PRESENT" else EPOCH for status in statuses]
        return {"values": values, "statuses": statuses, "event_timestamps": times}


def _json(content: object, status: int = 200) -> Answer:
    return Answer(json.dumps(content, ensure_ascii=False).encode(), status, {"Content-Type": "application/json"})
