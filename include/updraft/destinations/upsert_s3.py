"""Load rows as one object on S3, which is named by its content: the same rows are the same object."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from updraft.addresses import S3_VARIABLE, Connections
from updraft.destinations.keyed_rows import Cleaned
from updraft.registry.folder_hashes import sha256
from updraft.registry.s3 import split_uri
from updraft.sources.s3_files import client_of, translated
from updraft.usecase.load_blocks import S3Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

WRITTEN_MEANWHILE = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")


@contextmanager
def open_s3(settings: S3Store, connections: Connections, cleaned: Cleaned) -> Iterator[S3Object]:
    """Open the place of the rows' object: `<uri>/<sha256 of the JSON lines>.jsonl` or `.parquet`."""
    client = client_of(connections(settings.connection, S3_VARIABLE))
    file = cleaned.json_lines if settings.format == "jsonl" else cleaned.parquet
    # Other versions of a library may write the same rows into another Parquet file; JSON lines are always the same.
    name = f"{sha256(cleaned.json_lines)}.{settings.format}"
    bucket, prefix = split_uri(settings.uri)
    yield S3Object(client, bucket, f"{prefix}/{name}".lstrip("/"), file)


class S3Object:
    """An object with all rows; it is there, with each of them, or it is not."""

    def __init__(self, client: S3Client, bucket: str, key: str, file: Path) -> None:
        self._client, self._bucket, self._key, self._file = client, bucket, key, file
        self.name = f"s3://{bucket}/{key}"
        with translated(self.name):
            self.exists = self._exists()

    def write_all(self) -> None:
        from botocore.exceptions import ClientError

        with translated(self.name), self._file.open("rb") as body:
            try:
                self._client.put_object(Bucket=self._bucket, Key=self._key, Body=body, IfNoneMatch="*")
            except ClientError as error:
                if error.response["Error"]["Code"] not in WRITTEN_MEANWHILE:
                    raise

    def _exists(self) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._client.head_object(Bucket=self._bucket, Key=self._key)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                return False
            raise
        return True
