"""Say what each service of the Docker stack gets: the files of its folder, and the number of its user."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from updraft.compose_secrets.variables import PROMETHEUS, URIS, bucket, own_s3
from updraft.defaults import DATABASE

AIRFLOW = 50000
DATABASE_URL = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"


@dataclass(frozen=True)
class Folder:
    """What one service gets: the number of its user, and its files.

    `env` is what `deploy/entrypoint.sh` turns into environment variables.
    """

    owner: int
    files: Mapping[str, str]


def folders(values: Mapping[str, str], given: Mapping[str, str], keys: Mapping[str, str]) -> dict[str, Folder]:
    """Give every service's folder by its name; `keys` are the files that sign and verify models."""
    airflow = _airflow(values, given)
    users = {f"AIRFLOW_{user}_PASSWORD": values[f"airflow_{user.lower()}_password"] for user in ("ADMIN", "SERVICE")}
    return {
        "postgres": Folder(999, {"password": values["postgres_password"]}),
        "mongodb": Folder(999, {"password": values["mongodb_root_password"]}),
        "mongodb-init": Folder(999, {"user.js": _mongodb_user(values["mongodb_password"])}),
        "redis": Folder(999, _redis(values["redis_password"])),
        "s3": Folder(1000, {"s3.json": _s3(values, given)}),
        "grafana": Folder(472, {"password": values["grafana_admin_password"]}),
        "prometheus": Folder(65534, {"key": values["metrics_key"]}),
        "airflow": Folder(AIRFLOW, {**keys, "env": _env(airflow)}),
        "init": Folder(AIRFLOW, {"env": _env(airflow | users)}),
        "exporter": Folder(AIRFLOW, {"env": _env({DATABASE_URL: airflow[DATABASE_URL]})}),
        "serving": _serving(values, given, keys),
    }


def _airflow(values: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    database = f"postgresql+psycopg://airflow:{quote(values['postgres_password'], safe='')}@postgres:5432/airflow"
    mongodb = f"mongodb://updraft:{quote(values['mongodb_password'], safe='')}@mongodb:27017/{DATABASE}"
    return {
        DATABASE_URL: database,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": database,
        "AIRFLOW__CORE__FERNET_KEY": values["airflow_fernet_key"],
        "AIRFLOW__API__SECRET_KEY": values["airflow_secret_key"],
        "AIRFLOW__API_AUTH__JWT_SECRET": values["airflow_jwt_secret"],
        "AIRFLOW__CELERY__BROKER_URL": f"redis://:{quote(values['redis_password'], safe='')}@redis:6379/0",
        "MONGODB_URL": given.get("MONGODB_URL") or mongodb,
        **_s3_login(values, given, "s3"),
    }


def _mongodb_user(password: str) -> str:
    """Write what MongoDB runs at its first start: a user for the rows, and for nothing else."""
    user = {"user": "updraft", "pwd": password, "roles": ["readWrite"]}
    return f"db.getSiblingDB({json.dumps(DATABASE)}).createUser({json.dumps(user)})\n"


def _redis(password: str) -> dict[str, str]:
    quoted = password.replace("\\", r"\\").replace('"', r"\"")
    return {"redis.conf": f'requirepass "{quoted}"\n', "password": password}


def _serving(values: Mapping[str, str], given: Mapping[str, str], keys: Mapping[str, str]) -> Folder:
    """Give the service an S3 login, the key that verifies models, and what training through it asks for."""
    files = {"verify.pem": keys["verify.pem"]}
    env = {
        "AIRFLOW_PASSWORD": values["airflow_service_password"],
        "SERVING_TRAIN_TOKEN": values["train_token"],
        **_s3_login(values, given, "s3_reader"),
    }
    if given.get("SERVING_API_KEYS"):
        files["api_keys"] = f"{given['SERVING_API_KEYS']}\n{PROMETHEUS}:{values['metrics_key']}\n"
        env["SERVING_API_KEYS_FILE"] = "/run/updraft/api_keys"
    return Folder(10001, {**files, "env": _env(env)})


def _s3_login(values: Mapping[str, str], given: Mapping[str, str], whose: str) -> dict[str, str]:
    """Give a login of our own server; for another one what `given` has, or nothing where a role does."""
    if own_s3(given):
        key, secret = values[f"{whose}_access_key"], values[f"{whose}_secret_key"]
    else:
        key, secret = given.get("S3_ACCESS_KEY") or "", given.get("S3_SECRET_KEY") or ""
    return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret} if key else {}


def _s3(values: Mapping[str, str], given: Mapping[str, str]) -> str:
    """Write SeaweedFS's logins: Airflow's, for its buckets, and the service's, which reads the models."""
    models, *others = [bucket(uri, given) for uri in URIS]
    verbs = ("Admin", "Read", "Write", "List", "Tagging")
    actions = {
        "s3": sorted({f"{verb}:{each}" for each in (models, *others) for verb in verbs}),
        "s3_reader": [f"{verb}:{models}" for verb in ("Read", "List")],
    }
    logins = {
        whose: [{"accessKey": values[f"{whose}_access_key"], "secretKey": values[f"{whose}_secret_key"]}]
        for whose in actions
    }
    identities = [{"name": whose, "credentials": logins[whose], "actions": actions[whose]} for whose in actions]
    return json.dumps({"identities": identities}, indent=2)


def _env(values: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())
