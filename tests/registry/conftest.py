"""A second registry, for what moves from one to another."""

from __future__ import annotations

import secrets

import pytest

from updraft.registry.registry import Registry, open_registry


@pytest.fixture
def other_environ(registry_environ: dict[str, str]) -> dict[str, str]:
    """The environment of another registry with the same keys."""
    return registry_environ | {"UPDRAFT_REGISTRY": f"s3://updraft-tests/{secrets.token_hex(6)}"}


@pytest.fixture
def other(other_environ: dict[str, str]) -> Registry:
    return open_registry(other_environ)
