"""What the monitor found, on the service's pages and among its metrics."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from serving.app import create_app
from serving.models import monitor_states
from serving.models.live_models import LiveModels
from serving.models.version_cache import Cache
from serving.pages.sandbox import POLICY
from tests.support.small_models import NAME, loaded_model, promote, push
from updraft.registry import monitor_state
from updraft.registry.monitor_state import MonitorState, Signal
from updraft.registry.registry import Registry

PAGE = b"<!doctype html><style>p { color: red }</style><p>a report</p>"
HTML = {"Accept": "text/html"}


def publish(registry: Registry, **changes: Any) -> None:
    state = MonitorState(
        name=NAME,
        version=1,
        sequence=1,
        at="2026-11-29T10:58:31+00:00",
        report="20261129T105831Z",
        page_sha256=hashlib.sha256(PAGE).hexdigest(),
        rows=1500,
        labels=300,
        refused=2,
        drift="covariate shift: <b>Vintage</b>",
        drift_state="found",
        performance="worse: f1 0.2 of 300 labels",
        metric="f1",
        value=0.2,
        promised=0.57,
        found=[Signal(signal="covariate", action="retrain", reason="Vintage")],
        worst={"Vintage": 35.5},
        history=[],
    )
    registry.bucket.put(f"{NAME}/monitor/{state.report}/report.html", PAGE)
    monitor_state.write(registry.bucket, registry.keys, state.model_copy(update=changes))


@pytest.fixture
def models(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LiveModels:
    monkeypatch.setattr(monitor_states, "SECONDS", 0.0)
    promote(registry, push(registry, tmp_path / "run", loaded_model()))
    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    assert live_models.refresh()
    return live_models


@pytest.fixture
def client(models: LiveModels) -> FlaskClient:
    return create_app(models).test_client()


def test_without_a_report_nothing_is_shown(client: FlaskClient) -> None:
    assert "Monitoring" not in client.get("/", headers=HTML).text
    assert client.get(f"/monitoring/{NAME}").status_code == client.get("/monitoring/nobody").status_code == 404
    assert "updraft_monitor_timestamp_seconds{" not in client.get("/metrics").text


def test_the_last_report_is_on_the_page_of_models_and_among_the_metrics(
    client: FlaskClient, models: LiveModels, registry: Registry
) -> None:
    publish(registry)
    models.refresh()
    page = client.get("/", headers=HTML).text
    assert "covariate shift: &lt;b&gt;Vintage&lt;/b&gt;" in page and f'href="/monitoring/{NAME}"' in page
    report = client.get(f"/monitoring/{NAME}")
    assert (report.data, report.headers["Content-Security-Policy"]) == (PAGE, POLICY)
    figures = client.get("/metrics").text
    for line in (
        f'updraft_monitor_signal{{action="retrain",signal="covariate",use_case="{NAME}"}} 1.0',
        f'updraft_monitor_drift{{column="Vintage",use_case="{NAME}"}} 35.5',
        f'updraft_monitor_metric{{kind="promised",metric="f1",use_case="{NAME}"}} 0.57',
        f'updraft_monitor_rows{{kind="labels",use_case="{NAME}"}} 300.0',
    ):
        assert line in figures
    (at,) = [line for line in figures.splitlines() if line.startswith("updraft_monitor_timestamp_seconds{")]
    assert float(at.split()[1]) == 1795949911


def test_what_is_not_signed_or_was_exchanged_is_not_shown(
    client: FlaskClient, models: LiveModels, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    publish(registry)
    models.refresh()
    registry.bucket.put(f"{NAME}/monitor/20261129T105831Z/report.html", b"<script>alert(1)</script>")
    assert client.get(f"/monitoring/{NAME}").status_code == 404
    answer = registry.bucket.get(f"{NAME}/monitor.json")
    assert answer
    registry.bucket.put(f"{NAME}/monitor.json", answer[0].replace(b"35.5", b"0.1"))
    for _ in range(3):
        assert models.refresh()
    assert models.monitors.states[NAME].worst == {"Vintage": 35.5}
    assert len([record for record in caplog.records if "cannot be read" in record.message]) == 1
    assert client.post(f"/predict/{NAME}", json={}).status_code == 422
