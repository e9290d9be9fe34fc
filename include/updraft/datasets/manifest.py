"""What a dataset's manifest says: where its rows came from, how many there are, and the hashes of its file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from updraft.registry.moves import Number, Sha256
from updraft.registry.s3 import json_bytes
from updraft.registry.signed_json import Schema
from updraft.usecase.rows_definition import RowsDefinition

DATASET, MANIFEST = "dataset.parquet", "dataset.json"  # the manifest lies beside its dataset
CHUNK = 1 << 20

Count = Annotated[int, Field(ge=0)]


class Description(Schema):
    """A dataset, as `ingest` describes it.

    `source` is what the source says of itself (`Source.provenance`), `position` where the next read of it begins, None
    where each read takes all rows. `base` is the number of the dataset that was the last with a position meanwhile;
    `new_rows` were read by this run, and `replaced` rows gave way to a later one with the same id.
    `reading_sha256` is that of all that decides what is read: rows that were read by other rules are not added to.
    """

    source: dict[str, Any]
    position: dict[str, Any] | None
    base: Number | None
    rows: Count
    new_rows: Count
    replaced: Count
    quarantined: Count
    md5: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    sha256: Sha256
    size: Count
    reading_sha256: Sha256
    configuration_sha256: str


class Manifest(Description):
    """A dataset that was validated, by the suite with this hash, and kept under its number."""

    name: str
    number: Number
    suite_sha256: Sha256
    run_id: str
    created_at: str

    def describes_same(self, other: Description) -> bool:
        """Whether another description is of the same rows, read up to the same position."""
        return (self.sha256, self.position) == (other.sha256, other.position)


def hashes(path: Path) -> dict[str, Any]:
    """Return a file's md5, by which DVC names it, its sha256, by which we verify it, and its size in bytes."""
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            md5.update(chunk)
            sha256.update(chunk)
            size += len(chunk)
    return {"md5": md5.hexdigest(), "sha256": sha256.hexdigest(), "size": size}


def reading_sha256(case: RowsDefinition) -> str:
    """Hash what decides which rows are read, and as what: the source, the reading rules, the columns and the id."""
    columns = [[column.name, column.type, column.nullable] for column in case.columns]
    rules = {"source": case.source.model_dump(mode="json"), "read": case.read.model_dump(mode="json")}
    return hashlib.sha256(json_bytes(rules | {"columns": columns, "id": case.id})).hexdigest()


def dvc_file(md5: str, size: int) -> str:
    """Return the `.dvc` file by which `dvc pull` fetches a dataset."""
    return f"outs:\n- md5: {md5}\n  size: {size}\n  hash: md5\n  path: {DATASET}\n"
