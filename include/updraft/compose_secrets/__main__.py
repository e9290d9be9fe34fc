"""Make the secrets of the Docker stack: what the one-shot service `secrets` runs.

`root` is a volume. `all/` keeps each secret in a file that root alone may read; beside it, each service has a folder
of its own, owned by its user, with no more in it than it needs.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from updraft.compose_secrets.secrets import check_secrets, settled
from updraft.compose_secrets.service_folders import Folder, folders
from updraft.compose_secrets.variables import check
from updraft.errors import UserError
from updraft.local_stack.credentials import ADMIN, once, private_key, public_key, write_private

ALL = "all"


def make(root: Path, given: Mapping[str, str]) -> None:
    """Make what is not there, and write every service's folder. Raises BadVariable before anything is changed."""
    look(root, given)
    root.chmod(0o755)  # to pass through: the folders in it are closed
    (root / ALL).mkdir(mode=0o700, exist_ok=True)
    values = settled(root / ALL, given)
    signing = once(root / ALL / "signing.pem", private_key)
    keys = {"signing.pem": signing, "verify.pem": once(root / ALL / "verify.pem", lambda: public_key(signing))}
    for name, folder in folders(values, given, keys).items():
        _write(root / name, folder)


def look(root: Path, given: Mapping[str, str]) -> None:
    """Raise BadVariable for the first variable that is wrong. Nothing is written."""
    check(given)
    check_secrets(root / ALL, given)


def login(root: Path, given: Mapping[str, str]) -> str:
    """Say where the stack answers, and the passwords: the one place that shows any. Nothing is written."""
    try:
        admin, grafana, token = (
            (root / ALL / name).read_text(encoding="utf-8")
            for name in ("airflow_admin_password", "grafana_admin_password", "train_token")
        )
    except FileNotFoundError:
        raise UserError("there are none yet: docker compose up makes them") from None
    service = given.get("SERVING_URL", "")
    key = " -H 'X-API-Key: <yours>'" if given.get("SERVING_API_KEYS") else ""
    return "\n".join([
        f"Airflow   {given.get('AIRFLOW_URL', '')}   user {ADMIN}, password {admin}",
        f"Service   {service}/models",
        f"Train     curl -X POST --oauth2-bearer {shlex.quote(token)}{key} {service}/train/vehicle_insurance",
        f"Grafana   user {ADMIN}, password {grafana} (deploy/grafana/publish.yaml)",
    ])


def main() -> None:
    """Make the secrets in the folder that is named first; after it, `check` makes none, `login` shows the logins."""
    root, verb = Path(sys.argv[1]), sys.argv[2] if sys.argv[2:] else "make"
    try:
        if verb == "login":
            sys.stdout.write(login(root, os.environ) + "\n")
        elif verb == "check":
            look(root, os.environ)
        else:
            make(root, os.environ)
            sys.stdout.write("The secrets are there.\n")
    except UserError as error:
        sys.exit(f"secrets: {error}")


def _write(path: Path, folder: Folder) -> None:
    """Write a service's files for its user alone; what is not to be there any more goes."""
    path.mkdir(mode=0o700, exist_ok=True)
    for name in [each.name for each in path.iterdir() if each.name not in folder.files]:
        (path / name).unlink()
    for name, text in folder.files.items():
        write_private(path / name, text, folder.owner)
    os.chown(path, folder.owner, folder.owner)
    path.chmod(0o500)


if __name__ == "__main__":
    main()
