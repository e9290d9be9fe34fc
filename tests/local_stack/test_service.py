"""How the demo waits for its version: on a real service over a real registry."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.serving import make_server

from serving.app import create_app
from serving.models.live_models import LiveModels
from serving.models.version_cache import Cache
from tests.support.small_models import NAME, ROW, model, promote, push
from updraft.local_stack.environment import StackError
from updraft.local_stack.servers import free_port
from updraft.local_stack.service import Service
from updraft.registry.registry import Registry


@contextmanager
def serve(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()


def test_a_version_that_is_refused_is_not_waited_for(registry: Registry, tmp_path: Path) -> None:
    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    with serve(create_app(live_models)) as url:
        service = Service(url, key="")
        assert not service.is_live(NAME, 1)

        promote(registry, push(registry, tmp_path / "good", model()))
        live_models.refresh()
        assert service.is_live(NAME, 1) and service.predict(NAME, ROW)["version"] == 1

        bad = push(
            registry, tmp_path / "bad", model(), spoil=lambda run: (run / "model.joblib").write_bytes(b"no pickle")
        )
        promote(registry, bad)
        assert not service.is_live(NAME, bad.number)  # not seen yet
        live_models.refresh()
        with pytest.raises(StackError, match=rf"the service refuses version {bad.number} of {NAME}: .*does not load"):
            service.is_live(NAME, bad.number)


def test_a_pointer_that_is_refused_is_not_waited_for(registry: Registry, tmp_path: Path) -> None:
    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    with serve(create_app(live_models)) as url:
        promote(registry, push(registry, tmp_path / "good", model()))
        registry.bucket.put(f"{NAME}/pointer.json", b"{}")
        live_models.refresh()
        with pytest.raises(StackError, match=rf"the service refuses the registry's pointer of {NAME}: ."):
            Service(url, key="").is_live(NAME, 1)


def test_a_service_that_does_not_answer_is_not_live() -> None:
    service = Service(f"http://127.0.0.1:{free_port()}", key="")
    assert not service.is_live(NAME, 1)
    with pytest.raises(StackError, match="the service does not answer: ConnectionError"):
        service.predict(NAME, ROW)
