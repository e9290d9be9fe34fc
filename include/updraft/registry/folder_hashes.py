"""Describe a folder's files by name, sha256 and size, and replace a folder atomically."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from contextlib import suppress
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any

from updraft.registry.s3 import BadRegistry

ATTEMPTS = 5  # each fails only when another process replaced the folder in between


def list_files(folder: Path) -> dict[str, Path]:
    """Return the files below `folder` by relative name; raise BadRegistry if there is none or a name is unsafe."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    if not files:
        raise BadRegistry(f"no files in {str(folder)!r}")
    for name in files:
        if not is_safe_name(name):
            raise BadRegistry(f"{name!r} in {str(folder)!r} is not a safe file name")
    return files


def is_safe_name(name: str) -> bool:
    """Whether a relative file name stays inside any folder that it is joined to; it may come from a manifest."""
    path = PurePosixPath(name)
    inside = bool(path.parts) and not path.is_absolute() and ".." not in path.parts
    return inside and name == path.as_posix() and "\\" not in name and name.isprintable()


def describe_file(path: Path) -> dict[str, Any]:
    """Return a file's sha256 and size."""
    return {"sha256": sha256(path), "size": path.stat().st_size}


def sha256(path: Path) -> str:
    """Return a file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_file(path: Path) -> BufferedReader:
    """Open a regular file, and nothing else: no link, and no FIFO, which would wait for a writer. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_verified(folder: Path, name: str, expected: dict[str, Any]) -> bytes | None:
    """Read a file once, and return its content; None unless it has the expected sha256 and size.

    What is verified is what is returned: the file may be exchanged at any moment, so it is not opened a second time.
    """
    try:
        with open_file(folder / name) as file:
            content = file.read(expected["size"] + 1)
    except OSError:
        return None
    described = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    return content if described == expected else None


def matches_manifest(folder: Path, files: dict[str, dict[str, Any]], seals: dict[str, bytes]) -> bool:
    """Whether `folder` contains these contents of manifest.json and manifest.sig and exactly these files, unaltered."""
    try:
        present = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
        if present.keys() != files.keys() | seals.keys():
            return False
        for name, content in seals.items():
            with open_file(present[name]) as file:
                if file.read(len(content) + 1) != content:
                    return False
        return all(_describe(present[name]) == expected for name, expected in files.items())
    except OSError:  # another process is replacing the folder, or something in it is no file
        return False


def _describe(path: Path) -> dict[str, Any]:
    with open_file(path) as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": os.fstat(file.fileno()).st_size}


def replace_folder(fresh: Path, into: Path, files: dict[str, dict[str, Any]], seals: dict[str, bytes]) -> None:
    """Replace the folder `into` with `fresh`; safe when several processes do so at once.

    A folder that is not empty cannot be renamed over. The old one is therefore renamed away first, so that readers see
    all of it or none, and deleted last.
    """
    for attempt in range(ATTEMPTS):
        try:
            fresh.rename(into)
            return
        except OSError:
            if matches_manifest(into, files, seals):
                return
            if attempt == ATTEMPTS - 1:
                raise
        old = fresh.with_name(f"{fresh.name}.old")
        with suppress(FileNotFoundError):
            into.rename(old)
        shutil.rmtree(old, ignore_errors=True)
