"""The few S3 operations that the registry needs, conditional writes above all, under one prefix of one bucket."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from botocore.exceptions import ClientError

from updraft.errors import UserError

if TYPE_CHECKING:
    from botocore.config import Config
    from mypy_boto3_s3 import S3Client

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
ENDPOINT = re.compile(r"https?://[^/\s@?#]+/?")
EXPECTED_ENDPOINT = "expected a URL such as http://127.0.0.1:8333, without a login or a path"
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
CHUNK = 1 << 20
DEEPEST = 50
SMALL = 64 << 10  # bytes of an object that is not a file of a version


class BadRegistry(UserError, ValueError):
    """A variable, name or folder that the registry cannot use; the message names it and says what was expected."""


class VerificationError(UserError):
    """An object that is not believed: unsigned, altered, too large, in the wrong place, or nothing that we write."""


def key_for(name: str, path: str) -> str:
    """Return the key of a use case's object; validates the name, which may be user input."""
    if not NAME.fullmatch(name):
        raise BadRegistry(f"{name!r} is not a use case: expected lower case letters, digits and _, a letter first")
    return f"{name}/{path}"


def split_uri(uri: str) -> tuple[str, str]:
    """Split s3://bucket/some/prefix into bucket and prefix; the prefix may be empty."""
    scheme, _, rest = uri.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not BUCKET.fullmatch(bucket):
        raise BadRegistry(f"{uri!r} is not s3://bucket or s3://bucket/prefix")
    return bucket, prefix.strip("/")


def client_config(environ: Mapping[str, str]) -> Config:
    """Return an S3 client's settings: few attempts, and path-style addresses where AWS_ENDPOINT_URL_S3 is set.

    Servers other than AWS rarely have a host name per bucket.
    """
    from botocore.config import Config

    addressing: Any = {"addressing_style": "path"} if environ.get("AWS_ENDPOINT_URL_S3") else None
    return Config(s3=addressing, connect_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})


def s3_client(environ: Mapping[str, str]) -> S3Client:
    """Create a client from AWS's own variables in `environ`; botocore finds the rest itself (instance role, …).

    Contacts nothing.
    """
    from updraft.registry.s3_session import session

    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or None
    if endpoint and not ENDPOINT.fullmatch(endpoint):
        raise BadRegistry(f"AWS_ENDPOINT_URL_S3: {EXPECTED_ENDPOINT}")
    key, secret = environ.get("AWS_ACCESS_KEY_ID") or None, environ.get("AWS_SECRET_ACCESS_KEY") or None
    if (key is None) != (secret is None):
        missing = "AWS_ACCESS_KEY_ID" if key is None else "AWS_SECRET_ACCESS_KEY"
        raise BadRegistry(f"{missing}: not set, though the other half of the login is")
    client = session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name=environ.get("AWS_DEFAULT_REGION") or None,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=environ.get("AWS_SESSION_TOKEN") or None if key else None,
        config=client_config(environ),
    )
    return cast("S3Client", client)


