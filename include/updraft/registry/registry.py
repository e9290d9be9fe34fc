"""The model registry: versions of every use case on plain S3, and which one is in production.

    <use case>/runs/<run id>.json             {"version": 7}: gives a retry of the run the number it had
    <use case>/versions/0007/claim.json       which run took the number; written with If-None-Match: *
    <use case>/versions/0007/…                the files
    <use case>/versions/0007/manifest.sig     base64 of the Ed25519 signature of the bytes of manifest.json
    <use case>/versions/0007/manifest.json    written last, with If-None-Match: *; until then the version does not exist
    <use case>/pointer.json                   what is in production; moved only with If-Match
    <use case>/history/000012.json            every content that pointer.json had

S3 has no locks and no transactions, and a writer may die at any moment; conditional writes and the order of writes take
their place. `claim.json` reserves a number before anything is uploaded, so that two runs never write to one folder.
`manifest.json` comes last: a version that was uploaded in part has none, so no reader sees it, and the retry of its run
completes it. A bucket that does not exist reads as an empty registry; `push` creates it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from cryptography.exceptions import InvalidSignature

from updraft.errors import UserError
from updraft.registry import pointer
from updraft.registry.folder_hashes import describe_file, is_safe_name, list_files, matches_manifest, replace_folder
from updraft.registry.pointer import Pointer as Pointer
from updraft.registry.pointer import PointerMoved as PointerMoved
from updraft.registry.pointer import VerificationError as VerificationError
from updraft.registry.s3 import NAME, BadRegistry, Bucket, json_bytes, json_object, key_for, s3_client, split_uri
from updraft.registry.s3 import client_config as client_config
from updraft.registry.signing_keys import load_keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from mypy_boto3_s3 import S3Client

RESERVED_KEYS = {"name", "version", "run_id", "created_at", "files"}
RESERVED_FILES = {"claim.json", "manifest.json", "manifest.sig"}


class NoSuchVersion(UserError, LookupError):
    """A use case or a version does not exist, or there is no version to roll back to."""


@dataclass(frozen=True)
class Version:
    """A version and its manifest: name, version, run_id, created_at, files, and the metadata passed to `push`."""

    name: str
    number: int
    manifest: dict[str, Any]

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """Sha256 and size of each file, by name."""
        files = self.manifest.get("files")
        return files if isinstance(files, dict) else {}

    @property
    def size(self) -> int:
        """Total size of the files in bytes."""
        return sum(int(file.get("size", 0)) for file in self.files.values() if isinstance(file, dict))

    def __str__(self) -> str:
        return f"{self.name} version {self.number}"


class Registry:
    """Read and write a registry. Pushing needs the private key, verifying the public one (or the private)."""

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        prefix: str = "",
        *,
        signing_key: Ed25519PrivateKey | None = None,
        verify_key: Ed25519PublicKey | None = None,
    ) -> None:
        self.bucket = Bucket(client, bucket, prefix)
        self.signing_key = signing_key
        self.verify_key = verify_key or (signing_key.public_key() if signing_key else None)

    def names(self) -> list[str]:
        """List the use cases that have a version."""
        return [name for name in self.bucket.folders("") if NAME.fullmatch(name) and any(self._numbers(name))]

    def numbers(self, name: str) -> list[int]:
        """List the numbers of the complete versions, oldest first; reads and verifies nothing."""
        return sorted(self._numbers(name))

    def versions(self, name: str) -> list[Version]:
        """Read every complete version, oldest first, without verifying it."""
        return [self.version(name, number) for number in self.numbers(name)]

    def version(self, name: str, number: int) -> Version:
        """Read a manifest without verifying it (unreadable JSON reads as an empty one). Raises NoSuchVersion."""
        return Version(name, number, json_object(self._manifest(name, number)))

    def production(self, name: str) -> int | None:
        """Return the number in production; None if there is none."""
        now = self.pointer(name)
        return now.production if now else None

    def pointer(self, name: str, known: Pointer | None = None) -> Pointer | None:
        """Read the pointer; None if there is none. For polling: returns `known` itself if it has not moved."""
        return pointer.read(self.bucket, name, known)

    def history(self, name: str) -> list[dict[str, Any]]:
        """List every move of the pointer, oldest first."""
        return pointer.history(self.bucket, name)

    def verify(self, name: str, number: int) -> Version:
        """Verify signature, name, number, and each file's size and sha256. Raises NoSuchVersion, VerificationError."""
        version, _, _ = self._read_verified(name, number)
        for file in version.files:
            self._download(version, file)
        return version

    def pull(self, name: str, number: int, into: Path) -> Path:
        """Download a version's files, verified, into the folder `into`, which is replaced atomically or not at all.

        Manifest and signature lie beside them, for `verify_folder`. A folder that matches the manifest is kept. Raises
        NoSuchVersion or VerificationError.
        """
        version, manifest, signature = self._read_verified(name, number)
        if matches_manifest(into, version.files, manifest):
            return into
        into.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{into.name}-", dir=into.parent))
        try:
            for file in version.files:
                (fresh / file).parent.mkdir(parents=True, exist_ok=True)
                with (fresh / file).open("xb") as sink:
                    self._download(version, file, sink)
            (fresh / "manifest.json").write_bytes(manifest)
            (fresh / "manifest.sig").write_bytes(signature)
            replace_folder(fresh, into, version.files, manifest)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return into

    def verify_folder(self, name: str, number: int, folder: Path) -> Version:
        """Verify a folder that `pull` wrote, without contacting the registry. Raises VerificationError."""
        try:
            manifest, signature = ((folder / file).read_bytes() for file in ("manifest.json", "manifest.sig"))
        except OSError:
            raise VerificationError(f"{name} version {number}: no signed manifest in this folder") from None
        version = self._verified(name, number, manifest, signature)
        if not matches_manifest(folder, version.files, manifest):
            raise VerificationError(f"{version}: the files in this folder are not the signed ones")
        return version

    def push(self, name: str, files: Path, metadata: dict[str, Any], run_id: str) -> Version:
        """Store every file in the folder `files` as a new version; idempotent: one run creates one version.

        `metadata` (JSON) goes into the manifest. Files of two runs never mix. Two simultaneous attempts of ONE run with
        different files can corrupt their version, which then fails verification.
        """
        key = self.signing_key
        if key is None:
            raise BadRegistry("registry: no key to sign with; set UPDRAFT_SIGNING_KEY")
        if reserved := sorted(RESERVED_KEYS & metadata.keys()):
            raise BadRegistry(f"{name}: metadata may not contain {reserved[0]!r}, which the manifest itself sets")
        sources = list_files(files)
        if reserved := sorted(RESERVED_FILES & sources.keys()):
            raise BadRegistry(f"{name}: the file name {reserved[0]!r} is reserved")
        number, created_at = self._claim(name, run_id)
        if number in self.numbers(name):
            return self.version(name, number)
        generated = {"name": name, "version": number, "run_id": run_id, "created_at": created_at}
        body = json_bytes(
            metadata | generated | {"files": {file: describe_file(path) for file, path in sources.items()}}
        )
        folder = _version_at(name, number)
        for file, path in sources.items():
            self.bucket.upload(f"{folder}/{file}", path)
        # The manifest makes the version visible, so everything that a reader then needs must be there before it.
        self.bucket.put(f"{folder}/manifest.sig", base64.b64encode(key.sign(body)))
        self.bucket.create(f"{folder}/manifest.json", body)
        return self.version(name, number)

    def promote(self, name: str, number: int, *, expect: int | None, who: str, why: str) -> Pointer:
        """Verify a version and put it into production in place of `expect`; raise PointerMoved if another one is there.

        Promoting the version in production changes nothing, so that a retry succeeds.
        """
        now = self.pointer(name)
        if now and now.production == number:
            pointer.record(self.bucket, name, now)
            return now
        if (now.production if now else None) != expect:
            raise PointerMoved(f"{name}: production is {now.production if now else None}, expected {expect}")
        self.verify(name, number)
        return pointer.move(self.bucket, name, now, number, "promote", who, why)

    def rollback(self, name: str, *, who: str, why: str) -> int:
        """Put the previously promoted version back into production; a second call goes one further back.

        Raises NoSuchVersion if there is none, PointerMoved if someone else moves the pointer at the same moment.
        """
        now = self.pointer(name)
        if now is None:
            raise NoSuchVersion(f"{name}: nothing is in production")
        promoted = pointer.promoted_versions(self.history(name))
        if len(promoted) < 2:
            raise NoSuchVersion(f"{name}: nothing was in production before version {now.production}")
        self.verify(name, promoted[-2])
        return pointer.move(self.bucket, name, now, promoted[-2], "rollback", who, why).production

    def _claim(self, name: str, run_id: str) -> tuple[int, str]:
        """Return the run's version number and when it was claimed: the number it has, else the next unclaimed one."""
        if not run_id:
            raise BadRegistry(f"{name}: a push needs a run id")
        run = key_for(name, f"runs/{quote(run_id, safe='')}.json")
        self.bucket.create_if_missing()
        number: int | None = self.bucket.read(run).get("version")
        if number is None:
            claimed = [int(each) for each in self.bucket.folders(key_for(name, "versions/")) if each.isdigit()]
            number = max(claimed, default=0) + 1
            while not self._try_claim(name, number, run_id):
                number += 1
            self.bucket.create(run, json_bytes({"version": number}))
            number = int(self.bucket.read(run).get("version", number))  # another attempt may have won
        # The time of the claim, not of this attempt: all attempts write the same manifest, so any signature matches it.
        claim = self.bucket.read(f"{_version_at(name, number)}/claim.json")
        return number, str(claim.get("claimed_at", _now()))

    def _try_claim(self, name: str, number: int, run_id: str) -> bool:
        key = f"{_version_at(name, number)}/claim.json"
        etag = self.bucket.create(key, json_bytes({"run_id": run_id, "claimed_at": _now()}))
        return etag is not None or self.bucket.read(key).get("run_id") == run_id

    def _numbers(self, name: str) -> Iterator[int]:
        keys = self.bucket.keys(key_for(name, "versions/"))
        return (int(match[1]) for key in keys if (match := re.fullmatch(r"(\d{4,})/manifest\.json", key)))

    def _manifest(self, name: str, number: int) -> bytes:
        answer = self.bucket.get(f"{_version_at(name, number)}/manifest.json")
        if answer is None:
            raise NoSuchVersion(f"{name}: there is no version {number} in {self.bucket}")
        return answer[0]

    def _read_verified(self, name: str, number: int) -> tuple[Version, bytes, bytes]:
        """Read and verify a version's manifest; return the version and the bytes of manifest and signature."""
        manifest = self._manifest(name, number)
        signature = self.bucket.get(f"{_version_at(name, number)}/manifest.sig")
        if signature is None:
            raise VerificationError(f"{name} version {number}: not signed (there is no manifest.sig)")
        return self._verified(name, number, manifest, signature[0]), manifest, signature[0]

    def _verified(self, name: str, number: int, manifest: bytes, signature: bytes) -> Version:
        """Verify the signature, and only then parse the manifest and check name, number and file names."""
        if self.verify_key is None:
            raise BadRegistry("registry: no key to verify with; set UPDRAFT_VERIFY_KEY")
        try:
            self.verify_key.verify(base64.b64decode(signature, validate=True), manifest)
        except (InvalidSignature, binascii.Error):
            raise VerificationError(
                f"{name} version {number}: the manifest was altered or signed with another key"
            ) from None
        version = Version(name, number, json_object(manifest))
        signed = (version.manifest.get("name"), version.manifest.get("version"))
        if signed != (name, number):  # a signed manifest that was copied from another version
            raise VerificationError(f"{version}: the manifest is that of {signed[0]} version {signed[1]}")
        for file in version.files:
            if not is_safe_name(file):
                raise VerificationError(f"{version}: the manifest names {file!r}, which is not a safe file name")
        return version

    def _download(self, version: Version, file: str, sink: BinaryIO | None = None) -> None:
        """Stream a file, into `sink` if any; raise VerificationError unless size and sha256 match the manifest."""
        expected, digest, size = version.files[file], hashlib.sha256(), 0
        try:
            for chunk in self.bucket.stream(f"{_version_at(version.name, version.number)}/{file}"):
                digest.update(chunk)
                size += len(chunk)
                if size > expected["size"]:
                    break
                if sink:
                    sink.write(chunk)
        except FileNotFoundError:
            raise VerificationError(f"{version}: {file!r} is missing") from None
        if {"sha256": digest.hexdigest(), "size": size} != expected:
            raise VerificationError(f"{version}: {file!r} is not the file that was signed (sha256 or size differs)")


def open_registry(environ: Mapping[str, str], client: S3Client | None = None) -> Registry:
    """Create the registry that `environ` configures, with `client` if passed; contacts nothing.

    Reads UPDRAFT_REGISTRY (s3://bucket/prefix), UPDRAFT_VERIFY_KEY and UPDRAFT_SIGNING_KEY (paths of PEM files; either
    suffices, the second is needed to push) and AWS's own variables. BadRegistry names the one that is missing or wrong.
    """
    try:
        bucket, prefix = split_uri(environ.get("UPDRAFT_REGISTRY", ""))
    except BadRegistry as error:
        raise BadRegistry(f"UPDRAFT_REGISTRY: {error}") from None
    signing_key, verify_key = load_keys(environ)
    return Registry(client or s3_client(environ), bucket, prefix, signing_key=signing_key, verify_key=verify_key)


def _version_at(name: str, number: int) -> str:
    return key_for(name, f"versions/{number:04d}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
