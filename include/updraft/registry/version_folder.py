"""A version in a folder of this machine: written atomically, and read so that what was verified is what is used."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable
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


def read_folder(
    name: str, number: int, folder: Path, files: Iterable[str], keys: Keys
) -> tuple[Version, dict[str, bytes]]:
    """Read a version and the contents of `files` from a folder that `write_folder` wrote, each once, verified.

    Files that the version does not have are left out. Raises VerificationError.
    """
    try:
        with open_file(folder / "manifest.json") as manifest, open_file(folder / "manifest.sig") as signature:
            signed = manifest.read(MAX_MANIFEST), signature.read(MAX_SIGNATURE)
    except OSError:
        raise VerificationError(f"{name} version {number}: no signed manifest in this folder") from None
    version = verified(name, number, *signed, keys)
    contents = {}
    for file in files:
        if file in version.files:
            content = read_verified(folder, file, version.files[file])
            if content is None:
                raise VerificationError(f"{version}: {file!r} in this folder is not the one that was signed")
            contents[file] = content
    return version, contents
