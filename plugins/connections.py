"""Turn Airflow connections, or the plain environment where there are none, into what the stages take.

`mongo_default` and `aws_default` are Airflow's own names: define them in the UI, in AIRFLOW_CONN_… or in a secrets
backend. Without them MONGODB_URL and boto3's own environment (keys, AWS_ENDPOINT_URL_S3, an instance role) are used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_plus

from airflow.exceptions import AirflowConfigException
from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.mongo.hooks.mongo import MongoHook
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from updraft.addresses import AWS_VARIABLES, Address, from_environment
from updraft.errors import UserError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from updraft.datasets.store import Datasets
    from updraft.registry.registry import Registry
    from updraft.registry.s3 import Bucket


class BadConnection(UserError):
    """A connection cannot be used, or there is neither one nor the environment variable in its place."""


def source_address(connection: str, variable: str) -> Address:
    """Look up a source's `connection:` in Airflow, else in the environment; passwords are masked in task logs."""
    if _defined(connection):
        kind = BaseHook.get_connection(connection).conn_type
        if kind not in ADDRESSES:
            raise BadConnection(
                f"connection {connection!r}: conn_type {kind!r} not allowed; expected {', '.join(ADDRESSES)}"
            )
        try:
            return ADDRESSES[kind](connection)
        except AirflowConfigException as error:
            raise BadConnection(f"connection {connection!r}: {error}") from None
    url = os.environ.get(variable, "")
    if variable in AWS_VARIABLES:  # none of AWS's variables is needed where a role gives the login
        return from_environment(os.environ)(connection, variable)
    if not url:
        raise BadConnection(f"no Airflow connection {connection!r} and no {variable}; set one of them")
    _mask_password(url)
    return Address(variable, url)


def _mongo(connection: str) -> Address:
    hook = MongoHook(connection)
    options = hook.extras | ({"tlsAllowInvalidCertificates": True} if hook.allow_insecure else {})
    return Address(f"connection {connection!r}", hook.uri, options)


def _aws(connection: str) -> Address:
    def service(name: str) -> Any:
        return AwsBaseHook(connection, client_type=name).get_conn()

    return Address(f"connection {connection!r}", "", {"client": s3_client(connection), "service": service})


def _http(connection: str) -> Address:
    found = BaseHook.get_connection(connection)
    scheme, _, host = (found.host or "").rpartition("://")
    login = f"{quote(found.login or '', safe='')}:{quote(found.password or '', safe='')}@"
    port = f":{found.port}" if found.port else ""
    host, slash, path = host.partition("/")
    return Address(
        f"connection {connection!r}", f"{scheme or found.schema or 'http'}://{login}{host}{port}{slash}{path}"
    )


def _postgres(connection: str) -> Address:
    return _sql(connection, "postgresql", ("sslmode", "sslrootcert", "sslcert", "sslkey"))


def _mysql(connection: str) -> Address:
    return _sql(connection, "mysql", ("charset", "ssl", "unix_socket"))


def _sql(connection: str, scheme: str, known: Collection[str]) -> Address:
    """Make a URL and the options of the driver; what else Airflow's own hooks know is of no use to us."""
    found = BaseHook.get_connection(connection)
    login = f"{quote(found.login or '', safe='')}:{quote(found.password or '', safe='')}@"
    host = f"{found.host or ''}{f':{found.port}' if found.port else ''}"
    options = {name: value for name, value in found.extra_dejson.items() if name in known}
    return Address(f"connection {connection!r}", f"{scheme}://{login}{host}/{quote(found.schema or '')}", options)


def _kafka(connection: str) -> Address:
    """Its extra holds librdkafka's settings, as Airflow's own hook has it."""
    extra = BaseHook.get_connection(connection).extra_dejson
    for name in ("sasl.password", "ssl.key.password", "sasl.oauthbearer.client.secret"):
        if extra.get(name):
            mask_secret(extra[name])
    return Address(f"connection {connection!r}", "", extra or {"bootstrap.servers": ""})


def _dask(connection: str) -> Address:
    """Of type `tcp` or `tls`, as a URL in AIRFLOW_CONN_… has it; or `generic`, whose host may begin with either."""
    found = BaseHook.get_connection(connection)
    scheme, _, host = (found.host or "").rpartition("://")
    scheme = scheme or (found.conn_type if found.conn_type in ("tcp", "tls") else "tcp")
    if found.login or found.password:
        raise BadConnection(f"connection {connection!r}: Dask's scheduler takes no login; tls:// and certificates do")
    return Address(f"connection {connection!r}", f"{scheme}://{host}{f':{found.port}' if found.port else ''}")


# Airflow's type of a connection → its address.
ADDRESSES: dict[str, Callable[[str], Address]] = {
    "mongo": _mongo,
    "aws": _aws,
    "http": _http,
    "postgres": _postgres,
    "mysql": _mysql,
    "kafka": _kafka,
    "tcp": _dask,
    "tls": _dask,
    "generic": _dask,
}


def _mask_password(url: str) -> None:
    """Mask the password of a URL in task logs, as it stands in the URL and as it is."""
    login = url.partition("://")[2].partition("/")[0].rpartition("@")[0]
    password = login.partition(":")[2]
    for secret in {password, unquote_plus(password)} - {""}:
        mask_secret(secret)


def registry(conn_id: str = "aws_default") -> Registry:
    """Open the registry that UPDRAFT_REGISTRY names through S3Hook's client; a tracker, if there is one, follows it."""
    from updraft.registry.registry import open_registry
    from updraft.trackers.mlflow import follow_with_tracker, secrets

    for secret in secrets(os.environ):
        mask_secret(secret)
    return follow_with_tracker(open_registry(os.environ, s3_client(conn_id)), os.environ)


def datasets(conn_id: str = "aws_default") -> Datasets | None:
    """Open the store of datasets that UPDRAFT_DATASETS names through S3Hook's client; None without it."""
    from updraft.datasets.store import VARIABLE, open_datasets

    return open_datasets(os.environ, s3_client(conn_id)) if os.environ.get(VARIABLE) else None


def predictions(conn_id: str = "aws_default") -> Bucket:
    """Open the place of shipped predictions that SERVING_PREDICTIONS names through S3Hook's client."""
    from updraft.predictions.layout import VARIABLE, open_bucket

    bucket = open_bucket(os.environ, s3_client(conn_id))
    if bucket is None:
        raise BadConnection(f"{VARIABLE}: not set; it names the place to which services ship predictions")
    return bucket


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
