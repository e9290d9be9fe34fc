"""A version and its manifest, signed as the bytes that it is; `manifest.sig` lies beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, ValidationError

from updraft.registry.folder_hashes import is_safe_name
from updraft.registry.moves import Number, Sha256
from updraft.registry.s3 import VerificationError, parse_json
from updraft.registry.signed_json import Schema, parse
from updraft.registry.signing_keys import Keys

MODEL_FILE = "model.joblib"
FORMAT = 1  # of a manifest that says none; a later one is of an Updraft whose versions this one cannot serve
MAX_MANIFEST, MAX_SIGNATURE = 4 << 20, 1 << 10  # bytes


class File(Schema):
    """A file's sha256 and its size in bytes."""

    sha256: Sha256
    size: Annotated[int, Field(ge=0)]


class Manifest(Schema):
    """What every manifest has beside the metadata passed to `push`."""

    name: str
    version: Number
    run_id: str
    created_at: str
    files: Annotated[dict[str, File], Field(min_length=1)]
    model_sha256: Sha256 | None = None


@dataclass(frozen=True)
class Version:
    """A version and its manifest: name, version, run_id, created_at, files, and the metadata passed to `push`."""

    name: str
    number: int
    manifest: dict[str, Any]

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """Sha256 and size of each file, by name; those alone whose entry is one. A later Updraft may say more there."""
        files = self.manifest.get("files")
        entries = files.items() if isinstance(files, dict) else ()
        return {file: {key: entry[key] for key in File.model_fields} for file, entry in entries if _is_file(entry)}

    @property
    def size(self) -> int:
        """Total size of the files in bytes."""
        return sum(file["size"] for file in self.files.values())

    @property
    def model_sha256(self) -> str | None:
        """The sha256 of the model's file; None where there is none. The same bytes are the same model."""
        return self.files.get(MODEL_FILE, {}).get("sha256")

    def __str__(self) -> str:
        return f"{self.name} version {self.number}"


def verified(name: str, number: int, manifest: bytes, signature: bytes, keys: Keys) -> Version:
    """Verify the signature, and only then parse the manifest and check name, number and file names."""
    place = f"{name} version {number}"
    if not keys.verifies(manifest, signature.strip()):
        raise VerificationError(f"{place}: the manifest was altered or signed with another key")
    content = parse_json(manifest, f"{place}: the manifest")
    if isinstance(content.get("format"), int) and content["format"] > FORMAT:
        later = f"has format {content['format']}, of a later Updraft; this one reads {FORMAT}: update it"
        raise VerificationError(f"{place}: the manifest {later}")
    checked = parse(Manifest, content, f"{place}: the manifest")
    if (checked.name, checked.version) != (name, number):  # a signed manifest that was copied from another version
        raise VerificationError(f"{place}: the manifest is that of {checked.name} version {checked.version}")
    for file in checked.files:
        if not is_safe_name(file):
            raise VerificationError(f"{place}: the manifest names {file!r}, which is not a safe file name")
    return Version(name, number, content)


def _is_file(entry: object) -> bool:
    try:
        File.model_validate(entry)
    except ValidationError:
        return False
    return True
