"""The S3 logins of the Docker stack: one for each purpose, and what it may do in which bucket."""

from __future__ import annotations

import json
from collections.abc import Mapping

from updraft.compose_secrets.variables import URIS, bucket, own_s3, s3_variables

# To SeaweedFS a right to create objects is one to replace and delete them, too; `Admin` creates buckets.
READ, WRITE, CREATE = ("Read", "List"), ("Read", "Write", "List"), ("Admin", "Read", "List")
REGISTRY, LOGS, ARTIFACTS, DATASETS, PREDICTIONS = URIS
RIGHTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "s3": dict.fromkeys((REGISTRY, LOGS, ARTIFACTS, DATASETS), WRITE) | {PREDICTIONS: READ},  # what runs tasks
    "s3_init": dict.fromkeys(URIS, CREATE),
    "s3_api": {REGISTRY: WRITE, LOGS: READ, ARTIFACTS: READ},
    "s3_triggerer": {LOGS: WRITE, PREDICTIONS: READ},
    "s3_cli": dict.fromkeys(URIS, WRITE),
    "s3_reader": {REGISTRY: READ},
    "s3_shipper": {PREDICTIONS: WRITE},
}


def s3_login(secrets: Mapping[str, str], environ: Mapping[str, str], user: str) -> dict[str, str]:
    """Return the variables of a login to our own server; for another one those of `environ`, or none where a role
    grants access.
    """
    if own_s3(environ):
        key, secret = (secrets[name.lower()] for name in s3_variables(user))
    else:
        pairs = (tuple(environ.get(name, "") for name in s3_variables(each)) for each in (user, "s3"))
        key, secret = next((pair for pair in pairs if pair[0]), ("", ""))
    return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret} if key else {}


def seaweedfs_config(secrets: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """Return SeaweedFS's configuration: each login, restricted to buckets. Two URIs in one bucket add up."""
    identities = []
    for user, rights in RIGHTS.items():
        key, secret = (secrets[name.lower()] for name in s3_variables(user))
        actions = {f"{verb}:{bucket(uri, environ)}": None for uri, verbs in rights.items() for verb in verbs}
        credentials = [{"accessKey": key, "secretKey": secret}]
        identities.append({"name": user, "credentials": credentials, "actions": [*actions]})
    return json.dumps({"identities": identities}, indent=2)
