"""Datasets on S3, in the layout of a DVC remote, with a signed manifest for each.

    <use case>/manifests/000012.json         signed; created once, in order: the newest with a position is the last one
    <use case>/files/md5/ab/cdef…            the file, by its content: datasets with the same rows are stored once

`<use case>` is a DVC remote: `dvc remote add` takes its URI. A manifest is written after its file, so a dataset exists
whole or not at all, and only the manifest moves the position of the next read.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from updraft.datasets.manifest import Description, Manifest
from updraft.errors import UserError
from updraft.registry.keys_in_use import UNKNOWN
from updraft.registry.s3 import NAME, BadRegistry, Bucket, VerificationError, key_for, s3_client, split_uri
from updraft.registry.signed_json import parse, reseal, seal, signer, unseal
from updraft.registry.signing_keys import Keys, load_keys

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

VARIABLE = "UPDRAFT_DATASETS"
DIGITS = 6
FRESH = timedelta(days=1)  # a file that was written since may be of a run that has yet to write its manifest


class NoSuchDataset(UserError, LookupError):
    """A dataset is not in the store, or no longer."""


class DatasetMoved(UserError):
    """Another run has kept a dataset since this one read the last: its rows would be read twice, or lost."""


class Datasets:
    """The datasets of all use cases under one prefix of a bucket."""

    def __init__(self, bucket: Bucket, keys: Keys) -> None:
        self.bucket, self.keys = bucket, keys

    def numbers(self, name: str) -> list[int]:
        """List the numbers of a use case's datasets, oldest first."""
        keys = self.bucket.keys(key_for(name, "manifests/"))
        return sorted(int(match[1]) for key in keys if (match := re.fullmatch(r"([0-9]{6,9})\.json", key)))

    def manifest(self, name: str, number: int) -> Manifest:
        """Read a manifest, verified. Raises NoSuchDataset, VerificationError."""
        key = manifest_key(name, number)
        place = f"{self.bucket}/{key}"
        answer = self.bucket.get(key)
        if answer is None:
            raise NoSuchDataset(f"{name}: there is no dataset {number} in {self.bucket}")
        manifest = parse(Manifest, unseal(answer[0], self.keys, place, "dataset"), place)
        if (manifest.name, manifest.number) != (name, number):
            raise VerificationError(f"{place} is a copy of {manifest.name} dataset {manifest.number}")
        return manifest

    def manifests(self, name: str) -> list[Manifest]:
        """Read all manifests of a use case, oldest first; see `manifest`."""
        return [self.manifest(name, number) for number in self.numbers(name)]

    def names(self) -> list[str]:
        """List the use cases that have a dataset."""
        return [name for name in self.bucket.folders("") if NAME.fullmatch(name) and self.numbers(name)]

    def sign(self, name: str) -> int:
        """Sign a use case's manifests, verified, with the signing key, to rotate it; return how many there are."""
        self.keys.require_signing()
        for manifest in (manifests := self.manifests(name)):
            reseal(self.bucket, manifest_key(name, manifest.number), self.keys, "dataset")
        return len(manifests)

    def signers(self, name: str) -> Counter[str]:
        """Count a use case's manifests by the id of the key that signed them; those of no key here as UNKNOWN."""
        bodies = (self.bucket.get(manifest_key(name, number)) for number in self.numbers(name))
        return Counter(signer(body[0], self.keys, name, "dataset") or UNKNOWN for body in bodies if body)

    def last(self, name: str) -> Manifest | None:
        """Return the newest dataset that has a position, from which an incremental read goes on; None without one."""
        for number in reversed(self.numbers(name)):
            manifest = self.manifest(name, number)
            if manifest.position:
                return manifest
        return None

    def keep(self, dataset: Path, description: Description, run: Mapping[str, str]) -> Manifest:
        """Store a validated dataset; `run` has the use case's `name`, the `run_id` and the `suite_sha256`.

        A retry of the same run finds what its first try stored. Raises DatasetMoved when the dataset has a position and
        is not based on the last one.
        """
        name = run["name"]
        self.keys.require_signing()
        self.bucket.create_if_missing()
        while True:
            numbers = self.numbers(name)
            last = self.last(name) if description.position else self._newest(name, numbers)
            if last and last.run_id == run["run_id"] and last.describes_same(description):
                return last
            if description.position:
                _require_base(name, description.base, last)
            self._upload(name, dataset, description)
            number = (numbers[-1] if numbers else 0) + 1
            created_at = datetime.now(UTC).isoformat(timespec="seconds")
            content = {**description.model_dump(), **run, "number": number, "created_at": created_at}
            body = seal(content, self.keys, "dataset")
            if self.bucket.create(manifest_key(name, number), body) or self._is_ours(name, number, body):
                return self.manifest(name, number)

    def fetch(self, name: str, md5: str, sha256: str, into: Path) -> Path:
        """Download a dataset's file to the path `into`, verified. Raises NoSuchDataset, VerificationError."""
        key = file_key(name, md5)
        digest = hashlib.sha256()
        draft = into.with_name(f".{into.name}.part")
        try:
            with draft.open("wb") as file:
                for chunk in self.bucket.stream(key):
                    file.write(chunk)
                    digest.update(chunk)
            if digest.hexdigest() != sha256:
                raise VerificationError(f"{self.bucket}/{key} is not the dataset that was kept (its sha256 differs)")
            return draft.replace(into)
        except FileNotFoundError:
            raise NoSuchDataset(f"{name}: its dataset is no longer at {self.bucket}/{key}") from None
        finally:
            draft.unlink(missing_ok=True)

    def _newest(self, name: str, numbers: list[int]) -> Manifest | None:
        return self.manifest(name, numbers[-1]) if numbers else None

    def _upload(self, name: str, dataset: Path, description: Description) -> None:
        """Upload the file unless it is there, and was not there for so long that it may be pruned meanwhile."""
        key = file_key(name, description.md5)
        folder, _, rest = key.rpartition("/")
        for found, size, written in self.bucket.objects(f"{folder}/"):
            if (found, size) == (rest, description.size) and datetime.now(UTC) - written < FRESH / 2:
                return
        self.bucket.upload(key, dataset)

    def _is_ours(self, name: str, number: int, body: bytes) -> bool:
        """Whether a lost answer hid that our own manifest was created."""
        answer = self.bucket.get(manifest_key(name, number))
        return answer is not None and answer[0] == body


