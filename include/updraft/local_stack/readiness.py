"""Check whether each server of the stack answers; create what a new one lacks: a user, a database, a bucket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from updraft.defaults import DATABASE
from updraft.local_stack.credentials import credentials
from updraft.local_stack.environment import BUCKET, StackError, postgres_url
from updraft.local_stack.servers import HOST

Ready = Callable[[dict[str, Any]], bool]  # takes supervisord's process info


def checks(settings: Mapping[str, str]) -> dict[str, Ready]:
    """Return the readiness check of each program by name. A server that does not answer yet is False, no exception."""
    airflow = partial(_airflow, settings["AIRFLOW_URL"])
    return {
        "mongod": partial(_mongod, settings["MONGODB_URL"]),
        "s3": partial(_s3, settings),
        "postgres": partial(_postgres, settings),
        "kafka": partial(_kafka, settings),
        "mlflow-install": _ended,
        "mlflow": partial(_mlflow, settings),
        "migrate": _ended,
        "api-server": partial(airflow, "metadatabase"),
        "scheduler": partial(airflow, "scheduler"),
        "dag-processor": partial(airflow, "dag_processor"),
        "triggerer": partial(airflow, "triggerer"),
        "serving": partial(_serving, settings["SERVING_URL"]),
        "shipper": _runs,
    }


def _ended(process: dict[str, Any]) -> bool:
    return bool(process["statename"] == "EXITED" and process["exitstatus"] == 0)


def _runs(process: dict[str, Any]) -> bool:
    return bool(process["statename"] == "RUNNING")


def _mongod(url: str, process: dict[str, Any]) -> bool:
    from pymongo import MongoClient
    from pymongo.errors import ConnectionFailure, OperationFailure

    client: MongoClient[dict[str, Any]] = MongoClient(url, serverSelectionTimeoutMS=500)
    with client:
        try:
            client.admin.command("listDatabases", nameOnly=True)
            return True
        except ConnectionFailure:
            return False
        except OperationFailure as error:
            if error.code != 18:  # AuthenticationFailed
                return False
    return _first_user(url)


def _first_user(url: str) -> bool:
    """Create the user that `url` names through MongoDB's localhost exception, which holds while there is no user."""
    from pymongo import MongoClient
    from pymongo.errors import ConnectionFailure, OperationFailure
    from pymongo.uri_parser import parse_uri

    login = parse_uri(url)
    host, port = login["nodelist"][0]
    client: MongoClient[dict[str, Any]] = MongoClient(host, port, serverSelectionTimeoutMS=500)
    with client:
        try:
            client.admin.command("createUser", login["username"], pwd=login["password"], roles=["root"])
        except ConnectionFailure:
            return False
        except OperationFailure:
            raise StackError(
                "mongod: its data has another password than secrets/mongodb_password; restore it, or `make clean`"
            ) from None
    return True


def _s3(settings: Mapping[str, str], process: dict[str, Any]) -> bool:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    quick = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1}, proxies={})
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=settings["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
        region_name=settings["AWS_DEFAULT_REGION"],
        config=quick,
    )
    try:
        names = [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]
        if BUCKET not in names:
            client.create_bucket(Bucket=BUCKET)
        return True
    except (BotoCoreError, ClientError):
        return False


def _postgres(settings: Mapping[str, str], process: dict[str, Any]) -> bool:
    import psycopg

    password = credentials(Path(settings["UPDRAFT_HOME"]) / "secrets")["postgres_password"]
    url = postgres_url(password, int(settings["POSTGRES_PORT"]), database="postgres")
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            if not connection.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone():
                connection.execute(f"create database {DATABASE}")
        return True
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error):
            raise StackError(
                "postgres: its data has another password than secrets/postgres_password; restore it, or `make clean`"
            ) from None
        return False


def _kafka(settings: Mapping[str, str], process: dict[str, Any]) -> bool:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    client = AdminClient({"bootstrap.servers": f"{HOST}:{settings['KAFKA_PORT']}", "log_level": 0})
    try:
        return bool(client.list_topics(timeout=2).brokers)
    except KafkaException:
        return False


def _mlflow(settings: Mapping[str, str], process: dict[str, Any]) -> bool:
    return _get(f"http://{HOST}:{settings['MLFLOW_PORT']}/health") is not None


def _airflow(url: str, part: str, process: dict[str, Any]) -> bool:
    """Read Airflow's health endpoint; a heartbeat from before this process started is its predecessor's."""
    health = _json(f"{url}/api/v2/monitor/health").get(part) or {}
    beat = health.get(f"latest_{part}_heartbeat")
    fresh = part == "metadatabase" or (
        beat is not None and datetime.fromisoformat(beat).timestamp() >= process["start"]
    )
    return health.get("status") == "healthy" and fresh


def _serving(url: str, process: dict[str, Any]) -> bool:
    return bool(_get(f"{url}/healthz"))


def _json(url: str) -> dict[str, Any]:
    import requests

    response = _get(url)
    try:
        return dict(response.json()) if response is not None else {}
    except requests.JSONDecodeError:
        return {}


def _get(url: str) -> Any:
    """Return a successful response, else None. No proxy is used."""
    import requests

    with requests.Session() as session:
        session.trust_env = False
        try:
            response = session.get(url, timeout=5)
        except requests.RequestException:
            return None
    return response if response.ok else None
