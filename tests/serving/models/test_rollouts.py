"""Which versions are tried beside production, over a real registry: followed, refused, finished and taken back."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from serving.app import create_app
from serving.metrics import Metrics
from serving.models.live_models import LiveModels
from serving.models.rollouts import takes
from serving.models.version_cache import Cache
from tests.support.small_models import NAME, OTHER, ROW, model, promote, push
from tests.support.versions import overwrite
from updraft.model import golden
from updraft.registry.registry import Registry, open_registry
from updraft.registry.rollouts import Plan, abort, finish, start

WHO = {"who": "tests", "why": "to see"}


@pytest.fixture
def live_models(registry: Registry, tmp_path: Path) -> LiveModels:
    """Version 1 in production and live, version 2 stored."""
    promote(registry, push(registry, tmp_path / "one", model()))
    push(registry, tmp_path / "two", model(seed=1))
    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    assert live_models.refresh()
    return live_models


def versions(live_models: LiveModels) -> tuple[int, int | None]:
    tried = live_models.rollouts.live.get(NAME)
    return live_models.live[NAME].version, tried.live.version if tried else None


def test_a_rollout_is_followed_to_its_finish_without_loading_again(
    live_models: LiveModels, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    start(registry, NAME, Plan(2, "canary", 10.0), **WHO)
    assert live_models.refresh() and versions(live_models) == (1, 2)
    assert "version 2 is tried beside production: canary 10 % since" in caplog.text
    loaded = live_models.rollouts.live[NAME].live
    finish(registry, NAME, **WHO)
    assert live_models.refresh() and versions(live_models) == (2, None)
    assert live_models.live[NAME] is loaded
    assert "version 2 is no longer tried" in caplog.text


@pytest.mark.parametrize("end", ["abort", "promote", "rollback"])
def test_what_ends_a_rollout_ends_it_here(
    end: str, live_models: LiveModels, registry: Registry, tmp_path: Path
) -> None:
    third = push(registry, tmp_path / "three", model(seed=2)).number
    registry.promote(NAME, third, expect=1, **WHO)
    start(registry, NAME, Plan(2, "shadow"), **WHO)
    assert live_models.refresh() and versions(live_models) == (3, 2)
    if end == "abort":
        abort(registry, NAME, **WHO)
    elif end == "promote":
        registry.promote(NAME, 1, expect=3, **WHO)
    else:
        registry.rollback(NAME, **WHO)
    assert live_models.refresh()
    assert versions(live_models) == (3 if end == "abort" else 1, None)
    found = re.findall(
        r"^updraft_taken_back_timestamp_seconds{(.*)} (.*)$", Metrics(live_models).exposition().decode(), re.M
    )
    assert [labels for labels, _ in found] == [f'action="{end}",use_case="{NAME}"'] * (end != "promote")
    assert all(abs(float(seconds) - time.time()) < 600 for _, seconds in found)


def test_a_removed_use_case_tries_nothing(live_models: LiveModels, registry: Registry) -> None:
    start(registry, NAME, Plan(2, "shadow"), **WHO)
    assert live_models.refresh() and versions(live_models) == (1, 2)
    registry.remove(NAME, **WHO)
    assert live_models.refresh()
    assert (live_models.live, live_models.rollouts.live) == ({}, {})


def test_a_version_that_cannot_be_verified_is_not_tried_and_everybody_is_told(
    live_models: LiveModels, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    start(registry, NAME, Plan(2, "canary", 100.0), **WHO)
    overwrite(registry, f"{NAME}/versions/0002/model.joblib", lambda body: body + b"x")
    for _ in range(3):
        assert live_models.refresh()
    assert versions(live_models) == (1, None)
    assert caplog.text.count("version 2 is not tried, production answers alone") == 1
    client = create_app(live_models).test_client()
    [summary] = client.get("/models").json["models"]  # type: ignore[index]
    assert summary["rollout_refused"]["version"] == 2 and "not the file" in summary["rollout_refused"]["reason"]
    assert f'updraft_rollout_refused{{use_case="{NAME}"}} 1.0' in client.get("/metrics").text
    answer = client.post(f"/predict/{NAME}", json=ROW)
    assert answer.json["version"] == 1  # type: ignore[index]
    abort(registry, NAME, **WHO)
    assert live_models.refresh()
    [summary] = client.get("/models").json["models"]  # type: ignore[index]
    assert "rollout_refused" not in summary


def test_a_version_that_does_not_reproduce_its_golden_rows_is_not_tried(
    live_models: LiveModels, registry: Registry, tmp_path: Path
) -> None:
    def exchange(folder: Path) -> None:
        golden.write(model(seed=1), [ROW, OTHER], folder)

    bad = push(registry, tmp_path / "bad", model(seed=2), spoil=exchange).number
    start(registry, NAME, Plan(bad, "shadow"), **WHO)
    assert live_models.refresh()
    assert versions(live_models) == (1, None)
    assert live_models.rollouts.refusals[NAME].version == bad


def test_while_the_registry_is_down_the_rollout_goes_on_and_a_restart_serves_production_alone(
    live_models: LiveModels, registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    start(registry, NAME, Plan(2, "canary", 50.0), **WHO)
    down = open_registry(registry_environ)
    down.bucket.client.meta.events.register("before-send.s3", refuse)
    going_on, restarted = (LiveModels(registry, Cache(tmp_path / "cache")) for _ in range(2))
    assert going_on.refresh()
    for each in (going_on, restarted):
        each._registry = down
        assert not each.refresh()
    assert versions(going_on) == (1, 2)
    assert versions(restarted) == (1, None)


def refuse(**_: Any) -> None:
    raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")


@pytest.mark.parametrize("percent", [1.0, 10.0, 37.5, 100.0])
def test_a_canary_takes_its_share_of_keys_and_always_the_same(percent: float) -> None:
    keys = [b"customer %d" % number for number in range(20_000)]
    taken = [takes(2, percent, key) for key in keys]
    share = percent / 100
    assert abs(sum(taken) - 20_000 * share) <= 5 * (20_000 * share * (1 - share)) ** 0.5
    assert [takes(2, percent, key) for key in keys] == taken
    more = [takes(2, min(100.0, percent * 2), key) for key in keys]
    assert all(after for before, after in zip(taken, more, strict=True) if before)  # who met it goes on meeting it
    others = [takes(3, percent, key) for key in keys]
    assert percent == 100 or others != taken  # the next version is not met first by the same
