"""Load rows into a DynamoDB table, each once: the table's key is the row's."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any

from updraft.addresses import DYNAMODB_VARIABLE, Address, Connections, variable_of
from updraft.destinations.keyed_rows import Cleaned, KeyedRow
from updraft.errors import BadData, UserError
from updraft.sources.source import CONTENT
from updraft.usecase.load_blocks import DynamoDBStore

READ, WRITE = 100, 25  # the most that one request takes
TRIES = 8  # for what a busy table leaves undone, with 0.05 s, 0.1 s, 0.2 s … between them
GREATEST, LEAST = Decimal("9.9e125"), Decimal("1e-130")  # of a number's absolute value
URL = re.compile(r"(?P<scheme>https?)://(?:(?P<key>[^:@/]+):(?P<secret>[^@]+)@)?(?P<host>[^/@:]+(:\d{1,5})?)/?")
LOGIN_REFUSED = {
    *("UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "AccessDeniedException"),
    *("InvalidClientTokenId", "MissingAuthenticationTokenException", "IncompleteSignature"),
}
BUSY = {"ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "InternalServerError"}


class BadTable(UserError):
    """A DynamoDB table that cannot be used, and trying again would not help."""


@contextmanager
def open_dynamodb(settings: DynamoDBStore, connections: Connections, cleaned: Cleaned) -> Iterator[DynamoDBTable]:
    """Open a table, which has to exist."""
    default = DynamoDBStore.model_fields["connection"].default
    variable = DYNAMODB_VARIABLE if settings.connection == default else variable_of(settings.connection)
    address = connections(settings.connection, variable)
    name = f"DynamoDB table {settings.table!r}"
    with translated(name):
        client = _client(address)
        key = _key(name, client.describe_table(TableName=settings.table)["Table"], cleaned)
        yield DynamoDBTable(client, settings.table, key)


class DynamoDBTable:
    """A table that holds each row once. `key` is the name of its key and the function that makes one of a row's."""

    size = 1_000

    def __init__(self, client: Any, table: str, key: tuple[str, Callable[[int | str], Any]]) -> None:
        self._client, self._table = client, table
        self._key, self._key_of = key
        self.name = f"DynamoDB table {table!r}"

    def there(self, rows: Sequence[KeyedRow]) -> dict[int | str, str | None]:
        names = {"#key": self._key, "#content": CONTENT}
        found: dict[Any, str | None] = {}
        for part in _parts(rows, READ):
            wanted = {
                "Keys": [self._packed({self._key: self._key_of(row.key)}) for row in part],
                "ProjectionExpression": "#key, #content",
                "ExpressionAttributeNames": names,
                "ConsistentRead": True,
            }
            for answer in self._until_done("batch_get_item", "UnprocessedKeys", {self._table: wanted}):
                for item in answer["Responses"].get(self._table, ()):
                    values = self._unpacked(item)
                    found[values[self._key]] = values.get(CONTENT)
        return {row.key: found[self._key_of(row.key)] for row in rows if self._key_of(row.key) in found}

    def write(self, new: Sequence[KeyedRow], changed: Sequence[KeyedRow]) -> None:
        for part in _parts([*new, *changed], WRITE):
            puts = [{"PutRequest": {"Item": self._packed(self._item(row))}} for row in part]
            for _ in self._until_done("batch_write_item", "UnprocessedItems", {self._table: puts}):
                pass

    def _until_done(self, method: str, undone: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a request again with what a busy table left undone; ConnectionError when it stays so."""
        for number in range(TRIES):
            with translated(self.name):
                answer: dict[str, Any] = getattr(self._client, method)(RequestItems=request)
            yield answer
            request = answer.get(undone) or {}
            if not request:
                return
            time.sleep(0.05 * 2**number)
        raise ConnectionError(f"{self.name}: too busy: {TRIES} requests left rows undone")

    def _item(self, row: KeyedRow) -> dict[str, Any]:
        values = {name: _storable(name, value, self.name) for name, value in row.values.items()}
        return values | {CONTENT: row.sha256, self._key: self._key_of(row.key)}

    def _packed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        from boto3.dynamodb.types import TypeSerializer

        serialize = TypeSerializer().serialize
        return {name: serialize(value) for name, value in values.items()}

    def _unpacked(self, item: Mapping[str, Any]) -> dict[str, Any]:
        from boto3.dynamodb.types import TypeDeserializer

        deserialize = TypeDeserializer().deserialize
        return {name: deserialize(value) for name, value in item.items()}


def _client(address: Address) -> Any:
    """Make a client: an Airflow connection's, that of a URL with or without a login, or by boto3's own environment."""
    import boto3
    from botocore.config import Config

    if service := address.options.get("service"):
        return service("dynamodb")
    found = URL.fullmatch(address.url)
    if address.url and not found:
        raise BadTable(f"{address.origin}: expected https://KEY:SECRET@dynamodb.REGION.amazonaws.com")
    environ: Mapping[str, str] = address.options.get("environ", os.environ)
    host = found["host"] if found else ""
    region = re.fullmatch(r"dynamodb\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?", host)
    return boto3.client(
        "dynamodb",
        endpoint_url=f"{found['scheme']}://{host}" if found else None,
        region_name=region[1] if region else environ.get("AWS_DEFAULT_REGION") or None,
        aws_access_key_id=(found and found["key"]) or environ.get("AWS_ACCESS_KEY_ID") or None,
        aws_secret_access_key=(found and found["secret"]) or environ.get("AWS_SECRET_ACCESS_KEY") or None,
        config=Config(connect_timeout=5, retries={"mode": "standard", "total_max_attempts": 4}),
    )


def _key(name: str, table: Mapping[str, Any], cleaned: Cleaned) -> tuple[str, Callable[[int | str], Any]]:
    """Return the name of a table's key, and the function that makes one of a row's key."""
    if len(table["KeySchema"]) != 1:
        attributes = ", ".join(each["AttributeName"] for each in table["KeySchema"])
        raise BadTable(f"{name}: its key is {attributes}; expected a partition key alone")
    attribute = table["KeySchema"][0]["AttributeName"]
    types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    whole = any(column.name == cleaned.id and column.type == "int64" for column in cleaned.columns)
    if types[attribute] == "S":
        return attribute, str
    if types[attribute] == "N" and whole:
        return attribute, Decimal
    raise BadTable(f"{name}: its key {attribute!r} is of type {types[attribute]}, and the rows' key is a text")


def _storable(name: str, value: Any, place: str) -> Any:
    """Return a value as DynamoDB holds it: numbers as decimals, dates as ISO 8601."""
    if isinstance(value, datetime):
        return value.isoformat()
    if not isinstance(value, float):
        return value
    number = Decimal(repr(value))
    if number and not LEAST <= abs(number) <= GREATEST:
        raise BadData(f"{place}: {name}: {value!r} is beyond the numbers that DynamoDB holds")
    return number


def _parts(rows: Sequence[KeyedRow], size: int) -> Iterator[list[KeyedRow]]:
    waiting = iter(rows)
    while part := list(islice(waiting, size)):
        yield part


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn boto3's errors into one line: BadTable where trying again is no use, else ConnectionError."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError
    from botocore.exceptions import ConnectionError as NotConnected

    try:
        yield
    except ClientError as error:
        code = str(error.response["Error"]["Code"])
        if code in LOGIN_REFUSED:
            raise BadTable(f"{place}: the login is refused ({code})") from None
        if code == "ResourceNotFoundException":
            raise BadTable(f"{place}: no such table") from None
        message = " ".join(str(error.response["Error"].get("Message", "")).split())
        if code in BUSY:
            raise ConnectionError(f"{place}: {code}: {message}") from None
        raise BadTable(f"{place}: {code}: {message}") from None
    except NoCredentialsError:
        raise BadTable(f"{place}: no login for AWS") from None
    except (HTTPClientError, NotConnected) as error:
        raise ConnectionError(f"{place}: DynamoDB does not answer ({type(error).__name__})") from None
    except BotoCoreError as error:
        raise BadTable(f"{place}: {' '.join(str(error).split())}") from None
