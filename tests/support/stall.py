"""A connection to a server that stalls after some bytes, so that a test can kill a client in mid-request."""

from __future__ import annotations

import socket
import threading
from typing import Self


class Stall:
    """Listens on `port` and passes on what clients send to a port of this machine, but no more than `after` bytes."""

    def __init__(self, to: int, after: int) -> None:
        self._to, self._left = to, after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.reached = threading.Event()  # that no more is passed on

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            threading.Thread(target=self._send, args=(client, server), daemon=True).start()
            threading.Thread(target=_copy, args=(server, client), daemon=True).start()

    def _send(self, client: socket.socket, server: socket.socket) -> None:
        """Pass on what the client sends; when it has ended, or was killed, the server is told so."""
        with server, client:
            try:
                while data := client.recv(65536):
                    server.sendall(data[: self._left])
                    self._left = max(0, self._left - len(data))
                    if not self._left:
                        self.reached.set()
                server.shutdown(socket.SHUT_RDWR)  # closing it tells the server nothing while `_copy` waits for it
            except OSError:
                return


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        return
