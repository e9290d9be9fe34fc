"""A registry of container images on this machine: Debian's docker-registry, and a client of its API."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.support.servers import server
from updraft.local_stack.servers import HOST, free_port

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class ImageRegistry:
    """Where a registry listens."""

    def __init__(self, port: int) -> None:
        self.host = f"{HOST}:{port}"

    def tags(self, repository: str) -> list[str]:
        """Return a repository's tags; none of one that is not there."""
        answer = requests.get(f"http://{self.host}/v2/{repository}/tags/list", timeout=60)
        return sorted(answer.json().get("tags") or [])

    def push_empty(self, repository: str, tag: str) -> str:
        """Push an image without layers; return its digest."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}})
        digest = f"sha256:{hashlib.sha256(config.encode()).hexdigest()}"
        base = f"http://{self.host}/v2/{repository}"
        upload = requests.post(f"{base}/blobs/uploads/", timeout=60)
        upload.raise_for_status()
        place = upload.headers["Location"]
        done = requests.put(place, params={"digest": digest}, data=config.encode(), timeout=60)
        done.raise_for_status()
        blob = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": len(config)}
        manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": blob, "layers": []})
        headers = {"Content-Type": MANIFEST}
        pushed = requests.put(f"{base}/manifests/{tag}", data=manifest, headers=headers, timeout=60)
        pushed.raise_for_status()
        return pushed.headers["Docker-Content-Digest"]


@contextmanager
def image_registry(folder: Path) -> Iterator[ImageRegistry]:
    """Run a registry that keeps its images in `folder`; skip where there is none to run."""
    if not shutil.which("docker-registry"):
        pytest.skip("no docker-registry here")
    port, file = free_port(), folder / "registry.yaml"
    file.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: '{folder / 'images'}'}}}}\n"
        f"http: {{addr: '{HOST}:{port}'}}\n"
    )
    with server(["docker-registry", "serve", str(file)], port, folder / "registry.log", dict(os.environ)):
        yield ImageRegistry(port)
