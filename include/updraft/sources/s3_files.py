"""Files of rows on S3."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from glob import has_magic
from typing import TYPE_CHECKING, Any

from updraft.addresses import S3_VARIABLE, Address, Connections
from updraft.registry.s3 import s3_client
from updraft.sources.format import LocalFile
from updraft.sources.found_files import CHANGED, FoundFile, chosen, fixed_part
from updraft.sources.scratch import download, scratch_file
from updraft.sources.source import BadSource

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DEFAULT = "aws_default"
PIECE = 1 << 20
LOGIN_REFUSED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AuthFailure"}
MISSING = {"NoSuchKey", "NoSuchBucket", "404"}
URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.S)


class S3File:
    """An object on S3 with the ETag that it had when it was listed."""

    def __init__(self, client: S3Client, bucket: str, entry: Any, label: str) -> None:
        self._client, self._bucket, self._key, self._etag = client, bucket, entry["Key"], entry["ETag"]
        self.name, self.label = f"s3://{bucket}/{self._key}", label
        self.size: int | None = entry["Size"]
        self._sha256 = ""

    @contextmanager
    def local(self) -> Iterator[LocalFile]:
        with scratch_file() as (file, path):
            with translated(f"file {self.name!r}"):
                self._sha256 = download(f"file {self.name!r}", self._fetch, lambda: self.size, file)
            yield LocalFile(path, self.name, self._key)

    def require_unchanged(self) -> None:
        """Each piece of the copy is of the ETag that was listed."""

    def describe(self) -> dict[str, Any]:
        return {"path": self.name, "sha256": self._sha256, "size": self.size, "etag": self._etag.strip('"')}

    def _fetch(self, start: int) -> tuple[int, Iterator[bytes]]:
        where: Any = {"Range": f"bytes={start}-"} if start else {}
        with translated(f"file {self.name!r}"):
            found = self._client.get_object(Bucket=self._bucket, Key=self._key, IfMatch=self._etag, **where)
        if found["ETag"] != self._etag:  # a server that ignores If-Match
            raise BadSource(f"file {self.name!r}: {CHANGED}")
        return start, self._pieces(found["Body"])

    def _pieces(self, body: Any) -> Iterator[bytes]:
        with translated(f"file {self.name!r}"), closing(body):
            yield from body.iter_chunks(PIECE)


def s3_files(uri: str, connection: str | None, connections: Connections) -> list[FoundFile]:
    """Find the objects that an s3:// URI names: one, those in it as in a folder, or those that match it, by key."""
    named = URI.fullmatch(uri)
    if not named:
        raise BadSource(f"file {uri!r}: expected s3://bucket/key, a folder or a pattern")
    bucket, key = named[1], named[2] or ""
    client = client_of(connections(connection or DEFAULT, S3_VARIABLE))
    with translated(f"file {uri!r}"):
        if key and not key.endswith("/") and (entry := _entry(client, bucket, key)):
            return [S3File(client, bucket, entry, key.rpartition("/")[2])]
        prefix = fixed_part(key) if has_magic(key) else f"{key.rstrip('/')}/".lstrip("/")
        entries = list(_list(client, bucket, prefix, key))
    if not entries and not has_magic(key):
        raise BadSource(f"file {uri!r}: no such key, and no files below it")

    def found(entry: Any, label: str) -> FoundFile:
        return S3File(client, bucket, entry, label)

    return chosen(uri, entries, lambda entry: entry["Key"].removeprefix(prefix), found)


def client_of(address: Address) -> S3Client:
    """Return the client of an Airflow connection, or one by boto3's own environment."""
    client: S3Client | None = address.options.get("client")
    return client or s3_client(address.options.get("environ", os.environ))


def _entry(client: S3Client, bucket: str, key: str) -> dict[str, Any] | None:
    """Look at one object; None where there is none. A GET, as the answer to a HEAD cannot say what is wrong."""
    from botocore.exceptions import ClientError

    try:
        found = client.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None
        raise
    found["Body"].close()
    return {"Key": key, "ETag": found["ETag"], "Size": found["ContentLength"]}


def _list(client: S3Client, bucket: str, prefix: str, key: str) -> Iterator[Any]:
    """List what is in a folder, or what matches a pattern."""
    delimiter = "" if "/" in key[len(prefix) :] and has_magic(key) else "/"  # a folder's name may have wildcards
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter=delimiter):
        for entry in page.get("Contents", []):
            if not entry["Key"].endswith("/") and (not has_magic(key) or _matches(entry["Key"], key)):
                yield entry


def _matches(key: str, pattern: str) -> bool:
    """Whether a key matches a pattern, whose wildcards match no slash."""
    names, parts = key.split("/"), pattern.split("/")
    return len(names) == len(parts) and all(map(fnmatch.fnmatchcase, names, parts))


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn boto3's errors into one line each: BadSource where trying again is no use, else ConnectionError."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError, NoCredentialsError
    from botocore.exceptions import ConnectionError as NotConnected

    try:
        yield
    except ClientError as error:
        code = str(error.response["Error"]["Code"])
        if code in LOGIN_REFUSED:
            raise BadSource(f"{place}: S3 refuses the login ({code})") from None
        if code in MISSING:
            raise BadSource(f"{place}: no such {'bucket' if code == 'NoSuchBucket' else 'key'}") from None
        if code in ("PreconditionFailed", "412"):
            raise BadSource(f"{place}: {CHANGED}") from None
        if code in ("AccessDenied", "403", "AllAccessDisabled"):
            raise BadSource(f"{place}: access denied, or there is no such key and keys may not be listed") from None
        raise ConnectionError(f"{place}: S3 says {code}") from None
    except NoCredentialsError:
        raise BadSource(f"{place}: no login for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from None
    except (HTTPClientError, NotConnected, IncompleteReadError) as error:
        raise ConnectionError(f"{place}: S3 does not answer ({type(error).__name__})") from None
    except BotoCoreError as error:
        raise BadSource(f"{place}: {' '.join(str(error).split())}") from None
