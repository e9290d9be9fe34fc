"""Check that the stack's own stores run, before a command starts work that needs them."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

from updraft.local_stack.environment import OPTIONAL_PORTS, OPTIONAL_URLS, StackError, embedded, recorded
from updraft.local_stack.servers import HOST

# For each store the variable that leads to it, and the one that holds its port.
STORES = {"mongod": ("MONGODB_URL", "MONGODB_PORT"), "s3": ("AWS_ENDPOINT_URL_S3", "S3_PORT")} | {
    store: (OPTIONAL_URLS[store], port) for store, (port, _) in OPTIONAL_PORTS.items()
}


def check_stores(environ: Mapping[str, str], home: Path, *stores: str) -> None:
    """Raise StackError when `environ` leads to a store of the stack in `home`, and nothing listens there.

    Stores that are elsewhere are not checked. `environ` has been completed by `environment.load`.
    """
    settings = recorded(home)
    for store in [store for store in stores if store in embedded(settings)]:
        variable, port = STORES[store]
        if variable in settings and environ.get(variable) == settings[variable] and not _listens(int(settings[port])):
            hint = f"{variable} in {home / 'env'} points at it"
            raise StackError(f"the stack in {home} is not running (`make up` starts it); {hint}")


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
