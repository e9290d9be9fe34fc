"""Runs: their ids, their stages, and where their files are: `<artifacts>/<use case>/<run id>/<stage>/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit
from urllib.request import url2pathname

from updraft.defaults import ROOT
from updraft.errors import UserError

Stage = Literal["ingest", "validate", "transform", "train", "evaluate", "push"]  # its task id and folder, too
SPLIT = "split"  # the key of the XCom of `transform` with the split's URI; what it returns is where models go
STAGES: tuple[Stage, ...] = get_args(Stage)


class BadArtifacts(UserError):
    """UPDRAFT_ARTIFACTS, or a URI from another task, is not a folder of this machine."""


class MissingFiles(UserError):
    """What an earlier stage of the run wrote is gone; only a person can have it written again, from `first` on."""

    def __init__(self, place: object, first: str = "ingest") -> None:
        super().__init__(f"{place} is gone; clear the run from `{first}`")


class IncompleteUpload(OSError):
    """A folder on S3 is not what its task wrote; the task may still be uploading, or was cut short."""


class RunFiles:
    """A run's files in a folder of this machine; `runs_on_s3.S3RunFiles` are on S3. `first` is its first stage."""

    def __init__(self, folder: Path, first: str = "ingest") -> None:
        self.folder, self.first = folder, first

    def out(self, stage: str) -> Path:
        """Return the folder that a stage writes to."""
        return self.folder / stage

    def download(self, uri: str) -> Path:
        """Return the local path of another task's output; raise MissingFiles when it is gone."""
        path = local(uri)
        if not path.exists():
            raise MissingFiles(path, self.first)
        return path

    def upload(self, path: Path, out: Path) -> str:
        """Make the folder `out` available to other tasks; return the URI of `path`, which is in it or an input."""
        return self.uri(path)

    def uri(self, path: Path) -> str:
        """Return the URI by which other tasks download a path below `folder`."""
        return path.as_uri()


@dataclass(frozen=True)
class Run:
    """One run: its id, its files, who started it, the URL of its page in Airflow, and why the monitor asked for it."""

    id: str
    files: RunFiles
    who: str
    url: str | None = None
    cause: Mapping[str, Any] | None = None


def artifacts(environ: Mapping[str, str]) -> Path:
    """Return the folder that holds the files of all runs."""
    folder = environ.get("UPDRAFT_ARTIFACTS") or str(ROOT / ".updraft" / "artifacts")
    return local(folder) if "://" in folder else Path(folder).absolute()


def folder_of(root: Path, name: str, run_id: str) -> Path:
    """Return a run's folder; BadArtifacts when the run id would lead out of it."""
    if Path(run_id).name != run_id or run_id in (".", ".."):
        raise BadArtifacts(f"run id {run_id!r}: expected one that can name a folder")
    return root / name / run_id


def local(uri: str) -> Path:
    """Return the path of a file:// URI."""
    parts = urlsplit(uri)
    if parts.scheme != "file":
        raise BadArtifacts(f"{uri!r}: expected a folder or a file:// URI")
    return Path(url2pathname(parts.path))
