"""A container of Azure Blob Storage as a place of a registry: what `Bucket` does on S3, as conditionally.

A registry is mirrored there, and a service reads it from there. azure-storage-blob is imported when it is used: the
slim service lacks it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from updraft.registry.s3 import SMALL, BadRegistry, Bucket, VerificationError, s3_client, split_uri

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient
    from mypy_boto3_s3 import S3Client

SCHEME = "azure://"
ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
CONTAINER = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")
EXPECTED = "azure://account/container or azure://account/container/prefix"
CONNECTION, KEY, SAS = "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"
BLOCK = 4 << 20  # bytes of a file that are in memory


class AzureError(OSError):
    """Azure refused a request, or was not reached. Names the place and the reason, and nothing of a login."""


class Container(Bucket):
    """Read and write under a prefix of a container; see `Bucket`, also for what the methods return and raise."""

    def __init__(self, container: ContainerClient, account: str, prefix: str = "") -> None:
        self.client: Any = None  # there is none of S3's
        self.container, self.account, self.name = container, account, str(container.container_name)
        self.base = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def __str__(self) -> str:
        return f"{SCHEME}{self.account}/{self.name}/{self.base}".rstrip("/")

    def get(self, key: str, if_none_match: str | None = None, limit: int = SMALL) -> tuple[bytes, str] | None:
        from azure.core import MatchConditions
        from azure.core.exceptions import HttpResponseError

        unless: Any = {"etag": if_none_match, "match_condition": MatchConditions.IfModified} if if_none_match else {}
        with self._errors(key):
            try:
                found = self._blob(key).download_blob(**unless)
                body = found.readall() if found.size <= limit else None
            except HttpResponseError as error:  # a download has no class of its own for each status
                if error.status_code == 404:
                    return None
                if error.status_code == 304:
                    return b"", str(if_none_match)
                raise
        if body is None:
            raise VerificationError(f"{self}/{key} has more than {limit:,} bytes, the most that is read of it")
        return body, str(found.properties.etag)

    def stream(self, key: str) -> Iterator[bytes]:
        with self._existing(key):
            yield from self._blob(key).download_blob(max_concurrency=1).chunks()

    def tail(self, key: str, size: int) -> bytes:
        with self._existing(key):
            blob = self._blob(key)
            there = blob.get_blob_properties()
            if not there.size:
                return b""
            first = max(0, there.size - size)
            return bytes(blob.download_blob(offset=first, etag=there.etag, match_condition=_unmodified()).readall())

    def put(self, key: str, body: bytes) -> None:
        with self._errors(key):
            self._blob(key).upload_blob(body, overwrite=True)

    def delete(self, key: str) -> None:
        from azure.core.exceptions import ResourceNotFoundError

        with self._errors(key):
            try:
                self._blob(key).delete_blob()
            except ResourceNotFoundError:
                return

    def upload(self, key: str, path: Path) -> None:
        with path.open("rb") as source:
            self.upload_stream(key, source)

    def upload_stream(self, key: str, source: BinaryIO) -> None:
        with self._errors(key):
            self._blob(key).upload_blob(source, overwrite=True, max_concurrency=1)

    def _conditional(self, key: str, body: bytes, etag: str | None) -> str | None:
        from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError

        condition: Any = (
            {"overwrite": True, "etag": etag, "match_condition": _unmodified()} if etag else {"overwrite": False}
        )
        with self._errors(key):
            try:
                return str(self._blob(key).upload_blob(body, **condition)["etag"])
            except (ResourceExistsError, ResourceModifiedError):
                return None
            except ResourceNotFoundError:
                if etag:  # what was to be replaced is gone
                    return None
                raise

    def keys(self, folder: str, after: str = "") -> Iterator[str]:
        start = self.base + folder
        names = self._list(lambda: self.container.list_blob_names(name_starts_with=start))
        return (name[len(start) :] for name in names if name > start + after)

    def objects(self, folder: str) -> Iterator[tuple[str, int, datetime]]:
        start = self.base + folder
        for each in self._list(lambda: self.container.list_blobs(name_starts_with=start)):
            yield each.name[len(start) :], each.size, each.last_modified

    def folders(self, folder: str) -> list[str]:
        from azure.storage.blob import BlobPrefix

        start = self.base + folder
        found = self._list(lambda: self.container.walk_blobs(name_starts_with=start, delimiter="/"))
        return [each.name[len(start) : -1] for each in found if isinstance(each, BlobPrefix)]

    def create_if_missing(self) -> None:
        from azure.core.exceptions import HttpResponseError, ResourceExistsError

        with self._errors(""):
            try:
                if self.container.exists():
                    return
            except HttpResponseError:
                return  # perhaps not allowed to ask: the next call reports what is wrong
            try:
                self.container.create_container()
            except ResourceExistsError:
                return
            except HttpResponseError as error:
                raise BadRegistry(f"{self} does not exist and cannot be created ({_reason(error)})") from None

    def close(self) -> None:
        self.container.close()

    def _blob(self, key: str) -> Any:
        return self.container.get_blob_client(self.base + key)

    def _list(self, start: Callable[[], Any]) -> Iterator[Any]:
        from azure.core.exceptions import ResourceNotFoundError

        with self._errors(""):
            try:
                yield from start()
            except ResourceNotFoundError:  # a container that does not exist reads as empty
                return

    @contextmanager
    def _existing(self, key: str) -> Iterator[None]:
        from azure.core.exceptions import ResourceNotFoundError

        with self._errors(key):
            try:
                yield
            except ResourceNotFoundError:
                raise FileNotFoundError(f"{self}/{key}") from None

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Tell what Azure's client raises without its text, which may have the address with a token in it."""
        from azure.core.exceptions import AzureError as ClientError

        try:
            yield
        except ClientError as error:
            raise AzureError(f"{self}/{key}".rstrip("/") + f": {_reason(error)}") from None


