"""Hold the variables of the Docker stack against what they are for, before anything is made."""

from __future__ import annotations

from collections.abc import Mapping

from updraft.api_keys import parse_keys
from updraft.errors import UserError
from updraft.registry.s3 import ENDPOINT, EXPECTED_ENDPOINT, BadRegistry, split_uri

OWN_S3 = "http://s3:8333"
S3_LOGIN = ("S3_ACCESS_KEY", "S3_SECRET_KEY")
URIS = {
    "UPDRAFT_REGISTRY": "s3://updraft-models",
    "UPDRAFT_LOGS": "s3://updraft-logs",
    "UPDRAFT_ARTIFACTS": "s3://updraft-artifacts",
}
COUNTS = ("AIRFLOW_PARALLELISM", "AIRFLOW_WORKER_TASKS", "SERVING_WORKERS")
PROMETHEUS = "prometheus"


class BadVariable(UserError):
    """A variable that cannot be used, or not any more; the message never tells a secret."""


def check(given: Mapping[str, str]) -> None:
    """Raise BadVariable for the first variable that is wrong."""
    for name in COUNTS:
        if (text := given.get(name) or "1") and not (text.isdecimal() and int(text)):
            raise BadVariable(f"{name}: {text!r}, expected a whole number, 1 or more")
    for name in URIS:
        bucket(name, given)
    if given.get("S3_ENDPOINT") and not ENDPOINT.fullmatch(given["S3_ENDPOINT"]):
        raise BadVariable(f"S3_ENDPOINT: {EXPECTED_ENDPOINT}")
    if len([name for name in S3_LOGIN if given.get(name)]) == 1:
        raise BadVariable(f"{' and '.join(S3_LOGIN)}: expected both, or neither")
    for name in ("MONGODB_URL", *S3_LOGIN):
        if len(given.get(name, "").splitlines()) > 1:
            raise BadVariable(f"{name}: expected one line")
    if given.get("SERVING_API_KEYS"):
        _check_keys(given["SERVING_API_KEYS"])


def own_s3(given: Mapping[str, str]) -> bool:
    """Tell whether the S3 server is the stack's own."""
    return given.get("S3_ENDPOINT", OWN_S3) == OWN_S3


def bucket(uri: str, given: Mapping[str, str]) -> str:
    """Give the bucket that UPDRAFT_REGISTRY, or another of URIS, names."""
    try:
        return split_uri(given.get(uri) or URIS[uri])[0]
    except BadRegistry as error:
        raise BadVariable(f"{uri}: {error}") from None


def _check_keys(text: str) -> None:
    try:
        names = parse_keys(text)
    except ValueError as error:
        raise BadVariable(f"SERVING_API_KEYS: {error}") from None
    if PROMETHEUS in names:
        raise BadVariable(f"SERVING_API_KEYS: the name {PROMETHEUS!r} is the stack's own, expected another")
