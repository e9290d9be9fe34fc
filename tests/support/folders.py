"""The tests' folders in /tmp: each named after its process, which may be killed before it removes its own."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import psutil

FOLDER = "updraft-tests-"


def remove_folders_of_ended_processes() -> None:
    """Remove what earlier runs of the tests left: workers of xdist end without their exit handlers."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        pid = folder.name.removeprefix(FOLDER).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
