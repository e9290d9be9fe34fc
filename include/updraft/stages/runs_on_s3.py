"""A run's files on S3, for tasks on different machines: inputs are downloaded, outputs are uploaded.

A folder is uploaded file by file, and last of all its marker, with each file's sha256 and size. A folder without a
marker, or one that differs from it, is incomplete and is not used.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from updraft.errors import UserError
from updraft.registry.folder_hashes import describe_file, is_safe_name, list_files
from updraft.registry.s3 import BadRegistry, Bucket, json_bytes, split_uri
from updraft.stages.runs import BadArtifacts, IncompleteUpload, MissingFiles, RunFiles

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

MARK = "complete.json"
SCRATCH = "updraft-run-"


@contextmanager
def s3_run_files(uri: str, client: S3Client, stage: str, first: str = "ingest") -> Iterator[S3RunFiles]:
    """Yield the files of the run stored under `uri`, with a local folder that is removed at the end.

    When a UserError ends the block, what `stage` has written is uploaded without a marker, for a person to read.
    """
    try:
        bucket = Bucket(client, *split_uri(uri))
    except BadRegistry as error:
        raise BadArtifacts(f"UPDRAFT_ARTIFACTS: {error}") from None
    with tempfile.TemporaryDirectory(prefix=SCRATCH) as scratch:
        files = S3RunFiles(bucket, Path(scratch), first)
        try:
            yield files
        except UserError:
            files.upload_partial(stage)
            raise


class S3RunFiles(RunFiles):
    """A run's files stored on S3: `folder` holds what was downloaded or written on this machine."""

    def __init__(self, bucket: Bucket, folder: Path, first: str = "ingest") -> None:
        super().__init__(folder, first)
        self.bucket = bucket

    def download(self, uri: str) -> Path:
        """Download a folder that a task of this run has uploaded, or one file of it.

        Raises MissingFiles when nothing is left of it, IncompleteUpload when it is not complete, BadArtifacts when the
        URI is not one of this run.
        """
        start, place = f"{self.bucket}/", uri.removeprefix(f"{self.bucket}/")
        if not uri.startswith(start) or not is_safe_name(place):
            raise BadArtifacts(f"{uri!r}: expected something below {start}")
        above, _, name = place.rpartition("/")
        for folder, only in ((place, None), (above, name)):
            files = self.bucket.read(f"{folder}/{MARK}").get("files", {})
            if files and (only is None or only in files):
                for file in files if only is None else [only]:
                    self._fetch(f"{folder}/{file}", files[file])
                return self.folder / place
        if next(self.bucket.keys(place), None) is None and not self.bucket.get(f"{above}/{MARK}"):
            raise MissingFiles(f"{self.bucket}/{place}", self.first)
        raise IncompleteUpload(f"{self.bucket}/{place}: incomplete: no {MARK} names it")

    def upload(self, path: Path, out: Path) -> str:
        """Upload the folder `out`, replacing what an earlier try uploaded; return the URI of `path`."""
        place, files = self._place(out), list_files(out)
        self.bucket.put(f"{place}/{MARK}", json_bytes({}))
        for name, file in files.items():
            self.bucket.upload(f"{place}/{name}", file)
        described = {name: describe_file(file) for name, file in files.items()}
        self.bucket.put(f"{place}/{MARK}", json_bytes({"files": described}))
        log.info("uploaded to %s/%s/", self.bucket, place)
        return self.uri(path)

    def uri(self, path: Path) -> str:
        return f"{self.bucket}/{self._place(path)}"

    def upload_partial(self, stage: str) -> None:
        """Upload what a failed stage has written; an error of the upload is logged and not raised."""
        try:
            for path in sorted(self.out(stage).rglob("*")):
                if path.is_file():
                    self.bucket.upload(self._place(path), path)
        except Exception as error:
            log.warning("the files of %s are lost: %s", stage, error)
        else:
            log.info("the files of %s are in %s/%s/", stage, self.bucket, stage)

    def _place(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _fetch(self, place: str, expected: dict[str, Any]) -> None:
        if not is_safe_name(place):
            raise IncompleteUpload(f"{self.bucket}/{place}: its {MARK} names a file outside of its folder")
        path = self.folder / place
        if path.exists() and describe_file(path) == expected:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        try:
            with path.open("wb") as file:
                for chunk in self.bucket.stream(place):
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
        except FileNotFoundError:
            raise MissingFiles(f"{self.bucket}/{place}", self.first) from None
        if {"sha256": digest.hexdigest(), "size": size} != expected:
            raise IncompleteUpload(
                f"{self.bucket}/{place} is not the file that its task uploaded (sha256 or size differs)"
            )
