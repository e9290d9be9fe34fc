"""The entry point of a WSGI server, and the only reader of the environment.

Run as `granian --interface wsgi serving.wsgi:app`, or as `gunicorn serving.wsgi:app` without --preload, since the
thread that watches the registry starts with the import and does not survive a fork.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from botocore.exceptions import BotoCoreError
from flask import Flask

from serving.app import create_app
from serving.cache import Cache
from serving.shelf import Shelf
from updraft.registry import Registry, open_registry


def start(environment: Mapping[str, str]) -> Flask:
    """Make the app as the environment says and watch the registry; ValueError names a variable that is wrong."""
    poll = _number(environment, "SERVING_POLL_SECONDS", 2.0, 0.1)
    body = _number(environment, "SERVING_MAX_BODY_MB", 16.0, 0.001)
    rows = _number(environment, "SERVING_MAX_ROWS", 10_000.0, 1.0)
    shelf = Shelf(_registry(environment), Cache(_cache(environment)))
    app = create_app(shelf, max_body=int(body * 2**20), max_rows=int(rows))
    shelf.watch(poll)
    return app


def _registry(environment: Mapping[str, str]) -> Registry:
    if not environment.get("UPDRAFT_VERIFY_KEY"):
        raise ValueError("UPDRAFT_VERIFY_KEY: not set, expected the path of an Ed25519 public key in PEM")
    public = {name: value for name, value in environment.items() if name != "UPDRAFT_SIGNING_KEY"}
    try:
        return open_registry(public)
    except BotoCoreError as error:
        raise ValueError(f"AWS settings: {error}") from None


def _cache(environment: Mapping[str, str]) -> Path:
    home = environment.get("UPDRAFT_HOME")
    default = Path(home) if home else Path(environment.get("XDG_CACHE_HOME") or "~/.cache", "updraft")
    folder = Path(environment.get("SERVING_CACHE") or default / "serving")
    try:
        folder = folder.expanduser()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"SERVING_CACHE: {str(folder)!r} cannot be made: {error}") from None
    return folder


def _number(environment: Mapping[str, str], name: str, default: float, least: float) -> float:
    text = environment.get(name) or str(default)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (least <= number < math.inf):
        raise ValueError(f"{name}: {text!r}, expected a number of at least {least:g}")
    return number


logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
try:
    app = start(os.environ)
except ValueError as error:
    sys.exit(f"serving: {error}")
