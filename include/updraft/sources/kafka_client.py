"""A consumer of Kafka: its address, and its errors in one line each."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from updraft.addresses import Address
from updraft.sources.source import BadSource

SECONDS = 15  # for an answer about topics and offsets
EXPECTED = "expected kafka://host:9092, with kafka://user:password@host:9092/?security.protocol=SASL_SSL for a login"
SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]@/\s]+)(:(?P<port>\d{1,5}))?")
LOGIN = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}
# We assign partitions and keep the offsets in the dataset's manifest: nothing is committed, no group is joined.
OURS = {
    "group.id": "updraft",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "allow.auto.create.topics": False,
    "queued.max.messages.kbytes": 32 << 10,
}
log = logging.getLogger(__name__)


class KafkaClient:
    """A consumer that remembers why no broker answers, which a call that fails does not say."""

    def __init__(self, address: Address) -> None:
        from confluent_kafka import Consumer, KafkaException

        config = _config(address)
        self.place = f"Kafka at {config['bootstrap.servers']}"
        self._errors: list[Any] = []
        quiet = logging.getLogger(f"{__name__}.librdkafka")
        quiet.propagate = log.isEnabledFor(logging.DEBUG)
        quiet.addHandler(logging.NullHandler())
        try:
            self.consumer = Consumer(config | OURS | {"error_cb": self._errors.append}, logger=quiet)
        except KafkaException as error:
            raise BadSource(f"{address.origin}: {error.args[0].str()}") from None

    @contextmanager
    def translated(self, place: str) -> Iterator[None]:
        """Turn an error into one line: BadSource where trying again is no use, else ConnectionError."""
        from confluent_kafka import KafkaException

        try:
            yield
        except KafkaException as error:
            raise self.explained(place, error.args[0]) from None

    def explained(self, place: str, error: Any) -> Exception:
        """Return the exception for an error of librdkafka, or for the cause that was noted before it."""
        from confluent_kafka import KafkaError

        self.consumer.poll(0)  # hands over the errors that were met meanwhile
        causes = {each.code(): each for each in (*self._errors, error)}
        for code in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED):
            if code in causes:
                return BadSource(f"{self.place}: the login is refused: {causes[code].str()}")
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return BadSource(f"{place}: the login may not read it")
        if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            return BadSource(f"{place}: no such topic")
        if KafkaError._SSL in causes:
            return BadSource(f"{self.place}: no secure connection: {causes[KafkaError._SSL].str()}")
        return ConnectionError(f"{self.place}: no broker answers: {error.str()}")


@contextmanager
def kafka_client(address: Address) -> Iterator[KafkaClient]:
    """Make a client for a while; no broker is asked yet."""
    client = KafkaClient(address)
    try:
        yield client
    finally:
        client.consumer.close()


def _config(address: Address) -> dict[str, Any]:
    """Return librdkafka's settings: those of an Airflow connection, or those of a URL."""
    if address.options:
        config = dict(address.options)
        if not config.get("bootstrap.servers"):
            raise BadSource(f"{address.origin}: expected bootstrap.servers in its extra")
        return config
    try:
        parts = urlsplit(address.url)
    except ValueError:  # a bracket that is not closed
        raise BadSource(f"{address.origin}: {EXPECTED}") from None
    login, _, servers = parts.netloc.rpartition("@")
    if parts.scheme != "kafka" or not all(map(_is_server, servers.split(","))):
        raise BadSource(f"{address.origin}: {EXPECTED}")
    user, _, password = login.partition(":")
    found = LOGIN | {"sasl.username": unquote(user), "sasl.password": unquote(password)} if login else {}
    return found | dict(parse_qsl(parts.query)) | {"bootstrap.servers": servers}


def _is_server(text: str) -> bool:
    found = SERVER.fullmatch(text)
    return found is not None and 0 < int(found["port"] or 1) < 1 << 16
