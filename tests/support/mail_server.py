"""A real SMTP server for the tests, on a free port of 127.0.0.1, that keeps what it is sent; it needs no login."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage


class MailServer:
    """A server that takes every message, without TLS."""

    def __init__(self) -> None:
        self.recipients: list[str] = []
        self.messages: list[EmailMessage] = []
        owner = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self._say("220 ready")
                while words := self.rfile.readline().decode().split():
                    verb = words[0].upper()
                    if verb == "RCPT":
                        owner.recipients.append(words[1].partition("<")[2].rstrip(">"))
                    elif verb == "DATA":
                        self._say("354 go on")
                        owner.messages.append(message_from_bytes(self._data(), policy=policy.default))
                    self._say("221 bye" if verb == "QUIT" else "250 ok")
                    if verb == "QUIT":
                        return

            def _data(self) -> bytes:
                lines = []
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(line.removeprefix(b"."))  # a leading dot is doubled
                return b"".join(lines)

            def _say(self, line: str) -> None:
                self.wfile.write(f"{line}\r\n".encode())

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    @contextmanager
    def running(self) -> Iterator[MailServer]:
        """Serve until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """Run a server until the block ends."""
    with MailServer().running() as server:
        yield server
