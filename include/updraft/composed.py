"""Make the secrets of the Docker stack, once: what the one-shot service `secrets` runs.

`root` is a volume. `all/` keeps each secret in a file that root alone may read; beside it, each service has a folder
of its own, owned by its user, with no more in it than it needs. `env` in such a folder is what `deploy/entrypoint.sh`
turns into environment variables.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from updraft.embedded.credentials import ADMIN, MAKE, once, private_key, public_key, write_private
from updraft.errors import UserError
from updraft.usecase import DATABASE

OURS = MAKE | {
    "postgres_password": lambda: secrets.token_hex(24),
    "redis_password": lambda: secrets.token_hex(24),
    "grafana_admin_password": lambda: secrets.token_hex(8),
    "s3_reader_access_key": lambda: secrets.token_hex(10).upper(),
    "s3_reader_secret_key": lambda: secrets.token_hex(20),
    "metrics_key": lambda: secrets.token_hex(24),
}
FIXED = ("postgres_password", "mongodb_password", "airflow_fernet_key")  # the data was made with these
SHORTEST = 8
OWN_S3, BUCKETS = "http://s3:8333", ("updraft-models", "updraft-logs", "updraft-artifacts")


class BadSecret(UserError):
    """A variable that cannot be used as a secret, or not any more."""


@dataclass(frozen=True)
class Folder:
    """What one service gets: the number of its user, and its files; `env` last, since a start waits for it."""

    owner: int
    files: Mapping[str, str]


def make(root: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Make what is not there, take over what `given` names (POSTGRES_PASSWORD, …), and write every service's folder.

    Returns the secrets by name. Raises BadSecret, which never tells a value.
    """
    values = {name: _settled(root / "all" / name, given.get(name.upper()) or "") for name in OURS}
    signing = once(root / "all" / "signing.pem", private_key)
    keys = {"signing.pem": signing, "verify.pem": once(root / "all" / "verify.pem", lambda: public_key(signing))}
    for name, folder in _folders(values, given, keys).items():
        _write(root / name, folder)
    return values


def login(values: Mapping[str, str], given: Mapping[str, str]) -> str:
    """Say where the stack answers, and the passwords: the one place that shows any."""
    service = given.get("SERVING_URL", "")
    return "\n".join([
        f"Airflow   {given.get('AIRFLOW_URL', '')}   user {ADMIN}, password {values['airflow_admin_password']}",
        f"Service   {service}/models",
        f"Train     curl -X POST --oauth2-bearer {values['train_token']} {service}/train/vehicle_insurance",
        f"Grafana   user {ADMIN}, password {values['grafana_admin_password']} (deploy/grafana/publish.yaml)",
    ])


def main() -> None:
    """Make the secrets in the folder that is named first; with `login` after it, show where to log in."""
    root = Path(sys.argv[1])
    try:
        root.chmod(0o755)  # to pass through: the folders in it are closed
        (root / "all").mkdir(mode=0o700, exist_ok=True)
        values = make(root, os.environ)
    except UserError as error:
        sys.exit(f"secrets: {error}")
    sys.stdout.write(login(values, os.environ) + "\n" if sys.argv[2:] == ["login"] else "The secrets are there.\n")


def _settled(path: Path, given: str) -> str:
    name = path.name.upper()
    if given and (len(given) < SHORTEST or not given.isascii() or not given.isprintable() or given != given.strip()):
        raise BadSecret(f"{name}: expected {SHORTEST} or more printable ASCII characters in one line")
    if given and path.exists() and path.read_text(encoding="utf-8") != given:
        if path.name in FIXED:
            raise BadSecret(f"{name}: the data was made with another one; leave it out, or change it in the data first")
        write_private(path, given)
    return once(path, lambda: given or OURS[path.name]())


def _folders(values: dict[str, str], given: Mapping[str, str], keys: Mapping[str, str]) -> dict[str, Folder]:
    airflow = _airflow(values, given)
    users = {f"AIRFLOW_{user}_PASSWORD": values[f"airflow_{user.lower()}_password"] for user in ("ADMIN", "SERVICE")}
    return {
        "postgres": Folder(999, {"password": values["postgres_password"]}),
        "mongodb": Folder(999, {"password": values["mongodb_password"]}),
        "redis": Folder(999, _redis(values["redis_password"])),
        "s3": Folder(1000, {"s3.json": _s3(values)}),
        "grafana": Folder(472, {"password": values["grafana_admin_password"]}),
        "prometheus": Folder(65534, {"key": values["metrics_key"]}),
        "airflow": Folder(50000, {**keys, "env": _env(airflow)}),
        "init": Folder(50000, {"env": _env(airflow | users)}),
        "serving": _serving(values, given, keys),
    }


