"""Turn Airflow connections, or the plain environment where there are none, into what the stages take.

`mongo_default` and `aws_default` are Airflow's own names: define them in the UI, in AIRFLOW_CONN_… or in a secrets
backend. Without them MONGODB_URL and boto3's own environment (keys, AWS_ENDPOINT_URL_S3, an instance role) are used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from airflow.exceptions import AirflowConfigException
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.mongo.hooks.mongo import MongoHook
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from updraft.defaults import DATABASE
from updraft.errors import UserError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from pymongo.collection import Collection

    from updraft.registry.registry import Registry

SERVER_SELECTION_MS = 10_000


class BadConnection(UserError):
    """MONGODB_URL, or the connection in its place, cannot be used."""


class SourceHook(MongoHook):
    """MongoHook that reads MONGODB_URL, as people have it from Atlas, when Airflow has no connection of that name."""

    @classmethod
    def get_connection(cls, conn_id: str) -> Any:
        """Look the connection up; fall back to MONGODB_URL, whose password Airflow then masks in logs."""
        if _defined(conn_id):
            return super().get_connection(conn_id)
        url = os.environ.get("MONGODB_URL")
        if not url:
            raise BadConnection(f"no Airflow connection {conn_id!r} and no MONGODB_URL; set one of them")
        made = mongo_connection(conn_id, url)
        mask_secret(made.password)
        return made


def mongo_connection(conn_id: str, url: str) -> Connection:
    """Make the Airflow connection that a MongoDB URL means, SRV or not, with one host or many, and all its options."""
    from pymongo.errors import PyMongoError
    from pymongo.uri_parser_shared import split_options

    scheme, found, rest = url.partition("://")
    if not found or scheme not in ("mongodb", "mongodb+srv"):
        raise BadConnection("MONGODB_URL: expected mongodb://… or mongodb+srv://…")  # the value may hold a password
    authority, _, tail = rest.partition("/")
    database, _, query = tail.partition("?")
    if "@" in database:
        raise BadConnection("MONGODB_URL: write / in a user or password as %2F")
    login, at, hosts = authority.rpartition("@")
    user, colon, password = login.partition(":")
    try:
        split_options(query) if query else {}  # checks; the checked values are in the driver's own units
        options = dict(split_options(query, validate=False, normalize=False)) if query else {}
    except (PyMongoError, ValueError) as error:
        raise BadConnection(f"MONGODB_URL: options after '?': {error}") from None
    if not hosts:
        raise BadConnection(f"MONGODB_URL: expected {scheme}://user:password@host/database, found no host")
    mask_secret(password)
    return Connection(
        conn_id=conn_id,
        conn_type="mongo",
        host=hosts,
        login=unquote_plus(user) if at else None,
        password=unquote_plus(password) if colon else None,
        schema=unquote_plus(database) or DATABASE,
        extra=json.dumps(options | ({"srv": True} if scheme == "mongodb+srv" else {})),
    )


@contextmanager
def collection(name: str, conn_id: str = "mongo_default") -> Iterator[Collection[Any]]:
    """Open a collection of the connection's database, for a while."""
    from pymongo.errors import ConfigurationError

    try:
        hook = SourceHook(conn_id)
        if "serverselectiontimeoutms" not in {option.lower() for option in hook.extras}:
            hook.extras["serverSelectionTimeoutMS"] = SERVER_SELECTION_MS
        opened = hook.get_collection(name)
    except AirflowConfigException as error:
        raise BadConnection(f"connection {conn_id!r}: {error}") from None
    except ConfigurationError as error:  # mongodb+srv looks the servers up by DNS at once, and that may pass
        raise ConnectionError(f"MongoDB at {hook.connection.host}: {error}") from None
    with hook:
        yield opened


def registry(conn_id: str = "aws_default") -> Registry:
    """Open the registry that UPDRAFT_REGISTRY names through S3Hook's client."""
    from updraft.registry.registry import open_registry

    return open_registry(os.environ, s3_client(conn_id))


def s3_client(conn_id: str = "aws_default") -> S3Client:
    """Make S3Hook's client."""
    from updraft.registry.s3 import client_config

    client: S3Client = S3Hook(conn_id if _defined(conn_id) else None, config=client_config(os.environ)).get_conn()
    return client


def _defined(conn_id: str) -> bool:
    try:
        BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return False
    return True
