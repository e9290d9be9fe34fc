"""The model registry: versions of every use case on plain S3, and which one is in production.

    <use case>/runs/<run id>.json             {"version": 7}: gives a retry of the run the number it had
    <use case>/versions/0007/claim.json       which run took the number; written with If-None-Match: *
    <use case>/versions/0007/…                the files
    <use case>/versions/0007/manifest.sig     base64 of the Ed25519 signature of the bytes of manifest.json
    <use case>/versions/0007/manifest.json    written last, with If-None-Match: *; until then the version does not exist
    <use case>/pointer.json                   the last move, signed: what is in production; moved only with If-Match
    <use case>/history/000012.json            every move, signed: what became of each version (`states.py`)

S3 has no locks and no transactions, and a writer may die at any moment; conditional writes and the order of writes take
their place. `claim.json` reserves a number before anything is uploaded, so that two runs never write to one folder.
`manifest.json` comes last: a version that was uploaded in part has none, so no reader sees it, and the retry of its run
completes it. A bucket that does not exist reads as an empty registry; `push` creates it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from updraft.errors import UserError
from updraft.registry import claims
from updraft.registry.azure import open_place
from updraft.registry.claims import version_folder
from updraft.registry.folder_hashes import describe_file, list_files, matches_manifest
from updraft.registry.follower import Follower
from updraft.registry.judgements import JUDGED_AGAIN
from updraft.registry.manifest import MAX_MANIFEST, MAX_SIGNATURE, MODEL_FILE, verified
from updraft.registry.manifest import Version as Version
from updraft.registry.mirror import Mirror, open_mirror
from updraft.registry.moves import Move, Moves, describe, require_sequence
from updraft.registry.moves import Pointer as Pointer
from updraft.registry.moves import PointerMoved as PointerMoved
from updraft.registry.s3 import NAME, BadRegistry, Bucket, json_bytes, parse_json
from updraft.registry.s3 import VerificationError as VerificationError
from updraft.registry.s3 import client_config as client_config
from updraft.registry.signing_keys import Keys, load_keys
from updraft.registry.states import Hold as Hold
from updraft.registry.states import States, replay
from updraft.registry.version_folder import write_folder

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RESERVED_KEYS = {"format", "name", "version", "run_id", "created_at", "files", "model_sha256"}
RESERVED_FILES = {"claim.json", "manifest.json", "manifest.sig", JUDGED_AGAIN}


class NoSuchVersion(UserError, LookupError):
    """A use case or a version does not exist, or there is no version to roll back to."""


class HeldModel(UserError):
    """A version whose model a person took back: only a person promotes it again, with `--force`."""

    def __init__(self, version: Version, hold: Hold) -> None:
        self.what = f"{version} is {hold.of(version.number)}"
        super().__init__(f"{self.what}; --force takes it all the same and lifts the hold")


class Registry:
    """Read and write a registry. Writing needs the private key, verifying the public one (or the private)."""

    def __init__(self, bucket: Bucket, keys: Keys) -> None:
        self.bucket, self.keys = bucket, keys
        self.followers: list[Follower] = []  # of each move

    def names(self) -> list[str]:
        """List the use cases that have a version."""
        return [
            name
            for name in self.bucket.folders("")
            if NAME.fullmatch(name) and any(claims.complete_numbers(self.bucket, name))
        ]

    def numbers(self, name: str) -> list[int]:
        """List the numbers of the complete versions, oldest first; reads and verifies nothing."""
        return sorted(claims.complete_numbers(self.bucket, name))

    def versions(self, name: str) -> list[Version]:
        """Read every complete version, oldest first, without verifying it."""
        return [self.version(name, number) for number in self.numbers(name)]

    def version(self, name: str, number: int) -> Version:
        """Read a manifest without verifying it (what is no manifest reads as an empty one). Raises NoSuchVersion."""
        try:
            return Version(name, number, parse_json(self._manifest(name, number), ""))
        except VerificationError:
            return Version(name, number, {})

    def production(self, name: str) -> int | None:
        """Return the number in production; None if there is none."""
        now = self.pointer(name)
        return now.production if now else None

    def pointer(self, name: str, known: Pointer | None = None) -> Pointer | None:
        """Read and verify the pointer; None if there is none. For polling: returns `known` if it has not moved."""
        return self.moves(name).pointer(known)

    def moves(self, name: str) -> Moves:
        """Return a use case's moves, to read and write them one by one."""
        return Moves(self.bucket, self.keys, name, moved=self.follow)

    def follow(self, name: str) -> None:
        """Let what follows the registry, a mirror or a tracker, follow; the log says which is late, and why."""
        for follower in self.followers:
            follower.follow(name)

    @property
    def mirror(self) -> Mirror | None:
        """The bucket that follows each move, if there is one."""
        return next((each for each in self.followers if isinstance(each, Mirror)), None)

    def history(self, name: str) -> list[Move]:
        """List every move of the pointer, oldest first, verified."""
        return self.moves(name).history()

    def states(self, name: str) -> States:
        """Derive what became of each version from the history."""
        return replay(self.history(name))

    def verify(self, name: str, number: int) -> Version:
        """Verify signature, name, number, and each file's size and sha256. Raises NoSuchVersion, VerificationError."""
        version, _, _ = self.read_verified(name, number)
        for file in version.files:
            self._download(version, file)
        return version

    def read(self, name: str, number: int, files: Iterable[str]) -> dict[str, bytes]:
        """Read files of a version into memory, verified. Raises NoSuchVersion, VerificationError."""
        version, _, _ = self.read_verified(name, number)
        contents = {}
        for file in files:
            if file not in version.files:
                raise VerificationError(f"{version} has no {file!r}")
            self._download(version, file, sink := io.BytesIO())
            contents[file] = sink.getvalue()
        return contents

    def pull(self, name: str, number: int, into: Path) -> Path:
        """Download a version's files, verified, into the folder `into`, which is replaced atomically or not at all.

        Manifest and signature lie beside them, for `open_folder`. A folder that matches them is kept. Raises
        NoSuchVersion or VerificationError.
        """
        version, manifest, signature = self.read_verified(name, number)
        seals = {"manifest.json": manifest, "manifest.sig": signature}
        if not matches_manifest(into, version.files, seals):
            write_folder(into, version.files, seals, partial(self._download, version))
        return into

    def push(
        self, name: str, files: Path, metadata: dict[str, Any], run_id: str, *, model_sha256: str | None = None
    ) -> Version:
        """Store every file in the folder `files` as a new version; idempotent: one run creates one version.

        `metadata` (JSON) goes into the manifest. Raises VerificationError unless the model has `model_sha256`, if it is
        passed. Files of two runs never mix. Two simultaneous attempts of ONE run with different files can corrupt their
        version, which then fails verification.
        """
        self.keys.require_signing()
        if reserved := sorted(RESERVED_KEYS & metadata.keys()):
            raise BadRegistry(f"{name}: metadata may not contain {reserved[0]!r}, which the manifest itself sets")
        sources = list_files(files)
        if reserved := sorted(RESERVED_FILES & sources.keys()):
            raise BadRegistry(f"{name}: the file name {reserved[0]!r} is reserved")
        number, created_at = claims.claim(self.bucket, name, run_id)
        if number in self.numbers(name):
            return self._pushed_before(name, number, run_id)
        described = {file: describe_file(path) for file, path in sources.items()}
        if model_sha256 and described.get(MODEL_FILE, {}).get("sha256") != model_sha256:
            raise VerificationError(f"{name}: {MODEL_FILE} was exchanged while it was pushed")
        generated = {"name": name, "version": number, "run_id": run_id, "created_at": created_at, "files": described}
        generated["model_sha256"] = described.get(MODEL_FILE, {}).get("sha256")
        body = json_bytes(metadata | generated)
        folder = version_folder(name, number)
        for file, path in sources.items():
            self.bucket.upload(f"{folder}/{file}", path)
        # The manifest makes the version visible, so everything that a reader then needs must be there before it.
        self.bucket.put(f"{folder}/manifest.sig", self.keys.sign(body))
        self.bucket.create(f"{folder}/manifest.json", body)
        return self.version(name, number)

    def claim(self, name: str, run_id: str) -> tuple[int, str]:
        """Return the number that `push` will give a run's version, claimed now unless it was, and when that was."""
        self.keys.require_signing()
        return claims.claim(self.bucket, name, run_id)

    def version_of(self, name: str, run_id: str) -> Version | None:
        """Return the version that a run has stored; None if it has stored none."""
        number = claims.number_of(self.bucket, name, run_id)
        return self._pushed_before(name, number, run_id) if number in self.numbers(name) else None

    def promote(
        self,
        name: str,
        number: int,
        *,
        expect: int | None,
        who: str,
        why: str,
        force: bool = False,
        expected_sequence: int | None = None,
    ) -> Pointer:
        """Verify a version and put it into production in place of `expect`; raise PointerMoved if another one is there.

        Promoting the version in production changes nothing, so that a retry succeeds; any other promotion ends a
        rollout. Raises HeldModel if the model is held (`force`, which is a person's, lifts the hold), and PointerMoved
        unless the last move is still `expected_sequence`.
        """
        self.keys.require_signing()
        moves = self.moves(name)
        now = moves.pointer()
        if now and now.production == number:
            moves.record(now)
            return now
        current = now.production if now else None
        if current != expect:
            raise PointerMoved(f"{name}: production is {describe(current)}, expected {describe(expect)}")
        require_sequence(name, now, expected_sequence)
        version, _ = self.require_promotable(name, number, force=force)
        return moves.move(now, "promote", number, who, why, version=number, model_sha256=version.model_sha256)

    def require_promotable(self, name: str, number: int, *, force: bool = False) -> tuple[Version, States]:
        """Verify a version with all its files; raise NoSuchVersion if it was pruned, HeldModel if its model is held."""
        version, states = self.verify(name, number), self.states(name)
        if number in states.pruned:
            raise NoSuchVersion(f"{name}: version {number} was pruned")
        hold = states.hold(version.model_sha256)
        if hold and not force:
            raise HeldModel(version, hold)
        return version, states

    def rollback(self, name: str, *, who: str, why: str, expected_sequence: int | None = None) -> int:
        """Take back the version in production, which is held from then on, and put back the latest one that is not.

        A rollout ends. Raises NoSuchVersion if there is none, PointerMoved if someone else moves the pointer at the
        same moment, or unless the last move is still `expected_sequence`.
        """
        self.keys.require_signing()
        moves = self.moves(name)
        now = moves.pointer()
        require_sequence(name, now, expected_sequence)
        if now is None or now.production is None:
            raise NoSuchVersion(f"{name}: nothing is in production")
        states = self.states(name)
        below = states.below()
        if below is None:
            raise NoSuchVersion(
                f"{name}: no version that is not held was in production before version {now.production}"
            )
        self.verify(name, below)
        model_sha256 = states.promoted[-1][1]
        moves.move(now, "rollback", below, who, why, version=now.production, model_sha256=model_sha256)
        return below

    def hold(self, name: str, number: int, *, who: str, why: str) -> Pointer:
        """Hold the model of a version: no run promotes it, nor one with the same bytes; its rollout ends.

        Raises NoSuchVersion.
        """
        self.keys.require_signing()
        moves = self.moves(name)
        now = moves.pointer()
        version, _, _ = self.read_verified(name, number)
        if version.model_sha256 is None:
            raise BadRegistry(f"{version} has no {MODEL_FILE}, by which a model is held")
        states = self.states(name)
        if states.has_in_production(number, version.model_sha256):
            in_production = f"{version} has the model in production"
            raise BadRegistry(f"{in_production}; `updraft registry rollback {name}` takes it back and holds it")
        rollout = states.rollout
        if rollout and (rollout.version == number or states.tried_sha256 == version.model_sha256):
            rollout = None  # this version, or its twin, is no longer tried
        content = {"version": number, "model_sha256": version.model_sha256, "rollout": rollout}
        return moves.move(now, "hold", states.production, who, why, **content)

    def remove(self, name: str, *, who: str, why: str) -> Pointer:
        """End a use case: services stop to serve it. Its versions and what is held stay. Raises NoSuchVersion."""
        self.keys.require_signing()
        moves = self.moves(name)
        now = moves.pointer()
        if now is None or now.action == "remove":
            raise NoSuchVersion(f"{name}: {'removed already' if now else 'nothing was ever in production'}")
        return moves.move(now, "remove", None, who, why)

    def _pushed_before(self, name: str, number: int, run_id: str) -> Version:
        """Return the version that an earlier attempt of the run stored; claims are not signed, so look who made it."""
        version, _, _ = self.read_verified(name, number)
        if version.manifest["run_id"] != run_id:
            raise VerificationError(f"{version} is of run {version.manifest['run_id']!r}, though {run_id!r} claims it")
        return version

    def _manifest(self, name: str, number: int) -> bytes:
        answer = self.bucket.get(f"{version_folder(name, number)}/manifest.json", limit=MAX_MANIFEST)
        if answer is None:
            raise NoSuchVersion(f"{name}: there is no version {number} in {self.bucket}")
        return answer[0]

    def read_verified(self, name: str, number: int) -> tuple[Version, bytes, bytes]:
        """Read and verify a version's manifest; return the version and the bytes of manifest and signature."""
        manifest = self._manifest(name, number)
        signature = self.bucket.get(f"{version_folder(name, number)}/manifest.sig", limit=MAX_SIGNATURE)
        if signature is None:
            raise VerificationError(f"{name} version {number}: not signed (there is no manifest.sig)")
        return verified(name, number, manifest, signature[0], self.keys), manifest, signature[0]

    def _download(self, version: Version, file: str, sink: BinaryIO | None = None) -> None:
        """Stream a file, into `sink` if any; raise VerificationError unless size and sha256 match the manifest."""
        expected, digest, size = version.files[file], hashlib.sha256(), 0
        try:
            for chunk in self.bucket.stream(f"{version_folder(version.name, version.number)}/{file}"):
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

    Reads UPDRAFT_REGISTRY and UPDRAFT_MIRROR (s3://bucket/prefix; the second is optional), UPDRAFT_VERIFY_KEY and
    UPDRAFT_SIGNING_KEY (paths of PEM files; either suffices, the second is needed to push) and AWS's own variables.
    Either may be azure://account/container/prefix, and then Azure's variables are read. BadRegistry names the one that
    is missing or wrong.
    """
    bucket = open_place("UPDRAFT_REGISTRY", environ, client)
    keys = load_keys(environ)
    registry = Registry(bucket, keys)
    if mirror := open_mirror(environ, bucket, keys, client or bucket.client):
        registry.followers.append(mirror)
    return registry
