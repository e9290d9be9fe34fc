"""A topic is read up to its end at the start, from where the last dataset ended: nothing twice, nothing lost."""

from __future__ import annotations

import json
import secrets
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from connections import source_address
from tests.support.kafka import Broker, kafka_broker
from tests.support.small_cases import integer, small_case, text
from updraft.addresses import from_environment
from updraft.local_stack.servers import free_port
from updraft.sources import open_source
from updraft.sources.kafka_messages import ROWS
from updraft.sources.source import BadSource, Source
from updraft.usecase import UseCase

Position = dict[str, Any] | None


@pytest.fixture(scope="module")
def broker(starts_servers: None) -> Iterator[Broker]:
    with kafka_broker() as running:
        yield running


@pytest.fixture
def topic() -> str:
    return f"rows-{secrets.token_hex(4)}"


def case_of(topic: str, **settings: Any) -> UseCase:
    return small_case([integer("a"), text("t")], source={"kafka": {"topic": topic, **settings}}, id="a")


def numbers(source: Source) -> list[int]:
    return [number for batch in source.batches() for number in batch.table["a"].to_pylist()]


def read(broker: Broker, topic: str, position: Position = None, limit: int | None = None) -> tuple[list[int], Position]:
    connections = from_environment({"KAFKA_URL": broker.url})
    with open_source(case_of(topic), connections, limit, position) as source:
        return numbers(source), source.position()


def messages(*values: int) -> list[bytes]:
    return [json.dumps({"a": value, "t": "ä"}).encode() for value in values]


def refusal(broker: Broker, topic: str, position: Position = None) -> str:
    with pytest.raises(BadSource) as refused:
        read(broker, topic, position)
    return str(refused.value)


def test_partitions_are_read_one_after_another_and_the_next_read_goes_on(broker: Broker, topic: str) -> None:
    broker.send(topic, *messages(1, 2, 3), partition=1)
    broker.send(topic, *messages(4, 5), partition=0)
    rows, position = read(broker, topic)
    assert rows == [4, 5, 1, 2, 3]
    assert position and position["offsets"] == {"0": 2, "1": 3, "2": 0, "3": 0}
    assert json.loads(json.dumps(position)) == position
    assert read(broker, topic, position) == ([], position)
    broker.send(topic, *messages(6), partition=1)
    broker.send(topic, *messages(7), partition=3)
    rows, later = read(broker, topic, position)
    assert rows == [6, 7] and later and later["offsets"] == {"0": 2, "1": 4, "2": 0, "3": 1}
    assert read(broker, topic, position)[0] == [6, 7]  # as often as it is asked for
    assert read(broker, topic)[0] == [4, 5, 1, 2, 3, 6, 7]


def test_what_comes_while_a_topic_is_read_is_left_to_the_next_read(broker: Broker, topic: str) -> None:
    broker.send(topic, *messages(1, 2))
    with open_source(case_of(topic), from_environment({"KAFKA_URL": broker.url})) as source:
        broker.send(topic, *messages(3))
        assert (source.total, numbers(source)) == (2, [1, 2])
        assert source.provenance()["offsets"]["0"] == [0, 2]
        position = source.position()
    assert read(broker, topic, position)[0] == [3]


def test_a_limit_moves_the_position_only_as_far_as_it_read(broker: Broker, topic: str) -> None:
    broker.send(topic, *messages(*range(10)))
    broker.send(topic, *messages(*range(10, 15)), partition=2)
    found: list[int] = []
    position: Position = None
    for limit in (3, 1, 8, 100):
        rows, position = read(broker, topic, position, limit)
        found += rows
        assert len(rows) <= limit
    assert found == list(range(15))


def test_more_than_one_part_is_read_with_the_place_of_each_row(broker: Broker, topic: str) -> None:
    count = ROWS + 5000
    broker.send(topic, *messages(*range(count)))
    broker.send(topic, b'{"a": "x"}', b"[1]", b"{", None, b'\x00\x00\x00\x00\x01{"a": 1}', b'{"a": 7, "t": "\xff"}')
    with open_source(case_of(topic), from_environment({"KAFKA_URL": broker.url})) as source:
        batches = list(source.batches())
    assert [number for batch in batches for number in batch.table["a"].to_pylist()] == list(range(count))
    rejects = {reject.place: reject.reason for batch in batches for reject in batch.rejects}
    assert sorted(rejects) == [f"partition 0, offset {count + n}" for n in range(6)]
    assert rejects[f"partition 0, offset {count}"].startswith("a: 'x'")
    assert rejects[f"partition 0, offset {count + 1}"] == "not a JSON object"
    assert all(rejects[f"partition 0, offset {count + n}"].startswith("not JSON") for n in (2, 3, 4))
    assert "U+FFFD" in rejects[f"partition 0, offset {count + 5}"]


def test_a_column_may_come_late_or_not_at_all(broker: Broker, topic: str) -> None:
    broker.send(topic, b'{"a": 1, "more": 2}')
    connections = from_environment({"KAFKA_URL": broker.url})
    with open_source(case_of(topic), connections) as source:
        assert (source.absent, source.others) == (["t"], ["more"])
        assert [batch.table.to_pylist() for batch in source.batches()] == [[{"a": 1}]]
        position = source.position()
    broker.send(topic, b'{"a": 2}')
    with open_source(case_of(topic), connections, position=position) as source:
        assert source.absent == []
        assert [batch.table.to_pylist() for batch in source.batches()] == [[{"a": 2, "t": None}]]


