"""Create the local stack's secrets once, each in a file that only its owner may read, and read them."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from updraft.errors import UserError

ADMIN, SERVICE = "admin", "service"  # Airflow's users: a person, and the service, which may start runs


def _fernet_key() -> str:
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


MAKE: dict[str, Callable[[], str]] = {
    "mongodb_password": lambda: secrets.token_hex(24),
    "postgres_password": lambda: secrets.token_hex(24),
    "s3_access_key": lambda: secrets.token_hex(10).upper(),
    "s3_secret_key": lambda: secrets.token_hex(20),
    "s3_filer_key": lambda: secrets.token_hex(32),
    "airflow_admin_password": lambda: secrets.token_hex(8),
    "airflow_service_password": lambda: secrets.token_hex(24),
    "train_token": lambda: secrets.token_hex(24),
    "airflow_jwt_secret": lambda: secrets.token_hex(64),
    "airflow_secret_key": lambda: secrets.token_hex(32),
    "airflow_fernet_key": _fernet_key,
}


def credentials(folder: Path) -> dict[str, str]:
    """Return the secrets in `folder` by file name; create the missing ones and the signing key pair."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    values = {name: once(folder / name, make) for name, make in MAKE.items()}
    logins = {user: values[f"airflow_{user}_password"] for user in (ADMIN, SERVICE)}
    _add_logins(folder / "airflow_passwords.json", logins)
    private = once(folder / "signing.pem", private_key)
    once(folder / "verify.pem", lambda: public_key(private))
    return values


def rotate_keys(folder: Path) -> None:
    """Replace the signing key in `folder`; what the one before it has signed verifies until `drop_old_key`."""
    signing, verify = folder / "signing.pem", folder / "verify.pem"
    current = public_key(signing.read_text(encoding="utf-8"))
    verifying = verify.read_text(encoding="utf-8")
    if verifying.startswith(current) and verifying != current:
        raise UserError("a rotation is under way; drop-old-key ends it")
    fresh = private_key()
    write_private(verify, public_key(fresh) + current)  # first: what is signed can be verified at any moment
    write_private(signing, fresh)


def drop_old_key(folder: Path) -> None:
    """Verify with the current key alone."""
    write_private(folder / "verify.pem", public_key((folder / "signing.pem").read_text(encoding="utf-8")))


def mask(text: str, values: dict[str, str]) -> str:
    """Replace every secret in `text` with three stars."""
    for value in values.values():
        text = text.replace(value, "***")
    return text


def write_private(path: Path, text: str, owner: int | None = None) -> None:
    """Atomically write a file that only its owner may read.

    `owner` is the uid and gid of another user; that takes root.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        if owner is not None:
            os.fchown(file.fileno(), owner, owner)
    draft.replace(path)


def once(path: Path, make: Callable[[], str]) -> str:
    """Return the content of a private file; create it when it does not exist."""
    if not path.exists():
        write_private(path, make())
    return path.read_text(encoding="utf-8")


def _add_logins(path: Path, logins: dict[str, str]) -> None:
    """Complete Airflow's file of passwords: an earlier version's has fewer users; existing passwords stay."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        before = {}
    if not before.keys() >= logins.keys():
        write_private(path, json.dumps(logins | before))


def private_key() -> str:
    """Generate an Ed25519 key, as PEM."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_key(private: str) -> str:
    """Return the public half of a PEM key, as PEM."""
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )

    key = load_pem_private_key(private.encode(), password=None).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
