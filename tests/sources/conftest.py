"""What the tests of sources share."""

from __future__ import annotations

import pytest

from updraft.sources import http_client, scratch


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whoever asks a server in trouble again wait a hundredth of a second at first, not half of one."""
    for module in (http_client, scratch):
        monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
