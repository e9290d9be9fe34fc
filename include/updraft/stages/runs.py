"""Runs: what names one, and where its files lie: `<artifacts>/<use case>/<run id>/<stage>/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from updraft.defaults import ROOT
from updraft.errors import UserError


class BadArtifacts(UserError):
    """UPDRAFT_ARTIFACTS, or a URI that a task passed on, names no folder that this machine has."""


class Files:
    """A run's files, in a folder of this machine; `kept.Kept` are those that S3 keeps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def at(self, place: str) -> Path:
        """Return what an earlier stage has made, by its path in the run's folder."""
        return self.folder / place

    def bring(self, uri: str) -> Path:
        """Return what a URI names, as an earlier task passed it on."""
        return local(uri)

    def send(self, path: Path, out: Path) -> str:
        """Hand over what this task has written to the folder `out`; give the URI of `path`, to pass on."""
        return path.as_uri()


@dataclass(frozen=True)
class Run:
    """One run: its id, its files, who started it and where people see it."""

    id: str
    files: Files
    who: str
    url: str | None = None

    @property
    def folder(self) -> Path:
        return self.files.folder


def artifacts(environ: Mapping[str, str]) -> Path:
    """Return the folder that the files of all runs lie under."""
    told = environ.get("UPDRAFT_ARTIFACTS") or str(ROOT / ".updraft" / "artifacts")
    return local(told) if "://" in told else Path(told).absolute()


def folder_of(root: Path, name: str, run_id: str) -> Path:
    """Return a run's folder; BadArtifacts when the run id would lead out of it."""
    if Path(run_id).name != run_id or run_id in (".", ".."):
        raise BadArtifacts(f"run id {run_id!r}: expected one that can name a folder")
    return root / name / run_id


def local(uri: str) -> Path:
    """Turn a file URI, as tasks pass it on, into a path."""
    parts = urlsplit(uri)
    if parts.scheme != "file":
        raise BadArtifacts(f"{uri!r}: expected a folder or a file:// URI")
    return Path(url2pathname(parts.path))