class Bucket:
    """Read and write under a prefix; keys are relative to it. A bucket that does not exist reads as empty."""

    def __init__(self, client: S3Client, name: str, prefix: str = "") -> None:
        self.client = client
        self.name = name
        self.base = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.base}".rstrip("/")

    def get(self, key: str, if_none_match: str | None = None, limit: int = SMALL) -> tuple[bytes, str] | None:
        """Read a small object and its ETag; None if it does not exist, b"" if its ETag is still `if_none_match`.

        Raises VerificationError for an object of more than `limit` bytes.
        """
        get = partial(self.client.get_object, Bucket=self.name, Key=self.base + key)
        try:
            answer = get(IfNoneMatch=if_none_match) if if_none_match else get()
        except ClientError as error:
            if _status(error) == 304:
                return b"", str(if_none_match)
            if _status(error) == 404:
                return None
            raise
        with closing(answer["Body"]) as stream:
            body = stream.read(limit + 1)
        if len(body) > limit:
            raise VerificationError(f"{self}/{key} has more than {limit:,} bytes, the most that is read of it")
        return body, answer["ETag"]

    def read(self, key: str) -> dict[str, Any]:
        """Read a small JSON object; empty if it is missing. Raises VerificationError if it is anything else."""
        answer = self.get(key)
        return parse_json(answer[0], f"{self}/{key}") if answer else {}

    def stream(self, key: str) -> Iterator[bytes]:
        """Read an object of any size in chunks; raises FileNotFoundError."""
        try:
            body = self.client.get_object(Bucket=self.name, Key=self.base + key)["Body"]
        except ClientError as error:
            if _status(error) == 404:
                raise FileNotFoundError(f"{self}/{key}") from None
            raise
        yield from body.iter_chunks(CHUNK)

    def tail(self, key: str, size: int) -> bytes:
        """Read the last `size` bytes of an object, all of a smaller one; raises FileNotFoundError."""
        try:
            answer = self.client.get_object(Bucket=self.name, Key=self.base + key, Range=f"bytes=-{size}")
        except ClientError as error:
            if _status(error) == 404:
                raise FileNotFoundError(f"{self}/{key}") from None
            raise
        with closing(answer["Body"]) as stream:
            return stream.read()

    def put(self, key: str, body: bytes) -> None:
        """Write a small object unconditionally."""
        self.client.put_object(Bucket=self.name, Key=self.base + key, Body=body)

    def delete(self, key: str) -> None:
        """Delete an object; one that does not exist is no error."""
        self.client.delete_object(Bucket=self.name, Key=self.base + key)

    def upload(self, key: str, path: Path) -> None:
        """Upload a file of any size unconditionally; large ones in parts."""
        self._upload(key, str(path), use_threads=True)

    def upload_stream(self, key: str, source: BinaryIO) -> None:
        """Upload what `source` reads, of any size, unconditionally; a large one in parts, one of which is in memory."""
        self._upload(key, source, use_threads=False)

    def _upload(self, key: str, source: BinaryIO | str, *, use_threads: bool) -> None:
        from boto3.s3.transfer import TransferConfig, create_transfer_manager  # readers do without it

        with create_transfer_manager(self.client, TransferConfig(use_threads=use_threads)) as manager:
            manager.upload(source, self.name, self.base + key).result()

    def create(self, key: str, body: bytes) -> str | None:
        """Create an object; return its ETag, None if one exists.

        botocore retries a PUT whose response was lost and then meets its own object: on None, read what is there.
        """
        return self._conditional(key, body, None)

    def replace(self, key: str, body: bytes, etag: str) -> str | None:
        """Replace an object that still has `etag`; return the new ETag, None if it has another (see `create`)."""
        return self._conditional(key, body, etag)

    def _conditional(self, key: str, body: bytes, etag: str | None) -> str | None:
        put = partial(self.client.put_object, Bucket=self.name, Key=self.base + key, Body=body)
        try:
            return (put(IfMatch=etag) if etag else put(IfNoneMatch="*"))["ETag"]
        except ClientError as error:
            # 412; 409 while another conditional write is under way; on AWS 404 when the object to replace is gone
            if _status(error) in (409, 412) or (etag and _status(error) == 404):
                return None
            raise

    def keys(self, folder: str, after: str = "") -> Iterator[str]:
        """List every key under `folder` ("" or ending in a slash), relative to it, in order, from `after` on."""
        start = len(self.base + folder)
        return (each["Key"][start:] for page in self._pages(folder, "", after) for each in page.get("Contents", []))

    def objects(self, folder: str) -> Iterator[tuple[str, int, datetime]]:
        """List key (see `keys`), size in bytes and time of the last change of every object under `folder`."""
        start = len(self.base + folder)
        for page in self._pages(folder, ""):
            yield from ((each["Key"][start:], each["Size"], each["LastModified"]) for each in page.get("Contents", []))

    def folders(self, folder: str) -> list[str]:
        """List the names of the folders in `folder` ("" or ending in a slash)."""
        start = len(self.base + folder)
        pages = self._pages(folder, "/")
        return [each["Prefix"][start:-1] for page in pages for each in page.get("CommonPrefixes", [])]

    def _pages(self, folder: str, delimiter: str, after: str = "") -> Iterator[Mapping[str, Any]]:
        pages, start = self.client.get_paginator("list_objects_v2"), self.base + folder
        later: Any = {"StartAfter": start + after} if after else {}
        try:
            yield from pages.paginate(Bucket=self.name, Prefix=start, Delimiter=delimiter, **later)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchBucket":
                raise

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def create_if_missing(self) -> None:
        """Create the bucket if it does not exist; raise BadRegistry if that is not allowed."""
        try:
            self.client.head_bucket(Bucket=self.name)
        except ClientError as error:
            if _status(error) != 404:
                return  # perhaps not allowed to ask: the next call reports what is wrong
        else:
            return
        region = self.client.meta.region_name
        location: Any = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            self.client.create_bucket(Bucket=self.name, **location)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code != "BucketAlreadyOwnedByYou":
                raise BadRegistry(f"s3://{self.name} does not exist and cannot be created ({code})") from None


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """Serialize deterministically, since the bytes are signed; ValueError for NaN and Infinity, which JSON lacks."""
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False).encode()


def parse_json(body: bytes, place: str) -> dict[str, Any]:
    """Parse a JSON object; VerificationError names `place` if `body` is anything else."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):  # the second for a text that is nested some thousand times
        parsed = None
    if not isinstance(parsed, dict) or _is_deep(parsed):
        raise VerificationError(f"{place} is not a JSON object, or nested more than {DEEPEST} times")
    return cast(dict[str, Any], parsed)


def _is_deep(value: Any) -> bool:
    """Whether a JSON value is nested so often that writing it again may end in a RecursionError."""
    level = [value]
    for _ in range(DEEPEST):
        level = [child for each in level for child in _children(each)]
        if not level:
            return False
    return True


def _children(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
