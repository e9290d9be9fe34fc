"""Addresses of servers: what a `connection:` in the YAML stands for, in the environment or in Airflow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

S3_VARIABLE = "AWS_ENDPOINT_URL_S3"  # these two stand for all of AWS's own variables
DYNAMODB_VARIABLE = "AWS_ENDPOINT_URL_DYNAMODB"
AWS_VARIABLES = (S3_VARIABLE, DYNAMODB_VARIABLE)


@dataclass(frozen=True)
class Address:
    """A server's URL with the options of its client. Both may hold secrets: messages name the `origin` instead."""

    origin: str
    url: str = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Connections(Protocol):
    """Look up the address that a connection id stands for, or else the environment variable in its place."""

    def __call__(self, connection: str, variable: str) -> Address: ...


def from_environment(environ: Mapping[str, str]) -> Connections:
    """Look addresses up in environment variables alone; the URL is empty where one is not set.

    AWS's come with the environment as the option `environ`: boto3 takes keys and region from there.
    """

    def find(connection: str, variable: str) -> Address:
        options = {"environ": environ} if variable in AWS_VARIABLES else {}
        return Address(variable, environ.get(variable, ""), options)

    return find


def variable_of(connection: str) -> str:
    """Name the environment variable of a connection: `mongo_archive` → `MONGO_ARCHIVE_URL`."""
    return f"{re.sub('[^A-Za-z0-9]', '_', connection).upper()}_URL"
