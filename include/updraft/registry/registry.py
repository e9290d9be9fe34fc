"""Keep the versions of every use case on plain S3, and say which one is in production.

    <use case>/runs/<run id>.json             {"version": 7}: tells a retry of the run which number it had
    <use case>/versions/0007/claim.json       which run took the number; written with If-None-Match: *
    <use case>/versions/0007/…                the files
    <use case>/versions/0007/manifest.sig     base64 of the Ed25519 signature of the bytes of manifest.json
    <use case>/versions/0007/manifest.json    written last, with If-None-Match: *; until then there is no such version
    <use case>/pointer.json                   what is in production; moved only with If-Match
    <use case>/history/000012.json            every content that pointer.json had

Readers see a bucket that does not exist as an empty registry; `push` creates it.
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

FACTS_MAY_NOT = {"name", "version", "run_id", "created_at", "files"}
FILES_MAY_NOT = {"claim.json", "manifest.json", "manifest.sig"}


class NoSuchVersion(UserError, LookupError):
    """A use case, a version or a version to go back to is not there."""


@dataclass(frozen=True)
class Version:
    """One version's manifest: name, version, run_id, created_at, files, and beside them the facts given to `push`."""

    name: str
    number: int
    manifest: dict[str, Any]

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """Give sha256 and size of each file by its name."""
        files = self.manifest.get("files")
        return files if isinstance(files, dict) else {}

    @property
    def size(self) -> int:
        """Give the bytes of all files."""
        return sum(int(file.get("size", 0)) for file in self.files.values() if isinstance(file, dict))

    def __str__(self) -> str:
        return f"{self.name} version {self.number}"


