"""Load the Ed25519 keys that sign and verify versions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from updraft.registry.s3 import BadRegistry

Key = TypeVar("Key", Ed25519PrivateKey, Ed25519PublicKey)


def load_keys(environ: Mapping[str, str]) -> tuple[Ed25519PrivateKey | None, Ed25519PublicKey]:
    """Load the keys at the paths in UPDRAFT_SIGNING_KEY and UPDRAFT_VERIFY_KEY; the first implies the second.

    BadRegistry names the variable that is missing or wrong and quotes its path, never the file's content.
    """
    signing = _load(environ, "UPDRAFT_SIGNING_KEY", Ed25519PrivateKey)  # type: ignore[type-abstract]
    verifying = _load(environ, "UPDRAFT_VERIFY_KEY", Ed25519PublicKey)  # type: ignore[type-abstract]
    derived = signing.public_key() if signing else None
    if verifying is not None and derived is not None and verifying != derived:
        raise BadRegistry("UPDRAFT_VERIFY_KEY: not the public half of the key in UPDRAFT_SIGNING_KEY")
    public = verifying or derived
    if public is None:
        raise BadRegistry("UPDRAFT_VERIFY_KEY: not set; expected the path of an Ed25519 public key (PEM)")
    return signing, public


def _load(environ: Mapping[str, str], variable: str, kind: type[Key]) -> Key | None:
    path = environ.get(variable)
    if not path:
        return None
    key: object = None
    try:
        pem = Path(path).expanduser().read_bytes()
        key = load_pem_private_key(pem, None) if kind is Ed25519PrivateKey else load_pem_public_key(pem)
    except OSError as error:
        raise BadRegistry(f"{variable}: cannot read {path!r}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass  # not PEM, encrypted, or an algorithm that cryptography does not support
    if not isinstance(key, kind):
        half = "private" if kind is Ed25519PrivateKey else "public"
        raise BadRegistry(f"{variable}: {path!r} is not an Ed25519 {half} key (PEM, no password)")
    return key