def test_names_with_a_dot_reach_into_objects(broker: Broker, topic: str) -> None:
    broker.send(topic, b'{"a": 1, "x": {"y": [{"z": "deep"}]}}')
    case = small_case([integer("a"), text("t")], source={"kafka": {"topic": topic}}, read={"rename": {"x.y.0.z": "t"}})
    with open_source(case, from_environment({"KAFKA_URL": broker.url})) as source:
        assert [batch.table.to_pylist() for batch in source.batches()] == [[{"a": 1, "t": "deep"}]]


def test_a_position_that_the_topic_does_not_know_is_refused(broker: Broker, topic: str) -> None:
    broker.send(topic, *messages(1, 2))
    _, position = read(broker, topic)
    assert position
    beyond = refusal(broker, topic, {"offsets": {"0": 9}})
    assert beyond == (
        f"Kafka topic '{topic}': partition 0 ends at offset 2, but was read up to 9: was the topic recreated? "
        "`restart: 1` beside `topic` reads all that it holds anew"
    )
    assert "partition 7 is no more" in refusal(broker, topic, {"offsets": {"7": 1}})
    broker.send(topic, *messages(3))
    other = position | {"last": {"0": "1:2"}}
    assert "offset 1 of partition 0 holds another message than it did" in refusal(broker, topic, other)
    assert read(broker, topic, {"offsets": {"1": 0}})[0] == [1, 2, 3]  # a partition that came since


def test_messages_that_are_gone_are_not_skipped_silently(broker: Broker, topic: str) -> None:
    broker.send(topic, *messages(1, 2, 3))
    _, position = read(broker, topic)
    large = json.dumps({"a": 4, "t": "x" * 500_000}).encode()
    broker.send(topic, *[large] * 30)  # the broker keeps 5 MB of a partition
    assert position and "partition 0: the messages 3 to " in (message := refusal(broker, topic, position))
    assert message.endswith("are gone before they were read; `restart: 1` beside `topic` reads all that it holds anew")
    rows, later = read(broker, topic)
    assert 0 < len(rows) < 30 and later and later["offsets"]["0"] == 33


@pytest.fixture
def impostor(starts_servers: None, tmp_path: Path) -> Iterator[str]:
    """Yield the address of a server whose certificate nobody vouches for."""
    key, name = Ed25519PrivateKey.generate(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + timedelta(days=1))
    (tmp_path / "cert").write_bytes(builder.sign(key, None).public_bytes(Encoding.PEM))
    (tmp_path / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), context.wrap_socket(self.request, server_side=True) as secure:
                secure.recv(1)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_certificate_that_nobody_vouches_for_is_refused(impostor: str) -> None:
    url = f"kafka://me:hunter22@{impostor}"  # a login is only sent over TLS
    with pytest.raises(BadSource, match=rf"^Kafka at {impostor}: no secure connection: .*certificate") as refused:
        with open_source(case_of("rows"), from_environment({"KAFKA_URL": url})):
            pass
    assert "hunter22" not in str(refused.value)


def test_what_is_wrong_is_told_apart(broker: Broker, topic: str) -> None:
    assert refusal(broker, topic) == f"Kafka topic '{topic}': no such topic"
    broker.send(topic, b"{}")  # makes it
    assert "no column of the suite in it" in refusal(broker, topic)
    host = f"127.0.0.1:{free_port()}"
    with pytest.raises(ConnectionError, match=rf"^Kafka at {host}: no broker answers: ") as unreachable:
        with open_source(case_of(topic), from_environment({"KAFKA_URL": f"kafka://me:p%40ss@{host}"})):
            pass
    assert "p@ss" not in str(unreachable.value)
    odd = ("kafka://[::1/x", "kafka://me:hunter22@host:abc", "kafka://host:999999", "kafka://host:9092,:1")
    for url in ("", "localhost:9092", "kafka://", *odd):
        with pytest.raises(BadSource, match=r"^KAFKA_URL: expected kafka://host:9092"):
            with open_source(case_of(topic), from_environment({"KAFKA_URL": url})):
                pass
    with pytest.raises(BadSource, match=r'^KAFKA_URL: No such configuration property: "x"'):
        with open_source(case_of(topic), from_environment({"KAFKA_URL": f"{broker.url}/?x=1"})):
            pass


def test_an_airflow_connection_leads_there(broker: Broker, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.log import redact

    broker.send(topic, *messages(1))
    extra = {"bootstrap.servers": broker.url.removeprefix("kafka://"), "sasl.password": "only-in-kafka"}
    monkeypatch.setenv("AIRFLOW_CONN_STREAM", json.dumps({"conn_type": "kafka", "extra": extra}))
    with open_source(case_of(topic, connection="stream"), source_address) as source:
        assert numbers(source) == [1]
    assert "only-in-kafka" not in str(redact("login with only-in-kafka"))


def test_a_process_that_is_killed_while_it_reads_has_moved_nothing(broker: Broker, topic: str) -> None:
    broker.send(topic, *messages(*range(50)))
    script = (
        "import os, signal\n"
        "from tests.sources.test_kafka import case_of, from_environment, open_source\n"
        f"with open_source(case_of({topic!r}), from_environment({{'KAFKA_URL': {broker.url!r}}})) as source:\n"
        "    next(source.batches())\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], check=False, env={"PYTHONPATH": ":".join(sys.path)})
    assert killed.returncode == -9
    assert read(broker, topic)[0] == list(range(50))