def open_datasets(environ: Mapping[str, str], client: S3Client | None = None) -> Datasets | None:
    """Open the store that UPDRAFT_DATASETS names (s3://bucket/prefix), None without it; contacts nothing."""
    uri = environ.get(VARIABLE)
    if not uri:
        return None
    try:
        bucket = Bucket(client or s3_client(environ), *split_uri(uri))
    except BadRegistry as error:
        raise BadRegistry(f"{VARIABLE}: {error}") from None
    return Datasets(bucket, load_keys(environ))


def _require_base(name: str, base: int | None, last: Manifest | None) -> None:
    number = last.number if last else None
    if number != base:
        raise DatasetMoved(
            f"{name}: dataset {number} was kept since this run read its rows, which it adds to {base or 'none'}; "
            "clear the run from `ingest`"
        )


def manifest_key(name: str, number: int) -> str:
    """Return the key of a dataset's manifest."""
    return key_for(name, f"manifests/{number:0{DIGITS}}.json")


def files_key(name: str) -> str:
    """Return the folder of a use case's files; each is called by its md5, with a slash after two digits."""
    return key_for(name, "files/md5/")


def file_key(name: str, md5: str) -> str:
    """Return the key of a dataset's file."""
    return f"{files_key(name)}{md5[:2]}/{md5[2:]}"
