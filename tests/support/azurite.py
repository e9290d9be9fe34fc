"""Azurite, an emulator of Azure Blob Storage, from npm: installed once, in a folder that outlives the clone."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.peers import npm_modules
from tests.support.servers import server

VERSION = "3.37.0"
ACCOUNT = "updrafttests"


def azurite_in(folder: Path) -> Path:
    """Return the program, installed if it is not there; skip where there is no npm."""
    return npm_modules(folder, "azurite", VERSION) / ".bin" / "azurite-blob"


class Azurite:
    """A server with an account of its own, whose data lies in `folder`; it can be started again."""

    def __init__(self, program: Path, folder: Path, port: int) -> None:
        self.program, self.folder, self.port = program, folder, port
        self.key = base64.b64encode(secrets.token_bytes(32)).decode()

    @property
    def environ(self) -> dict[str, str]:
        endpoint = f"http://127.0.0.1:{self.port}/{ACCOUNT}"
        text = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={self.key};BlobEndpoint={endpoint};"
        return {"AZURE_STORAGE_CONNECTION_STRING": text}

    @contextmanager
    def running(self) -> Iterator[None]:
        command = [
            str(self.program),
            "--silent",
            "--disableTelemetry",
            "--skipApiVersionCheck",
            "--blobHost",
            "127.0.0.1",
        ]
        command += ["--blobPort", str(self.port), "--location", str(self.folder)]
        environ = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{self.key}"}
        with server(command, self.port, self.folder.parent / "azurite.log", environ):
            yield
