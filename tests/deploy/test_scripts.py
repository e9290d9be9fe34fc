"""The scripts of deploy/: what shellcheck says of them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from updraft.defaults import ROOT

SCRIPTS = sorted(path for path in (ROOT / "deploy").rglob("*.sh"))


def test_scripts_are_clean_for_shellcheck() -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("no shellcheck here")
    done = subprocess.run(["shellcheck", *SCRIPTS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_stops_at_the_first_error(path) -> None:  # type: ignore[no-untyped-def]
    text = path.read_text(encoding="utf-8")
    assert "set -euo pipefail\n" in text if text.startswith("#!/usr/bin/env bash") else "set -eu\n" in text
