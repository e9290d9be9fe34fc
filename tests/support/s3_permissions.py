"""What code asks of S3, as the permissions that it needs: noted at botocore's own events, of every client there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import boto3
import botocore.handlers
import pytest

from updraft.registry import s3_session

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
ACTIONS = {
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "CompleteMultipartUpload": "s3:PutObject",
    "CreateBucket": "s3:CreateBucket",
    "CreateMultipartUpload": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "GetObject": "s3:GetObject",
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "PutObject": "s3:PutObject",
    "UploadPart": "s3:PutObject",
}
LOGIN = ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
Requests = set[tuple[str, str]]  # operation, bucket


@contextmanager
def recorded() -> Iterator[Requests]:
    """Note the requests of all S3 clients that are made in the block."""
    requests: Requests = set()

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        requests.add((model.name, params["Bucket"]))

    with pytest.MonkeyPatch.context() as patch:
        handlers = [*botocore.handlers.BUILTIN_HANDLERS, ("provide-client-params.s3", note)]
        patch.setattr(botocore.handlers, "BUILTIN_HANDLERS", handlers)
        patch.setattr(boto3, "DEFAULT_SESSION", None)  # made before, they would lack the handler
        patch.setattr(s3_session, "session", cache(s3_session.session.__wrapped__))
        yield requests


def needed(requests: Requests) -> set[tuple[str, str]]:
    """Return the permissions that requests need, each with its bucket."""
    return {(ACTIONS[operation], bucket) for operation, bucket in requests}


def granted(statements: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Return the permissions on buckets that a role has, each with its bucket; only whole buckets are granted."""
    found = set()
    for statement in statements:
        assert statement["Effect"] == "Allow"
        for action in _list(statement["Action"]):
            for resource in _list(statement["Resource"]):
                if action.startswith("s3:"):
                    bucket, _, keys = resource.removeprefix("arn:aws:s3:::").partition("/")
                    assert keys == ("" if action == "s3:ListBucket" else "*"), (action, resource)
                    found.add((action, bucket))
    return found


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
