"""Files on S3, on a real server: one key, a folder, a pattern; what is wrong is said in one line."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Any

import pytest

from connections import source_address
from tests.support.small_cases import integer, small_case
from updraft.addresses import Connections, from_environment
from updraft.local_stack.servers import free_port
from updraft.registry.s3 import Bucket, s3_client
from updraft.sources import open_source
from updraft.sources.source import BadSource
from updraft.usecase import UseCase

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "updraft-rows"


@pytest.fixture
def client(s3: dict[str, str]) -> S3Client:
    client = s3_client(s3)
    Bucket(client, BUCKET).create_if_missing()
    return client


@pytest.fixture
def folder(client: S3Client) -> str:
    """Return the URI of a folder with files of days."""
    name = secrets.token_hex(6)
    days = {"2026-02.csv": b"a\n2\nx\n", "2026-01.csv": b"a\n1\n", "2026-03.csv": b"", "2025-12.csv": b"a\n12\n"}
    for key, body in {**days, "more/2026-09.csv": b"a\n9\n", ".hidden.csv": b"a\n0\n"}.items():
        client.put_object(Bucket=BUCKET, Key=f"{name}/{key}", Body=body)
    return f"s3://{BUCKET}/{name}"


def case_of(uri: str, **settings: Any) -> UseCase:
    return small_case([integer("a")], source={"file": {"path": uri, **settings}})


def read(uri: str, connections: Connections, **settings: Any) -> tuple[list[int], dict[str, Any]]:
    with open_source(case_of(uri, **settings), connections) as source:
        rows = [number for batch in source.batches() for number in batch.table["a"].to_pylist()]
        return rows, source.provenance()


def test_one_key_a_folder_and_a_pattern(s3: dict[str, str], folder: str) -> None:
    connections = from_environment(s3)
    assert read(f"{folder}/2026-02.csv", connections)[0] == [2]
    assert read(folder, connections)[0] == read(f"{folder}/", connections)[0] == [12, 1, 2]
    assert read(f"{folder}/2026-*.csv", connections)[0] == [1, 2]
    assert read(f"{folder}/*/2026-??.csv", connections)[0] == [9]
    described = read(f"{folder}/2026-0[1].csv", connections)[1]["files"]
    assert described[0].items() >= {"size": 4, "sha256": hashlib.sha256(b"a\n1\n").hexdigest()}.items()
    assert len(described[0]["etag"]) == 32


def test_a_rows_place_names_its_file(s3: dict[str, str], folder: str) -> None:
    with open_source(case_of(f"{folder}/2026*"), from_environment(s3)) as source:
        assert str(source) == f"files '{folder}/2026*'"
        assert [r.place for batch in source.batches() for r in batch.rejects] == ["2026-02.csv, row 3"]


def test_an_airflow_connection_leads_there(s3: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = s3["AWS_ENDPOINT_URL_S3"]
    login = f"{s3['AWS_ACCESS_KEY_ID']}:{s3['AWS_SECRET_ACCESS_KEY']}"
    uri = f"aws://{login}@/?endpoint_url={endpoint.replace(':', '%3A').replace('/', '%2F')}&region_name=us-east-1"
    for name in s3:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)  # path-style addresses
    monkeypatch.setenv("AIRFLOW_CONN_ARCHIVE", uri)
    assert read(f"{folder}/2026-01.csv", source_address, connection="archive")[0] == [1]
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    assert read(f"{folder}/2026-01.csv", source_address)[0] == [1]


def test_a_file_that_is_exchanged_is_an_error(s3: dict[str, str], folder: str, client: S3Client) -> None:
    key = f"{folder.rpartition('/')[2]}/2026-02.csv"
    with open_source(case_of(f"{folder}/2026-*.csv"), from_environment(s3)) as source:
        client.put_object(Bucket=BUCKET, Key=key, Body=b"a\n7\n8\n")
        with pytest.raises(BadSource, match=r"2026-02\.csv': changed while it was read"):
            list(source.batches())


def test_what_is_wrong_is_told_apart(s3: dict[str, str], folder: str) -> None:
    def refusal(uri: str, kind: type[Exception] = BadSource, **environ: str) -> str:
        with pytest.raises(kind) as refused:
            read(uri, from_environment(s3 | environ))
        assert s3["AWS_SECRET_ACCESS_KEY"] not in str(refused.value) and "\n" not in str(refused.value)
        return str(refused.value)

    assert refusal(f"{folder}/absent.csv") == f"file '{folder}/absent.csv': no such key, and no files below it"
    assert refusal(f"{folder}/2024-*.csv") == f"files '{folder}/2024-*.csv': no file matches"
    assert refusal("s3://updraft-absent/rows.csv").endswith("no such bucket")
    assert "expected s3://bucket/key" in refusal("s3://B/rows.csv")
    wrong = refusal(f"{folder}/2026-01.csv", AWS_SECRET_ACCESS_KEY="wrong")
    assert "S3 refuses the login (SignatureDoesNotMatch)" in wrong
    assert "S3 refuses the login (InvalidAccessKeyId)" in refusal(f"{folder}/2026-01.csv", AWS_ACCESS_KEY_ID="nobody")
    nowhere = f"http://127.0.0.1:{free_port()}"
    unreachable = refusal(f"{folder}/2026-01.csv", ConnectionError, AWS_ENDPOINT_URL_S3=nowhere)
    assert "S3 does not answer (EndpointConnectionError)" in unreachable
