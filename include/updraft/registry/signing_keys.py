"""The Ed25519 keys that sign and verify what is in the registry."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from updraft.registry.s3 import BadRegistry

MAX_VERIFY_KEYS = 2  # the new one and the old one, while keys are rotated
PUBLIC = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)
# Not PEM, encrypted, or an algorithm that cryptography does not support.
NO_KEY = (ValueError, TypeError, UnsupportedAlgorithm)


@dataclass(frozen=True)
class Keys:
    """The key that signs, if this process may write, and those that verify: what any of them signed is accepted."""

    signing: Ed25519PrivateKey | None = None
    verifying: tuple[Ed25519PublicKey, ...] = ()

    def require_signing(self) -> Ed25519PrivateKey:
        """Return the signing key; BadRegistry where there is none: call it before anything is written."""
        if self.signing is None:
            raise BadRegistry("registry: no key to sign with; set UPDRAFT_SIGNING_KEY")
        return self.signing

    def sign(self, body: bytes) -> bytes:
        """Return the signature of `body` in base64."""
        return base64.b64encode(self.require_signing().sign(body))

    def verifies(self, body: bytes, signature: bytes) -> bool:
        """Whether `signature` (base64) is one of these keys' for `body`."""
        return self.signer(body, signature) is not None

    def signer(self, body: bytes, signature: bytes) -> str | None:
        """Return the id of the key whose `signature` (base64) for `body` it is; None if it is none of these."""
        try:
            decoded = base64.b64decode(signature, validate=True)
        except binascii.Error:
            return None
        return next((key_id(key) for key in self.verifying if _verifies(key, body, decoded)), None)

    def ids(self) -> list[str]:
        """Return the ids of the keys that verify."""
        return [key_id(key) for key in self.verifying]


def key_id(key: Ed25519PublicKey) -> str:
    """Return what people tell keys apart by: the first 16 digits of the sha256 of its 32 bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def hint_to_add(keys: Keys) -> str:
    """Say that a key is not trusted, and how a person trusts it: a key never comes by the way of what it signed."""
    trusted = " and ".join(keys.ids())
    return (
        f"which is not trusted here ({trusted} {'is' if len(keys.verifying) == 1 else 'are'}); if you trust its owner, "
        f"get their verify.pem and set UPDRAFT_VERIFY_KEY=own.pem{os.pathsep}theirs.pem"
    )


def load_keys(environ: Mapping[str, str]) -> Keys:
    """Load the keys at the paths in UPDRAFT_SIGNING_KEY and UPDRAFT_VERIFY_KEY; the first implies the second.

    There may be two that verify: in one file, one after the other, or in two, named as in PATH: `new.pem:old.pem`.
    BadRegistry names the variable that is missing or wrong and quotes its path, never the file's content.
    """
    path = environ.get("UPDRAFT_SIGNING_KEY")
    signing = _private_key(path) if path else None
    paths = [path for path in environ.get("UPDRAFT_VERIFY_KEY", "").split(os.pathsep) if path]
    verifying = [key for path in paths for key in _public_keys(path)]
    if len(verifying) > MAX_VERIFY_KEYS:
        raise BadRegistry(f"UPDRAFT_VERIFY_KEY: {len(verifying)} keys, expected one, or two while they are rotated")
    if signing and verifying and signing.public_key() not in verifying:
        raise BadRegistry("UPDRAFT_VERIFY_KEY: not the public half of the key in UPDRAFT_SIGNING_KEY")
    if signing and not verifying:
        verifying = [signing.public_key()]
    if not verifying:
        raise BadRegistry("UPDRAFT_VERIFY_KEY: not set; expected the path of an Ed25519 public key (PEM)")
    return Keys(signing, tuple(verifying))


def _verifies(key: Ed25519PublicKey, body: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, body)
    except InvalidSignature:
        return False
    return True


def _private_key(path: str) -> Ed25519PrivateKey:
    key: object = None
    pem = _read("UPDRAFT_SIGNING_KEY", path)
    with suppress(*NO_KEY):
        key = load_pem_private_key(pem, None)
    if not isinstance(key, Ed25519PrivateKey):
        raise BadRegistry(f"UPDRAFT_SIGNING_KEY: {path!r} is not an Ed25519 private key (PEM, no password)")
    return key


def _public_keys(path: str) -> list[Ed25519PublicKey]:
    keys: list[object] = []
    pem = _read("UPDRAFT_VERIFY_KEY", path)
    with suppress(*NO_KEY):
        keys = [load_pem_public_key(block) for block in PUBLIC.findall(pem)]
    public = [key for key in keys if isinstance(key, Ed25519PublicKey)]
    if not keys or len(public) < len(keys):
        raise BadRegistry(f"UPDRAFT_VERIFY_KEY: {path!r} is not an Ed25519 public key (PEM), nor two of them")
    return public


def _read(variable: str, path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise BadRegistry(f"{variable}: cannot read {path!r}: {error.strerror}") from None
