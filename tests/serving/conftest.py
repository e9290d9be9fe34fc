"""The service's app over a real registry, for tests that only read from it."""

from __future__ import annotations

import secrets

import pytest
from flask.testing import FlaskClient

from serving.app import create_app
from serving.models.live_models import LiveModels
from serving.models.version_cache import Cache
from tests.support.key_pairs import write_key_pair
from tests.support.small_models import loaded_model, promote, push
from updraft.registry.registry import open_registry


@pytest.fixture(scope="session")
def loaded(s3: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> LiveModels:
    """Return live models with `loaded_model()`, for tests that only read them."""
    folder = tmp_path_factory.mktemp("loaded")
    registry = open_registry({
        **s3,
        **write_key_pair(folder),
        "UPDRAFT_REGISTRY": f"s3://test-serving/{secrets.token_hex(6)}",
    })
    promote(registry, push(registry, folder / "run", loaded_model()))
    live_models = LiveModels(registry, Cache(folder / "cache"))
    assert live_models.refresh()
    return live_models


@pytest.fixture
def client(loaded: LiveModels) -> FlaskClient:
    """A client of the app with small limits: 64 KiB and 50 rows."""
    return create_app(loaded, max_body=2**16, max_rows=50).test_client()