def _reason(error: Any) -> str:
    status, code = getattr(error, "status_code", None), getattr(error, "error_code", None)
    reason = " ".join(str(getattr(each, "value", each)) for each in (status, code) if each)
    return reason or f"not reached ({type(error).__name__})"


def _unmodified() -> Any:
    from azure.core import MatchConditions

    return MatchConditions.IfNotModified


def split_azure_uri(uri: str) -> tuple[str, str, str]:
    """Split azure://account/container/some/prefix into account, container and prefix; the prefix may be empty."""
    account, _, rest = uri.removeprefix(SCHEME).partition("/")
    container, _, prefix = rest.partition("/")
    if not uri.startswith(SCHEME) or not ACCOUNT.fullmatch(account) or not CONTAINER.fullmatch(container):
        raise BadRegistry(f"{uri!r} is not {EXPECTED}")
    return account, container, prefix.strip("/")


def open_container(uri: str, environ: Mapping[str, str]) -> Container:
    """Open azure://account/container/prefix with the login in `environ`; contacts nothing.

    It is the first there is of AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_KEY and AZURE_STORAGE_SAS_TOKEN.
    """
    account, name, prefix = split_azure_uri(uri)
    try:
        from azure.storage.blob import ContainerClient
    except ImportError:
        raise BadRegistry(f"{uri!r}: azure-storage-blob is not installed, as in the slim service") from None
    options: Any = {
        "max_single_get_size": BLOCK, "max_chunk_get_size": BLOCK, "max_single_put_size": BLOCK,
        "max_block_size": BLOCK, "connection_timeout": 5, "read_timeout": 60, "retry_total": 2,
        "initial_backoff": 1, "increment_base": 2,
    }  # fmt: skip
    try:
        if text := environ.get(CONNECTION):
            container = ContainerClient.from_connection_string(text, name, **options)
        else:
            login = environ.get(KEY) or environ.get(SAS)
            if not login:
                raise BadRegistry(f"{uri!r}: no login; expected {CONNECTION}, {KEY} or {SAS}")
            address = f"https://{account}.blob.core.windows.net"
            container = ContainerClient(address, name, credential=_credential(account, environ), **options)
    except (ValueError, TypeError) as error:
        if isinstance(error, BadRegistry):
            raise
        raise BadRegistry(f"{CONNECTION if environ.get(CONNECTION) else KEY}: not of Azure's form") from None
    if container.account_name != account:
        raise BadRegistry(f"{uri!r}: {CONNECTION} is of another account, {str(container.account_name)!r}")
    return Container(container, account, prefix)


def _credential(account: str, environ: Mapping[str, str]) -> Any:
    from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential

    if key := environ.get(KEY):
        return AzureNamedKeyCredential(account, key)
    return AzureSasCredential(environ[SAS].removeprefix("?"))


def open_place(variable: str, environ: Mapping[str, str], client: S3Client | None = None) -> Bucket:
    """Open what a variable names: s3://bucket/prefix, with `client` if passed, or azure://account/container/prefix.

    Contacts nothing. BadRegistry names the variable that is missing or wrong, which may be one of the login's.
    """
    uri = environ.get(variable, "")
    try:
        if uri.startswith(SCHEME):
            return open_container(uri, environ)
        name, prefix = split_uri(uri)
    except BadRegistry as error:
        is_about_it = str(error).startswith(repr(uri))
        raise BadRegistry(f"{variable}: {error}" if is_about_it else str(error)) from None
    return Bucket(client or s3_client(environ), name, prefix)