def _airflow(values: dict[str, str], given: Mapping[str, str]) -> dict[str, str]:
    database = f"postgresql+psycopg://airflow:{quote(values['postgres_password'], safe='')}@postgres:5432/airflow"
    login = f"updraft:{quote(values['mongodb_password'], safe='')}"
    mongodb = f"mongodb://{login}@mongodb:27017/{DATABASE}?authSource=admin"
    return {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": database,
        "AIRFLOW__CORE__FERNET_KEY": values["airflow_fernet_key"],
        "AIRFLOW__API__SECRET_KEY": values["airflow_secret_key"],
        "AIRFLOW__API_AUTH__JWT_SECRET": values["airflow_jwt_secret"],
        "AIRFLOW__CELERY__BROKER_URL": f"redis://:{quote(values['redis_password'], safe='')}@redis:6379/0",
        "MONGODB_URL": given.get("MONGODB_URL") or mongodb,
        **_s3_login(values, given, "s3"),
    }


def _redis(password: str) -> dict[str, str]:
    quoted = password.replace("\\", r"\\").replace('"', r"\"")
    return {"redis.conf": f'requirepass "{quoted}"\n', "password": password}


def _serving(values: dict[str, str], given: Mapping[str, str], keys: Mapping[str, str]) -> Folder:
    """Give the service a login that reads models, the key that verifies them, and what training through it asks for."""
    files = {"verify.pem": keys["verify.pem"]}
    env = {
        "AIRFLOW_PASSWORD": values["airflow_service_password"],
        "SERVING_TRAIN_TOKEN": values["train_token"],
        **_s3_login(values, given, "s3_reader"),
    }
    if given.get("SERVING_API_KEYS"):
        files["api_keys"] = f"{given['SERVING_API_KEYS']}\nprometheus:{values['metrics_key']}\n"
        env["SERVING_API_KEYS_FILE"] = "/run/updraft/api_keys"
    return Folder(10001, {**files, "env": _env(env)})


def _s3_login(values: dict[str, str], given: Mapping[str, str], whose: str) -> dict[str, str]:
    """Give the login of our own server; for another one what `given` has, or nothing where a role does."""
    if given.get("S3_ENDPOINT", OWN_S3) == OWN_S3:
        key, secret = values[f"{whose}_access_key"], values[f"{whose}_secret_key"]
    else:
        key, secret = given.get("S3_ACCESS_KEY") or "", given.get("S3_SECRET_KEY") or ""
    return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret} if key and secret else {}


def _s3(values: dict[str, str]) -> str:
    """Write SeaweedFS's logins: Airflow's, for all buckets, and the service's, which reads the models."""
    verbs = ("Admin", "Read", "Write", "List", "Tagging")
    actions = {
        "s3": [f"{verb}:{bucket}" for bucket in BUCKETS for verb in verbs],
        "s3_reader": [f"{verb}:{BUCKETS[0]}" for verb in ("Read", "List")],
    }
    logins = {
        whose: [{"accessKey": values[f"{whose}_access_key"], "secretKey": values[f"{whose}_secret_key"]}]
        for whose in actions
    }
    identities = [{"name": whose, "credentials": logins[whose], "actions": actions[whose]} for whose in actions]
    return json.dumps({"identities": identities}, indent=2)


def _env(values: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _write(path: Path, folder: Folder) -> None:
    """Write a service's files for its user alone; what is not to be there any more goes."""
    path.mkdir(mode=0o700, exist_ok=True)
    for name in [each.name for each in path.iterdir() if each.name not in folder.files]:
        (path / name).unlink()
    for name, text in folder.files.items():
        write_private(path / name, text)
        os.chown(path / name, folder.owner, folder.owner)
        (path / name).chmod(0o400)
    os.chown(path, folder.owner, folder.owner)
    path.chmod(0o500)


if __name__ == "__main__":
    main()
