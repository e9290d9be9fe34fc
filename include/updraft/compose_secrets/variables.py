"""Validate the environment variables of the Docker stack before anything is created."""

from __future__ import annotations

from collections.abc import Mapping

from updraft.api_keys import parse_keys
from updraft.errors import UserError
from updraft.registry.s3 import ENDPOINT, EXPECTED_ENDPOINT, BadRegistry, split_uri
from updraft.trackers.mlflow_server import VARIABLE
from updraft.trackers.mlflow_server import split_uri as split_uri_of_tracker

OWN_S3 = "http://s3:8333"
OWN_TRACKER, TRACKER_PROFILE = "http://mlflow:5000", "mlflow"
# Who has a login of its own: what runs tasks, the init container, the API server, …: see s3_logins.py.
S3_USERS = ("s3", "s3_init", "s3_api", "s3_triggerer", "s3_cli", "s3_reader", "s3_shipper")
URIS = {
    "UPDRAFT_REGISTRY": "s3://updraft-models",
    "UPDRAFT_LOGS": "s3://updraft-logs",
    "UPDRAFT_ARTIFACTS": "s3://updraft-artifacts",
    "UPDRAFT_DATASETS": "s3://updraft-datasets",
    "SERVING_PREDICTIONS": "s3://updraft-predictions",
}
MIRROR = "UPDRAFT_MIRROR"
TRACKER = VARIABLE
FEATURES_LOGIN = "SERVING_FEATURES_TOKEN"
COUNTS = ("AIRFLOW_PARALLELISM", "AIRFLOW_WORKER_TASKS", "SERVING_WORKERS")
PROMETHEUS = "prometheus"


class BadVariable(UserError):
    """A variable is invalid, or can no longer be changed; the message never contains a secret."""


def check(environ: Mapping[str, str]) -> None:
    """Raise BadVariable for the first invalid variable."""
    for name in COUNTS:
        if (text := environ.get(name) or "1") and not (text.isdecimal() and int(text)):
            raise BadVariable(f"{name}: {text!r}, expected a whole number, 1 or more")
    for name in URIS:
        bucket(name, environ)
    if environ.get(MIRROR):
        _check_mirror(environ)
    if environ.get(TRACKER):
        _check_tracker(environ[TRACKER])
    if environ.get("S3_ENDPOINT") and not ENDPOINT.fullmatch(environ["S3_ENDPOINT"]):
        raise BadVariable(f"S3_ENDPOINT: {EXPECTED_ENDPOINT}")
    for pair in map(s3_variables, S3_USERS):
        if len([name for name in pair if environ.get(name)]) == 1:
            raise BadVariable(f"{' and '.join(pair)}: expected both, or neither")
    for name in ("MONGODB_URL", TRACKER, FEATURES_LOGIN, *S3_VARIABLES):
        if len(environ.get(name, "").splitlines()) > 1:
            raise BadVariable(f"{name}: expected one line")
    if environ.get("SERVING_API_KEYS"):
        _check_keys(environ["SERVING_API_KEYS"])


def s3_variables(user: str) -> tuple[str, str]:
    """Return the variables of the two halves of an S3 login."""
    return f"{user}_access_key".upper(), f"{user}_secret_key".upper()


S3_VARIABLES = [name for user in S3_USERS for name in s3_variables(user)]


def own_s3(environ: Mapping[str, str]) -> bool:
    """Whether the S3 server is the stack's own."""
    return environ.get("S3_ENDPOINT", OWN_S3) == OWN_S3


def tracker(environ: Mapping[str, str]) -> str:
    """Return where the tracker records: the server that is named, else the one of the profile, else nowhere."""
    profiles = {each.strip() for each in environ.get("COMPOSE_PROFILES", "").split(",")}
    return environ.get(TRACKER) or (OWN_TRACKER if {TRACKER_PROFILE, "*"} & profiles else "")


def bucket(uri: str, environ: Mapping[str, str]) -> str:
    """Return the bucket of the URI in UPDRAFT_REGISTRY, or in another of URIS."""
    try:
        return split_uri(environ.get(uri) or URIS[uri])[0]
    except BadRegistry as error:
        raise BadVariable(f"{uri}: {error}") from None


def _check_mirror(environ: Mapping[str, str]) -> None:
    try:
        split_uri(environ[MIRROR])
    except BadRegistry as error:
        raise BadVariable(f"{MIRROR}: {error}") from None
    if own_s3(environ):
        raise BadVariable(f"{MIRROR}: {environ[MIRROR]!r}, but S3 is the stack's own; name another one by S3_ENDPOINT")


def _check_tracker(uri: str) -> None:
    try:
        split_uri_of_tracker(uri)
    except UserError as error:
        raise BadVariable(str(error)) from None


def _check_keys(text: str) -> None:
    try:
        names = parse_keys(text)
    except ValueError as error:
        raise BadVariable(f"SERVING_API_KEYS: {error}") from None
    if PROMETHEUS in names:
        raise BadVariable(f"SERVING_API_KEYS: the name {PROMETHEUS!r} is reserved for the stack, expected another")
