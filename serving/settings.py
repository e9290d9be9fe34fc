"""The service's settings, read from environment variables. An error names the first invalid one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from botocore.exceptions import BotoCoreError

from serving.models.version_cache import require_private
from serving.server.auth import ApiKeys, KeysFile, read_secret, secret_file
from serving.server.limits import Limits
from serving.server.wsgi_adapter import is_host
from serving.training.trigger import STARTS_PER_MINUTE
from updraft.predictions.layout import VARIABLE, open_bucket
from updraft.registry.registry import Registry, open_registry
from updraft.registry.s3 import NAME, Bucket

Environment = Mapping[str, str]
Choice = TypeVar("Choice")
ON_OFF = {"on": True, "off": False}


@dataclass(frozen=True)
class Settings:
    """The settings. `data` is the folder of the prediction log, the metrics and the log files."""

    registry: Registry
    cache: Path
    data: Path
    only: tuple[str, ...]
    poll_seconds: float
    max_rows: int
    limits: Limits
    api_keys: ApiKeys | None
    hosts: tuple[str, ...]
    trains_per_minute: int
    trusted_proxies: int
    prediction_log: bool
    log_days: float
    log_max_mb: float
    log_level: str
    log_json: bool
    log_answered: bool
    loop_seconds: float
    features_token: str | None
    ships: bool


@dataclass(frozen=True)
class Shipping:
    """The settings of the shipper: the folder of the prediction log, where it goes, how old rows become before, and
    whether the log ends when the shipper is told to end.
    """

    data: Path
    bucket: Bucket
    seconds: float
    at_end: bool
    log_level: str
    log_json: bool


def read_shipping(environment: Environment) -> Shipping:
    """Read the shipper's settings; ValueError names a missing or invalid variable."""
    try:
        bucket = open_bucket(environment)
    except BotoCoreError as error:
        raise ValueError(f"AWS settings: {error}") from None
    if bucket is None:
        raise ValueError(f"{VARIABLE}: not set, expected s3://bucket or s3://bucket/prefix")
    return Shipping(
        data=_folder(environment, "SERVING_DATA", "serving-data"),
        bucket=bucket,
        seconds=_numbers(environment)("SERVING_SHIP_SECONDS", 60, 0.1, 86_400),
        at_end=_choice(environment, "SERVING_SHIP_AT_END", {"off": False, "on": True}),
        log_level=_choice(environment, "SERVING_LOG_LEVEL", {level: level for level in LEVELS}),
        log_json=_choice(environment, "SERVING_LOG_FORMAT", LOG_FORMATS),
    )


def read(environment: Environment) -> Settings:
    """Read the settings and create the folders; ValueError names a missing or invalid variable."""
    number = _numbers(environment)
    body = int(number("SERVING_MAX_BODY_MB", 16, 0.001, 4096) * 2**20)
    return Settings(
        registry=_registry(environment),
        cache=_cache(environment),
        data=_folder(environment, "SERVING_DATA", "serving-data"),
        only=_names(environment),
        poll_seconds=number("SERVING_POLL_SECONDS", 2.0, 0.1, 3600),
        max_rows=int(number("SERVING_MAX_ROWS", 10_000, 1, 10**7)),
        limits=Limits(
            body_bytes=body,
            total_bytes=max(256 * 2**20, 4 * body),
            body_timeout=number("SERVING_BODY_SECONDS", 30, 0.1, 3600),
            threads=int(number("SERVING_THREADS", 4, 1, 256)),
            queue_size=int(number("SERVING_WAITING", 128, 0, 10_000)),
            queue_timeout=number("SERVING_WAIT_SECONDS", 10, 0.1, 3600),
        ),
        api_keys=_api_keys(environment),
        hosts=_hosts(environment),
        trusted_proxies=int(number("SERVING_PROXIES", 0, 0, 100)),
        trains_per_minute=int(number("SERVING_TRAINS_PER_MINUTE", STARTS_PER_MINUTE, 1, 10_000)),
        prediction_log=_choice(environment, "SERVING_PREDICTION_LOG", ON_OFF),
        log_days=number("SERVING_LOG_DAYS", 30, 0.01, 10_000),
        log_max_mb=number("SERVING_LOG_MAX_MB", 1024, 1, 10**7),
        log_level=_choice(environment, "SERVING_LOG_LEVEL", {level: level for level in LEVELS}),
        log_json=_choice(environment, "SERVING_LOG_FORMAT", LOG_FORMATS),
        log_answered=_choice(environment, "SERVING_LOG_REQUESTS", {"all": True, "errors": False}),
        loop_seconds=number("SERVING_LOOP_MS", 1.0, 0, 1000) / 1000,
        features_token=_token(environment, "SERVING_FEATURES_TOKEN"),
        ships=bool(environment.get(VARIABLE)),
    )


LEVELS = ("INFO", "DEBUG", "WARNING", "ERROR")
LOG_FORMATS = {"plain": False, "json": True}


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
        raise ValueError(f"{variable}: cannot create {str(folder)!r}: {error}") from None
    return folder


def _cache(environment: Environment) -> Path:
    folder = _folder(environment, "SERVING_CACHE", "serving")
    try:
        require_private(folder)
    except (ValueError, OSError) as error:
        raise ValueError(f"SERVING_CACHE: {error}") from None
    return folder


def _names(environment: Environment) -> tuple[str, ...]:
    names = tuple(environment.get("SERVE_ONLY", "").replace(",", " ").split())
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(f"SERVE_ONLY: {name!r}, expected use case names separated by commas")
    return names


def _hosts(environment: Environment) -> tuple[str, ...]:
    hosts = tuple(environment.get("SERVING_HOSTS", "").lower().replace(",", " ").split())
    for host in hosts:
        if not is_host(host.removeprefix(".")) or ":" in host.rpartition("]")[2]:
            raise ValueError(f"SERVING_HOSTS: {host!r}, expected host names without a port, separated by commas")
    return hosts


def _api_keys(environment: Environment) -> ApiKeys | None:
    text = read_secret(environment, "SERVING_API_KEYS")
    try:
        if file := secret_file(environment, "SERVING_API_KEYS"):
            return KeysFile(file)
        return None if text is None else ApiKeys.read(text)
    except ValueError as error:
        raise ValueError(f"SERVING_API_KEYS: {error}") from None


def _token(environment: Environment, variable: str) -> str | None:
    token = read_secret(environment, variable)
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise ValueError(f"{variable}: expected ASCII characters without a space, as a header can have them")
    return token


def _numbers(environment: Environment) -> Callable[[str, float, float, float], float]:
    def number(name: str, default: float, low: float, high: float) -> float:
        text = environment.get(name) or str(default)
        try:
            value = float(text)
        except ValueError:
            value = math.nan  # is in no range
        if not (low <= value <= high):
            raise ValueError(f"{name}: {text!r}, expected a number from {low:g} to {high:,.15g}")
        return value

    return number


def _choice(environment: Environment, name: str, choices: Mapping[str, Choice]) -> Choice:
    """Return the value of the variable's choice; the first choice is the default."""
    text = environment.get(name) or next(iter(choices))
    if text not in choices:
        raise ValueError(f"{name}: {text!r}, expected {' or '.join(choices)}")
    return choices[text]
