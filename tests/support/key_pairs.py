"""Key pairs that sign and verify versions."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


def write_key_pair(folder: Path) -> dict[str, str]:
    """Write a fresh Ed25519 key pair as PEM files; give the variables that name them."""
    private = Ed25519PrivateKey.generate()
    signing, verifying = folder / "signing.pem", folder / "verify.pem"
    signing.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    verifying.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return {"UPDRAFT_SIGNING_KEY": str(signing), "UPDRAFT_VERIFY_KEY": str(verifying)}
