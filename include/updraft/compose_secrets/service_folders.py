"""The folder of each service in the Docker stack: its files, and the uid of its user."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from updraft.compose_secrets.alertmanager import alertmanager_yml, receivers, targets
from updraft.compose_secrets.s3_logins import s3_login, seaweedfs_config
from updraft.compose_secrets.variables import FEATURES_LOGIN, PROMETHEUS, S3_USERS, TRACKER, tracker
from updraft.defaults import DATABASE

AIRFLOW, SERVICE = 50000, 10001
DATABASE_URL = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"


@dataclass(frozen=True)
class Folder:
    """A service's files, and the uid of its user.

    `deploy/entrypoint.sh` exports the file `env` as environment variables.
    """

    owner: int
    files: Mapping[str, str]


def folders(secrets: Mapping[str, str], environ: Mapping[str, str], keys: Mapping[str, str]) -> dict[str, Folder]:
    """Return the folder of each service by name; `keys` are the files of the signing and the verifying key."""
    airflow = _airflow(secrets, environ)
    s3 = {user: s3_login(secrets, environ, user) for user in S3_USERS}
    verifying = {"verify.pem": keys["verify.pem"]}
    signing = airflow | ({TRACKER: tracker(environ)} if tracker(environ) else {})
    users = {f"AIRFLOW_{user}_PASSWORD": secrets[f"airflow_{user.lower()}_password"] for user in ("ADMIN", "SERVICE")}
    return {
        "postgres": Folder(999, {"password": secrets["postgres_password"]}),
        "mongodb": Folder(999, {"password": secrets["mongodb_root_password"]}),
        "mongodb-init": Folder(999, {"user.js": _mongodb_user(secrets["mongodb_password"])}),
        "redis": Folder(999, _redis(secrets["redis_password"])),
        "s3": Folder(1000, {"s3.json": seaweedfs_config(secrets, environ)}),
        "grafana": Folder(472, {"password": secrets["grafana_admin_password"]}),
        "prometheus": Folder(65534, {"key": secrets["metrics_key"], "alertmanagers.json": targets(environ)}),
        "alertmanager": Folder(65534, {"alertmanager.yml": alertmanager_yml(environ)} if receivers(environ) else {}),
        "airflow": Folder(AIRFLOW, verifying | {"env": _env(airflow)}),  # without S3: the DAG processor
        "triggerer": Folder(AIRFLOW, verifying | {"env": _env(airflow | s3["s3_triggerer"])}),
        # These move pointers, and nothing else signs.
        "tasks": Folder(AIRFLOW, {**keys, "env": _env(signing | s3["s3"])}),
        "apiserver": Folder(AIRFLOW, {**keys, "env": _env(signing | s3["s3_api"])}),
        "cli": Folder(AIRFLOW, {**keys, "env": _env(signing | s3["s3_cli"])}),
        "init": Folder(AIRFLOW, {"env": _env(airflow | users | s3["s3_init"])}),
        "exporter": Folder(AIRFLOW, {"env": _env({DATABASE_URL: airflow[DATABASE_URL]})}),
        "serving": _serving(secrets, environ, keys, s3["s3_reader"]),
        "shipper": Folder(SERVICE, {"env": _env(s3["s3_shipper"])}),
    }


def _airflow(secrets: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    database = f"postgresql+psycopg://airflow:{quote(secrets['postgres_password'], safe='')}@postgres:5432/airflow"
    mongodb = f"mongodb://updraft:{quote(secrets['mongodb_password'], safe='')}@mongodb:27017/{DATABASE}"
    return {
        DATABASE_URL: database,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": database,
        "AIRFLOW__CORE__FERNET_KEY": secrets["airflow_fernet_key"],
        "AIRFLOW__API__SECRET_KEY": secrets["airflow_secret_key"],
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets["airflow_jwt_secret"],
        "AIRFLOW__CELERY__BROKER_URL": f"redis://:{quote(secrets['redis_password'], safe='')}@redis:6379/0",
        "MONGODB_URL": environ.get("MONGODB_URL") or mongodb,
    }


def _mongodb_user(password: str) -> str:
    """Return the script that MongoDB runs at its first start: it creates a user for the rows' database only."""
    user = {"user": "updraft", "pwd": password, "roles": ["readWrite"]}
    return f"db.getSiblingDB({json.dumps(DATABASE)}).createUser({json.dumps(user)})\n"


def _redis(password: str) -> dict[str, str]:
    quoted = password.replace("\\", r"\\").replace('"', r"\"")
    return {"redis.conf": f'requirepass "{quoted}"\n', "password": password}


def _serving(
    secrets: Mapping[str, str], environ: Mapping[str, str], keys: Mapping[str, str], s3: Mapping[str, str]
) -> Folder:
    """Return the serving folder: an S3 login, the verifying key, and the credentials to start training."""
    files = {"verify.pem": keys["verify.pem"]}
    env = {
        "AIRFLOW_PASSWORD": secrets["airflow_service_password"],
        "SERVING_TRAIN_TOKEN": secrets["train_token"],
        **s3,
    }
    if environ.get(FEATURES_LOGIN):
        env[FEATURES_LOGIN] = environ[FEATURES_LOGIN]
    if environ.get("SERVING_API_KEYS"):
        files["api_keys"] = f"{environ['SERVING_API_KEYS']}\n{PROMETHEUS}:{secrets['metrics_key']}\n"
        env["SERVING_API_KEYS_FILE"] = "/run/updraft/api_keys"
    return Folder(SERVICE, {**files, "env": _env(env)})


def _env(values: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())
