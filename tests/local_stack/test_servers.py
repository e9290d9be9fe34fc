"""The commands of the embedded servers start real servers that listen on 127.0.0.1 only and require a login."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote_plus

import psutil
import pymongo
import pytest
from pymongo.errors import OperationFailure

from tests.support.servers import MONGO_LOGIN
from updraft.local_stack.servers import ServerError, free_port, free_ports, wait_for_port, weed_command, weed_ports


def test_mongod_requires_its_login(mongo_with_login: str) -> None:
    user, password = map(quote_plus, MONGO_LOGIN)
    with pymongo.MongoClient[dict[str, int]](f"mongodb://{user}:{password}@{mongo_with_login}") as client:
        client.some.rows.insert_one({"a": 1})
        assert client.some.rows.count_documents({}) == 1
    with (
        pymongo.MongoClient[dict[str, int]](f"mongodb://{mongo_with_login}") as client,
        pytest.raises(OperationFailure),
    ):
        client.some.rows.count_documents({})


def test_mongod_without_a_login_accepts_anyone(mongodb_url: str) -> None:
    with pymongo.MongoClient[dict[str, int]](mongodb_url) as client:
        client.get_default_database().rows.insert_one({"a": 1})
        assert client.get_default_database().rows.count_documents({}) == 1


def test_s3_refuses_a_client_without_credentials(s3: dict[str, str]) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(s3["AWS_ENDPOINT_URL_S3"] + "/updraft-tests", timeout=60)


def test_the_servers_listen_on_this_host_only(s3: dict[str, str], mongo: str) -> None:
    children = psutil.Process().children()
    connections = [connection for child in children for connection in child.net_connections("tcp")]
    listening = [connection.laddr for connection in connections if connection.status == psutil.CONN_LISTEN]
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert {int(s3["AWS_ENDPOINT_URL_S3"].rpartition(":")[2]), int(mongo.rpartition(":")[2])} <= {
        address.port for address in listening
    }


def test_ports(tmp_path: Path) -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert max(ports) < 32_768  # where Linux begins with outgoing connections
    assert weed_ports(s3=8333)["s3"] == 8333
    with pytest.raises(ValueError, match=r"weed: no port for s3\.grpc, master"):
        weed_command(tmp_path, {"s3": 8333})


def test_waiting_ends_with_the_server() -> None:
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(ServerError, match="ended with code 3"):
        wait_for_port(free_port(), process)
    with pytest.raises(TimeoutError, match="nothing listens on 127"):
        wait_for_port(free_port(), seconds=0.2)
