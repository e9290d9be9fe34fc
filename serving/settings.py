"""What the environment says of the service. The first variable that is wrong is named."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from botocore.exceptions import BotoCoreError

from serving.server.auth import Keys, secret
from serving.server.limits import Limits
from serving.training.trigger import STARTS
from updraft.registry.registry import Registry, open_registry
from updraft.registry.s3 import NAME

Environment = Mapping[str, str]
Read = TypeVar("Read")
SWITCH = {"on": True, "off": False}


@dataclass(frozen=True)
class Settings:
    """`data` is the folder of the prediction log, counts and log files; `log` says whether predictions are logged."""

    registry: Registry
    cache: Path
    data: Path
    only: tuple[str, ...]
    poll_seconds: float
    max_rows: int
    limits: Limits
    keys: Keys | None
    starts: int
    proxies: int
    log: bool
    log_days: float
    log_max_mb: float
    log_level: str
    log_json: bool


def read(environment: Environment) -> Settings:
    """Read the settings and make the folders; ValueError names a variable that is missing or wrong."""
    number = _numbers(environment)
    body = int(number("SERVING_MAX_BODY_MB", 16, 0.001, 4096) * 2**20)
    return Settings(
        registry=_registry(environment),
        cache=_folder(environment, "SERVING_CACHE", "serving"),
        data=_folder(environment, "SERVING_DATA", "serving-data"),
        only=_names(environment),
        poll_seconds=number("SERVING_POLL_SECONDS", 2.0, 0.1, 3600),
        max_rows=int(number("SERVING_MAX_ROWS", 10_000, 1, 10**7)),
        limits=Limits(
            body=body,
            bodies=max(256 * 2**20, 4 * body),
            body_seconds=number("SERVING_BODY_SECONDS", 30, 0.1, 3600),
            threads=int(number("SERVING_THREADS", 4, 1, 256)),
            waiting=int(number("SERVING_WAITING", 128, 0, 10_000)),
            wait_seconds=number("SERVING_WAIT_SECONDS", 10, 0.1, 3600),
        ),
        keys=_keys(environment),
        proxies=int(number("SERVING_PROXIES", 0, 0, 100)),
        starts=int(number("SERVING_TRAINS_PER_MINUTE", STARTS, 1, 10_000)),
        log=_choice(environment, "SERVING_PREDICTION_LOG", SWITCH),
        log_days=number("SERVING_LOG_DAYS", 30, 0.01, 10_000),
        log_max_mb=number("SERVING_LOG_MAX_MB", 1024, 1, 10**7),
        log_level=_choice(environment, "SERVING_LOG_LEVEL", {each: each for each in LEVELS}),
        log_json=_choice(environment, "SERVING_LOG_FORMAT", {"plain": False, "json": True}),
    )


LEVELS = ("INFO", "DEBUG", "WARNING", "ERROR")


def _registry(environment: Environment) -> Registry:
    if not environment.get("UPDRAFT_VERIFY_KEY"):
        raise ValueError("UPDRAFT_VERIFY_KEY: not set, expected the path of an Ed25519 public key in PEM")
    public = {name: value for name, value in environment.items() if name != "UPDRAFT_SIGNING_KEY"}
    try:
        return open_registry(public)
    except BotoCoreError as error:
        raise ValueError(f"AWS settings: {error}") from None


def _folder(environment: Environment, variable: str, name: str) -> Path:
    home = environment.get("UPDRAFT_HOME")
    default = Path(home) if home else Path(environment.get("XDG_CACHE_HOME") or "~/.cache", "updraft")
    folder = Path(environment.get(variable) or default / name)
    try:
        folder = folder.expanduser()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{variable}: {str(folder)!r} cannot be made: {error}") from None
    return folder


def _names(environment: Environment) -> tuple[str, ...]:
    names = tuple(environment.get("SERVE_ONLY", "").replace(",", " ").split())
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(f"SERVE_ONLY: {name!r}, expected names of use cases, with commas between them")
    return names


def _keys(environment: Environment) -> Keys | None:
    text = secret(environment, "SERVING_API_KEYS")
    try:
        return None if text is None else Keys.read(text)
    except ValueError as error:
        raise ValueError(f"SERVING_API_KEYS: {error}") from None


def _numbers(environment: Environment) -> Callable[[str, float, float, float], float]:
    def number(name: str, default: float, least: float, most: float) -> float:
        text = environment.get(name) or str(default)
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not (least <= found <= most):
            raise ValueError(f"{name}: {text!r}, expected a number from {least:g} to {most:,.15g}")
        return found

    return number


def _choice(environment: Environment, name: str, known: Mapping[str, Read]) -> Read:
    """Return what a word stands for; the first one is the default."""
    text = environment.get(name) or next(iter(known))
    if text not in known:
        raise ValueError(f"{name}: {text!r}, expected {' or '.join(known)}")
    return known[text]
