"""Which code this is: the package's version and the commit."""

from __future__ import annotations

import os
import subprocess
from importlib import metadata

from updraft.defaults import ROOT


def version() -> str:
    """Return the version of the installed package; "unknown" where the code runs from a folder alone."""
    try:
        return metadata.version("updraft")
    except metadata.PackageNotFoundError:
        return "unknown"


def commit() -> str | None:
    """Return the commit of the code: UPDRAFT_COMMIT in an image built without git, else from git; None without both."""
    built_from = os.environ.get("UPDRAFT_COMMIT")
    if built_from:
        return built_from
    try:
        done = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return None
    return done.stdout.strip() or None
