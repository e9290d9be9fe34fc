"""Create the secrets of the Docker stack: the entry point of the one-shot service `secrets`.

`root` is a volume. `all/` has each secret in a file that only root can read; beside it, each service has a folder of
its own, owned by its user, with only what that service needs.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from updraft.compose_secrets.alertmanager import check_alerts
from updraft.compose_secrets.secrets import check_secrets, drop_s3_logins, resolve_secrets
from updraft.compose_secrets.service_folders import Folder, folders
from updraft.compose_secrets.variables import OWN_TRACKER, check, tracker
from updraft.errors import UserError
from updraft.local_stack.credentials import (
    ADMIN,
    drop_old_key,
    once,
    private_key,
    public_key,
    rotate_keys,
    write_private,
)

ALL = "all"
RESTORING = ".restoring"  # there from the start of deploy/compose/restore.sh to its end
FORMER = ("signer",)  # folders that an earlier version wrote
# What is done before the folders are written.
KEYS = {"rotate-key": rotate_keys, "drop-old-key": drop_old_key, "rotate-s3": drop_s3_logins}


def create(root: Path, environ: Mapping[str, str]) -> None:
    """Create missing secrets and write every service's folder. Raises UserError before anything is changed."""
    validate(root, environ)
    root.chmod(0o755)  # services must traverse it; the folders in it are private
    (root / ALL).mkdir(mode=0o700, exist_ok=True)
    secrets = resolve_secrets(root / ALL, environ)
    signing = once(root / ALL / "signing.pem", private_key)
    keys = {"signing.pem": signing, "verify.pem": once(root / ALL / "verify.pem", lambda: public_key(signing))}
    for name, folder in folders(secrets, environ, keys).items():
        _write(root / name, folder)
    for name in FORMER:
        shutil.rmtree(root / name, ignore_errors=True)


def validate(root: Path, environ: Mapping[str, str]) -> None:
    """Raise BadVariable for the first invalid variable, UserError while the data is half restored. Writes nothing."""
    if (root / RESTORING).exists():
        raise UserError("a restore was interrupted: run deploy/compose/restore.sh again")
    check(environ)
    check_alerts(environ)
    check_secrets(root / ALL, environ)


def login(root: Path, environ: Mapping[str, str]) -> str:
    """Return the stack's URLs and logins: the only place that shows passwords. Writes nothing."""
    try:
        admin, grafana, token = (
            (root / ALL / name).read_text(encoding="utf-8")
            for name in ("airflow_admin_password", "grafana_admin_password", "train_token")
        )
    except FileNotFoundError:
        raise UserError("there are none yet: docker compose up creates them") from None
    service = environ.get("SERVING_URL", "")
    key = " -H 'X-API-Key: <yours>'" if environ.get("SERVING_API_KEYS") else ""
    own = tracker(environ) == OWN_TRACKER
    mlflow = [f"MLflow    http://127.0.0.1:{environ.get('MLFLOW_PORT') or 5001}"] if own else []
    return "\n".join([
        f"Airflow   {environ.get('AIRFLOW_URL', '')}   user {ADMIN}, password {admin}",
        f"Service   {service}",
        f"Train     curl -X POST --oauth2-bearer {shlex.quote(token)}{key} {service}/train/vehicle_insurance",
        *mlflow,
        f"Grafana   user {ADMIN}, password {grafana} (deploy/grafana/publish.yaml)",
    ])


def main() -> None:
    """Create the secrets in the folder of the first argument; or, by the second, `check` them, show the `login`, or
    change the key that signs (`rotate-key`, `drop-old-key`) or all S3 logins (`rotate-s3`).
    """
    root, verb = Path(sys.argv[1]), sys.argv[2] if sys.argv[2:] else "make"
    try:
        if verb == "login":
            sys.stdout.write(login(root, os.environ) + "\n")
        elif verb == "check":
            validate(root, os.environ)
        else:
            if verb in KEYS:
                KEYS[verb](root / ALL)
            create(root, os.environ)
            sys.stdout.write("The secrets are ready.\n")
    except UserError as error:
        sys.exit(f"secrets: {error}")


def _write(path: Path, folder: Folder) -> None:
    """Write a service's files, readable by its user alone, and remove all others."""
    path.mkdir(mode=0o700, exist_ok=True)
    for file in [file for file in path.iterdir() if file.name not in folder.files]:
        file.unlink()
    for name, text in folder.files.items():
        write_private(path / name, text, folder.owner)
    os.chown(path, folder.owner, folder.owner)
    path.chmod(0o500)


if __name__ == "__main__":
    main()
