"""The session of our S3 clients reads less of botocore's data files than botocore does, and asks the same addresses."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from botocore.session import Session

from tests.support.service import surroundings
from updraft.defaults import ROOT
from updraft.registry.s3_session import LeanFiles, session

LOADS = """
import os, sys
import serving.app, serving.server.rsgi, serving.settings
from updraft.registry.s3 import s3_client
s3_client(os.environ)
heavy = {"boto3", "joblib", "lightgbm", "pandas", "pyarrow", "s3transfer", "scipy", "sklearn"}
print(*sorted(heavy & sys.modules.keys()))
"""


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1", "xx-nowhere-1"])
def test_clients_ask_the_same_addresses_as_botocores(region: str) -> None:
    for service in ("s3", "sts", "sso", "sso-oidc"):
        lean, full = (_client(made, service, region) for made in (session(), Session()))
        assert lean.meta.endpoint_url == full.meta.endpoint_url
        assert lean.meta.partition == full.meta.partition
    lean, full = (
        _client(made, "s3", region).generate_presigned_url("get_object", {"Bucket": "some", "Key": "key"})
        for made in (session(), Session())
    )
    assert lean.partition("?")[0] == full.partition("?")[0]


def test_a_file_that_is_not_there_is_none() -> None:
    assert LeanFiles().load_file(str(ROOT / "none")) is None


def test_the_service_loads_nothing_that_only_uploads_or_pipelines_need() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADS], cwd=ROOT, env=surroundings({}) | {"AWS_DEFAULT_REGION": "us-east-1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def _client(made: Session, service: str, region: str) -> Any:
    return made.create_client(
        service,
        region_name=region,
        aws_access_key_id="some",
        aws_secret_access_key="thing",
    )
