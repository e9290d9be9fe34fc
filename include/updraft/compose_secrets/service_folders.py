"""The folder of each service in the Docker stack: its files, and the uid of its user."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from updraft.compose_secrets.alertmanager import alertmanager_yml, receivers, targets
from updraft.compose_secrets.variables import PROMETHEUS, URIS, bucket, own_s3
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
    users = {f"AIRFLOW_{user}_PASSWORD": secrets[f"airflow_{user.lower()}_password"] for user in ("ADMIN", "SERVICE")}
    return {
        "postgres": Folder(999, {"password": secrets["postgres_password"]}),
        "mongodb": Folder(999, {"password": secrets["mongodb_root_password"]}),
        "mongodb-init": Folder(999, {"user.js": _mongodb_user(secrets["mongodb_password"])}),
        "redis": Folder(999, _redis(secrets["redis_password"])),
        "s3": Folder(1000, {"s3.json": _s3(secrets, environ)}),
        "grafana": Folder(472, {"password": secrets["grafana_admin_password"]}),
        "prometheus": Folder(65534, {"key": secrets["metrics_key"], "alertmanagers.json": targets(environ)}),
        "alertmanager": Folder(65534, {"alertmanager.yml": alertmanager_yml(environ)} if receivers(environ) else {}),
        "airflow": Folder(AIRFLOW, {"verify.pem": keys["verify.pem"], "env": _env(airflow)}),
        "signer": Folder(AIRFLOW, {**keys, "env": _env(airflow)}),  # what moves pointers, and nothing else, signs
        "init": Folder(AIRFLOW, {"env": _env(airflow | users)}),
        "exporter": Folder(AIRFLOW, {"env": _env({DATABASE_URL: airflow[DATABASE_URL]})}),
        "serving": _serving(secrets, environ, keys),
        "shipper": Folder(SERVICE, {"env": _env(_s3_login(secrets, environ, "s3_shipper"))}),
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
        **_s3_login(secrets, environ, "s3"),
    }


def _mongodb_user(password: str) -> str:
    """Return the script that MongoDB runs at its first start: it creates a user for the rows' database only."""
    user = {"user": "updraft", "pwd": password, "roles": ["readWrite"]}
    return f"db.getSiblingDB({json.dumps(DATABASE)}).createUser({json.dumps(user)})\n"


def _redis(password: str) -> dict[str, str]:
    quoted = password.replace("\\", r"\\").replace('"', r"\"")
    return {"redis.conf": f'requirepass "{quoted}"\n', "password": password}


def _serving(secrets: Mapping[str, str], environ: Mapping[str, str], keys: Mapping[str, str]) -> Folder:
    """Return the serving folder: an S3 login, the verifying key, and the credentials to start training."""
    files = {"verify.pem": keys["verify.pem"]}
    env = {
        "AIRFLOW_PASSWORD": secrets["airflow_service_password"],
        "SERVING_TRAIN_TOKEN": secrets["train_token"],
        **_s3_login(secrets, environ, "s3_reader"),
    }
    if environ.get("SERVING_API_KEYS"):
        files["api_keys"] = f"{environ['SERVING_API_KEYS']}\n{PROMETHEUS}:{secrets['metrics_key']}\n"
        env["SERVING_API_KEYS_FILE"] = "/run/updraft/api_keys"
    return Folder(SERVICE, {**files, "env": _env(env)})


def _s3_login(secrets: Mapping[str, str], environ: Mapping[str, str], user: str) -> dict[str, str]:
    """Return a login to our own server; for another one that of `environ`, or none where a role grants access."""
    if own_s3(environ):
        key, secret = secrets[f"{user}_access_key"], secrets[f"{user}_secret_key"]
    else:
        key, secret = environ.get("S3_ACCESS_KEY") or "", environ.get("S3_SECRET_KEY") or ""
    return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret} if key else {}


def _s3(secrets: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """Return SeaweedFS's configuration.

    Airflow may use its buckets, the service may read the models, the shipper may write predictions. To SeaweedFS a
    right to create objects is one to replace and delete them, too.
    """
    buckets = {uri: bucket(uri, environ) for uri in URIS}
    verbs = ("Admin", "Read", "Write", "List", "Tagging")
    actions = {
        "s3": sorted({f"{verb}:{name}" for name in buckets.values() for verb in verbs}),
        "s3_reader": [f"{verb}:{buckets['UPDRAFT_REGISTRY']}" for verb in ("Read", "List")],
        "s3_shipper": [f"{verb}:{buckets['SERVING_PREDICTIONS']}" for verb in ("Read", "Write", "List")],
    }
    logins = {
        user: [{"accessKey": secrets[f"{user}_access_key"], "secretKey": secrets[f"{user}_secret_key"]}]
        for user in actions
    }
    identities = [{"name": user, "credentials": logins[user], "actions": actions[user]} for user in actions]
    return json.dumps({"identities": identities}, indent=2)


def _env(values: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())
