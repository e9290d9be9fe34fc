"""A stand-in for Kafka: librdkafka's mock cluster of one broker.

It keeps the latest 5 MB of each partition, and nothing after its end.

`python -m updraft.local_stack.kafka PORT` is the program of the stack.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Any

from updraft.local_stack.servers import HOST

if TYPE_CHECKING:
    from confluent_kafka import Producer

CHUNK = 64 << 10


def start_broker() -> tuple[Producer, str, int]:
    """Start a broker that lives as long as the producer that is returned; also return its host and its own port."""
    from confluent_kafka import Producer

    settings: dict[str, Any] = {"test.mock.num.brokers": 1, "log_level": 0}
    producer = Producer(settings, logger=logging.getLogger(__name__))
    (broker,) = producer.list_topics(timeout=30).brokers.values()
    return producer, broker.host, broker.port


async def forward(port: int, host: str, broker_port: int) -> None:
    """Answer on `port` for a broker whose port cannot be chosen: clients ask here first, and are led on to it."""

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection(host, broker_port)
        await asyncio.gather(_copy(reader, requests), _copy(answers, writer))

    server = await asyncio.start_server(connect, HOST, port)
    async with server:
        await server.serve_forever()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while chunk := await source.read(CHUNK):
            target.write(chunk)
            await target.drain()
    except ConnectionError:
        pass  # one side has gone; the other is closed as well
    finally:
        target.close()


def main(port: int) -> None:
    """Run the broker, and answer for it, until the process is ended."""
    producer, host, broker_port = start_broker()
    asyncio.run(forward(port, host, broker_port))
    del producer  # it has held the broker


if __name__ == "__main__":
    main(int(sys.argv[1]))
