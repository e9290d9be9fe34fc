"""A version in a folder of this machine: written atomically, and read so that what was verified is what is used."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from updraft.registry.folder_hashes import open_file, read_verified, replace_folder
from updraft.registry.manifest import MAX_MANIFEST, MAX_SIGNATURE, Version, verified
from updraft.registry.s3 import VerificationError
from updraft.registry.signing_keys import Keys

Download = Callable[[str, BinaryIO], object]  # writes a file's verified content


def write_folder(into: Path, files: dict[str, dict[str, Any]], seals: dict[str, bytes], download: Download) -> None:
    """Write a version's files and the contents of manifest and signature to `into`, all of them or none."""
    into.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{into.name}-", dir=into.parent))
    try:
        for file in files:
            (fresh / file).parent.mkdir(parents=True, exist_ok=True)
            with (fresh / file).open("xb") as sink:
                download(file, sink)
        for file, content in seals.items():
            (fresh / file).write_bytes(content)
        replace_folder(fresh, into, files, seals)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


class VerifiedFiles(Mapping[str, bytes]):
    """The contents of a version's files, each read and verified when it is asked for, and not kept.

    Raises VerificationError for a file that is not the one that was signed.
    """

    def __init__(self, version: Version, folder: Path, files: Iterable[str]) -> None:
        self._version, self._folder = version, folder
        self._names = [file for file in files if file in version.files]

    def __getitem__(self, file: str) -> bytes:
        if file not in self._names:
            raise KeyError(file)
        content = read_verified(self._folder, file, self._version.files[file])
        if content is None:
            raise VerificationError(f"{self._version}: {file!r} in this folder is not the one that was signed")
        return content

    def __contains__(self, file: object) -> bool:
        return file in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def open_folder(
    name: str, number: int, folder: Path, files: Iterable[str], keys: Keys
) -> tuple[Version, VerifiedFiles]:
    """Verify the manifest of a version in a folder that `write_folder` wrote, and give access to those of `files`.

    Files that the version does not have are left out. Raises VerificationError.
    """
    try:
        with open_file(folder / "manifest.json") as manifest, open_file(folder / "manifest.sig") as signature:
            signed = manifest.read(MAX_MANIFEST), signature.read(MAX_SIGNATURE)
    except OSError:
        raise VerificationError(f"{name} version {number}: no signed manifest in this folder") from None
    version = verified(name, number, *signed, keys)
    return version, VerifiedFiles(version, folder, files)