class Registry:
    """Read and write a registry. Pushing needs the private key; trusting needs the public one (or the private)."""

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
        """List the numbers of the complete versions, oldest first; nothing is read or verified."""
        return sorted(self._numbers(name))

    def versions(self, name: str) -> list[Version]:
        """Read every complete version, oldest first; nothing is verified."""
        return [self.version(name, number) for number in self.numbers(name)]

    def version(self, name: str, number: int) -> Version:
        """Read a manifest without verifying it (unreadable JSON reads as an empty one). Raises NoSuchVersion."""
        return Version(name, number, json_object(self._manifest(name, number)))

    def production(self, name: str) -> int | None:
        """Give the number that is in production, None when nothing is."""
        now = self.pointer(name)
        return now.production if now else None

    def pointer(self, name: str, known: Pointer | None = None) -> Pointer | None:
        """Read the pointer, None when there is none. For polling: `known` itself comes back while nothing has moved."""
        return pointer.read(self.bucket, name, known)

    def history(self, name: str) -> list[dict[str, Any]]:
        """List every move of the pointer, oldest first; also the last one when its writer died before noting it."""
        return pointer.history(self.bucket, name)

    def verify(self, name: str, number: int) -> Version:
        """Verify signature, name, number, and each file's size and sha256. Raises NoSuchVersion, VerificationError."""
        version, _, _ = self._trusted(name, number)
        for file in version.files:
            self._download(version, file)
        return version

    def pull(self, name: str, number: int, into: Path) -> Path:
        """Download the verified files of a version into the folder `into`, which appears at one stroke or not at all.

        Its manifest and signature lie beside them, for `verify_folder`. A folder that holds exactly that already is
        kept, another one is replaced. Raises NoSuchVersion or VerificationError.
        """
        version, manifest, signature = self._trusted(name, number)
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
        """Check a folder that `pull` left, without asking the registry. Raises VerificationError."""
        try:
            manifest, signature = ((folder / file).read_bytes() for file in ("manifest.json", "manifest.sig"))
        except OSError:
            raise VerificationError(f"{name} version {number}: not signed, or not here") from None
        version = self._believed(name, number, manifest, signature)
        if not matches_manifest(folder, version.files, manifest):
            raise VerificationError(f"{version}: the files here are not those that were signed")
        return version

    def push(self, name: str, files: Path, facts: dict[str, Any], run_id: str) -> Version:
        """Store every file of the folder `files` as a new version; the same run pushes once, however often it tries.

        `facts` (JSON) go into the manifest. Files of two runs never mix; two tries of ONE run at the same moment with
        different files may spoil their version, which is refused from then on.
        """
        key = self.signing_key
        if key is None:
            raise BadRegistry("registry: no key to sign with; set UPDRAFT_SIGNING_KEY")
        if taken := sorted(FACTS_MAY_NOT & facts.keys()):
            raise BadRegistry(f"{name}: facts may not hold {taken[0]!r}, which the manifest itself sets")
        sources = list_files(files)
        if taken := sorted(FILES_MAY_NOT & sources.keys()):
            raise BadRegistry(f"{name}: {taken[0]!r} is a name that the registry keeps for itself")
        number, created_at = self._claim(name, run_id)
        if number in self.numbers(name):
            return self.version(name, number)
        ours = {"name": name, "version": number, "run_id": run_id, "created_at": created_at}
        body = json_bytes(facts | ours | {"files": {file: describe_file(path) for file, path in sources.items()}})
        folder = _version_at(name, number)
        for file, path in sources.items():
            self.bucket.upload(f"{folder}/{file}", path)
        self.bucket.put(f"{folder}/manifest.sig", base64.b64encode(key.sign(body)))
        self.bucket.create(f"{folder}/manifest.json", body)
        return self.version(name, number)

    def promote(self, name: str, number: int, *, expect: int | None, who: str, why: str) -> Pointer:
        """Put a verified version into production where `expect` is now; PointerMoved when something else is.

        A version that is in production already stays there without a move, so that a retry is no error.
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
        """Put back what was in production before the present version was promoted; a second time goes further back.

        NoSuchVersion when there is nothing to go back to, PointerMoved when somebody else moves at the same moment.
        """
        now = self.pointer(name)
        if now is None:
            raise NoSuchVersion(f"{name}: nothing is in production")
        standing = pointer.promoted_versions(self.history(name))
        if len(standing) < 2:
            raise NoSuchVersion(f"{name}: nothing was in production before version {now.production}")
        self.verify(name, standing[-2])
        return pointer.move(self.bucket, name, now, standing[-2], "rollback", who, why).production

    def _claim(self, name: str, run_id: str) -> tuple[int, str]:
        """Give the run its number and when it got it: the number it has, else the next one that nobody has claimed."""
        if not run_id:
            raise BadRegistry(f"{name}: a push needs a run id")
        run = key_for(name, f"runs/{quote(run_id, safe='')}.json")
        self.bucket.create_if_missing()
        number: int | None = self.bucket.read(run).get("version")
        if number is None:
            claimed = [int(each) for each in self.bucket.folders(key_for(name, "versions/")) if each.isdigit()]
            number = max(claimed, default=0) + 1
            while not self._claimed(name, number, run_id):
                number += 1
            self.bucket.create(run, json_bytes({"version": number}))
            number = int(self.bucket.read(run).get("version", number))  # another try of this run may have been faster
        # The time of the claim, not of this try: every try writes the same manifest, whose signature thus always fits.
        claim = self.bucket.read(f"{_version_at(name, number)}/claim.json")
        return number, str(claim.get("claimed_at", _now()))

    def _claimed(self, name: str, number: int, run_id: str) -> bool:
        key = f"{_version_at(name, number)}/claim.json"
        etag = self.bucket.create(key, json_bytes({"run_id": run_id, "claimed_at": _now()}))
        return etag is not None or self.bucket.read(key).get("run_id") == run_id

    def _numbers(self, name: str) -> Iterator[int]:
        keys = self.bucket.keys(key_for(name, "versions/"))
        return (int(found[1]) for key in keys if (found := re.fullmatch(r"(\d{4,})/manifest\.json", key)))

    def _manifest(self, name: str, number: int) -> bytes:
        found = self.bucket.get(f"{_version_at(name, number)}/manifest.json")
        if found is None:
            raise NoSuchVersion(f"{name}: there is no version {number} in {self.bucket}")
        return found[0]

    def _trusted(self, name: str, number: int) -> tuple[Version, bytes, bytes]:
        """Read a version's manifest and signature, and believe them."""
        manifest = self._manifest(name, number)
        signature = self.bucket.get(f"{_version_at(name, number)}/manifest.sig")
        if signature is None:
            raise VerificationError(f"{name} version {number}: not signed (there is no manifest.sig)")
        return self._believed(name, number, manifest, signature[0]), manifest, signature[0]

    def _believed(self, name: str, number: int, manifest: bytes, signature: bytes) -> Version:
        """Check signature first, then name, number and file names."""
        if self.verify_key is None:
            raise BadRegistry("registry: no key to verify with; set UPDRAFT_VERIFY_KEY")
        try:
            self.verify_key.verify(base64.b64decode(signature, validate=True), manifest)
        except (InvalidSignature, binascii.Error):
            raise VerificationError(
                f"{name} version {number}: the manifest was altered or signed with another key"
            ) from None
        version = Version(name, number, json_object(manifest))
        told = (version.manifest.get("name"), version.manifest.get("version"))
        if told != (name, number):
            raise VerificationError(f"{version}: the manifest is that of {told[0]} version {told[1]}")
        for file in version.files:
            if not is_safe_name(file):
                raise VerificationError(f"{version}: the manifest names {file!r}, which is no plain file name")
        return version

    def _download(self, version: Version, file: str, sink: BinaryIO | None = None) -> None:
        """Stream a file, into `sink` if any; raise VerificationError unless size and sha256 match the manifest."""
        told, digest, size = version.files[file], hashlib.sha256(), 0
        try:
            for chunk in self.bucket.stream(f"{_version_at(version.name, version.number)}/{file}"):
                digest.update(chunk)
                size += len(chunk)
                if size > told["size"]:
                    break
                if sink:
                    sink.write(chunk)
        except FileNotFoundError:
            raise VerificationError(f"{version}: {file!r} is missing") from None
        if {"sha256": digest.hexdigest(), "size": size} != told:
            raise VerificationError(f"{version}: {file!r} is not the file that was signed (sha256 or size differs)")


def open_registry(environ: Mapping[str, str], client: S3Client | None = None) -> Registry:
    """Make the registry that `environ` describes, with `client` where one is given; nothing is contacted.

    UPDRAFT_REGISTRY (s3://bucket/prefix), UPDRAFT_VERIFY_KEY and UPDRAFT_SIGNING_KEY (paths of PEM files; one of them
    is needed, the second only to push), and AWS's own variables. BadRegistry names the one that is missing or wrong.
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
