"""Keep a run's files on S3, for tasks on different machines: inputs are brought down, what was made is sent up.

A folder is sent up file by file, and last of all its mark, with each file's sha256 and size. What has no mark, or is
not as the mark says, is not whole and is not used.
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
from updraft.stages.runs import BadArtifacts, Files

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

MARK = "complete.json"
SCRATCH = "updraft-run-"


class HalfSent(OSError):
    """What S3 has of a folder is not what its task has made; the task may still be sending, or was cut short."""


@contextmanager
def kept(uri: str, client: S3Client, stage: str) -> Iterator[Kept]:
    """Give the files of the run that S3 keeps under `uri`, in a folder that is removed in the end.

    When a UserError ends the block, what `stage` has written goes up all the same, without a mark: a person reads it.
    """
    try:
        bucket = Bucket(client, *split_uri(uri))
    except BadRegistry as error:
        raise BadArtifacts(f"UPDRAFT_ARTIFACTS: {error}") from None
    with tempfile.TemporaryDirectory(prefix=SCRATCH) as scratch:
        files = Kept(bucket, Path(scratch))
        try:
            yield files
        except UserError:
            files.leave(stage)
            raise


class Kept(Files):
    """A run's files that S3 keeps: `folder` holds what was brought down or made here."""

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        super().__init__(folder)
        self.bucket = bucket

    def at(self, place: str) -> Path:
        """Bring down a folder that a task has sent, or one file of it, by its path in the run's folder.

        Raises HalfSent when it is not whole.
        """
        above, _, name = place.rpartition("/")
        for folder, only in ((place, None), (above, name)):
            files = self.bucket.read(f"{folder}/{MARK}").get("files", {})
            if files and (only is None or only in files):
                for each in files if only is None else [only]:
                    self._fetch(f"{folder}/{each}", files[each])
                return self.folder / place
        raise HalfSent(f"{self.bucket}/{place}: not there, or not whole: there is no {MARK} that tells of it")

    def bring(self, uri: str) -> Path:
        """Bring down what a URI of this run names."""
        start, place = f"{self.bucket}/", uri.removeprefix(f"{self.bucket}/")
        if not uri.startswith(start) or not is_safe_name(place):
            raise BadArtifacts(f"{uri!r}: expected something below {start}")
        return self.at(place)

    def send(self, path: Path, out: Path) -> str:
        """Send the folder `out` up, in place of what an earlier try has sent; give the URI of `path`."""
        place, files = self._place(out), list_files(out)
        self.bucket.put(f"{place}/{MARK}", json_bytes({}))
        for name, each in files.items():
            self.bucket.upload(f"{place}/{name}", each)
        told = {name: describe_file(each) for name, each in files.items()}
        self.bucket.put(f"{place}/{MARK}", json_bytes({"files": told}))
        log.info("kept in %s/%s/", self.bucket, place)
        return f"{self.bucket}/{self._place(path)}"

    def leave(self, stage: str) -> None:
        """Send up what a stage that failed has written; where that fails, too, the log says so and no more."""
        try:
            for path in sorted((self.folder / stage).rglob("*")):
                if path.is_file():
                    self.bucket.upload(self._place(path), path)
        except Exception as error:
            log.warning("what %s has written is lost: %s", stage, error)
        else:
            log.info("what it has written lies in %s/%s/", self.bucket, stage)

    def _place(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _fetch(self, place: str, told: dict[str, Any]) -> None:
        if not is_safe_name(place):
            raise HalfSent(f"{self.bucket}/{place}: its {MARK} names a file outside of its folder")
        path = self.folder / place
        if path.exists() and describe_file(path) == told:
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
            raise HalfSent(f"{self.bucket}/{place} is missing") from None
        if {"sha256": digest.hexdigest(), "size": size} != told:
            raise HalfSent(f"{self.bucket}/{place} is not the file that its task has sent (sha256 or size differs)")
