"""Runs over a topic that are killed at every step: after the next one that ends, each message is there once."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support.kafka import Broker, kafka_broker
from tests.support.small_cases import integer, small_case, text
from updraft.addresses import from_environment
from updraft.datasets.store import Datasets, open_datasets
from updraft.registry.registry import open_registry
from updraft.sources import open_source
from updraft.stages.ingest import ingest
from updraft.stages.keep import keep
from updraft.stages.last_dataset import last_dataset
from updraft.usecase import UseCase

MOMENTS = ("while it reads", "before the file", "before the manifest", "after the manifest")


@pytest.fixture(scope="module")
def broker(starts_servers: None) -> Iterator[Broker]:
    with kafka_broker() as running:
        yield running


@pytest.fixture
def environ(broker: Broker, registry_environ: dict[str, str]) -> dict[str, str]:
    return {
        **registry_environ,
        "KAFKA_URL": broker.url,
        "UPDRAFT_DATASETS": f"{registry_environ['UPDRAFT_REGISTRY']}-datasets",
    }


def case_of(topic: str, folder: Path) -> UseCase:
    folder.mkdir(exist_ok=True)
    return small_case([integer("y"), text("t")], source={"kafka": {"topic": topic}}, folder=folder)


def run(environ: Mapping[str, str], topic: str, folder: Path, moment: str = "") -> None:
    """Read what is new and keep it, as `ingest` and `validate` do; die at a moment."""
    case, datasets = case_of(topic, folder), open_datasets(environ)
    assert datasets is not None
    if moment in MOMENTS:
        _die_at(moment, datasets)
    dies: Callable[[int, int | None], None] | None = _die if moment == "while it reads" else None
    with (
        last_dataset(case, datasets, folder) as last,
        open_source(case, from_environment(environ), None, last.position) as source,
    ):
        dataset = ingest(case, source, folder / "ingest", dies, last)
    keep(case, dataset, datasets, lambda: open_registry(environ), folder.name)
    if moment == "after the manifest":
        _die()


def _die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at(moment: str, datasets: Datasets) -> None:
    part = {"before the file": "/files/", "before the manifest": "/manifests/"}.get(moment)

    def look(request: Any, **_: Any) -> None:
        if part and part in request.url:
            _die()

    datasets.bucket.client.meta.events.register("before-send.s3.PutObject", look)


def test_each_message_is_there_once_whatever_was_killed(
    broker: Broker, environ: dict[str, str], tmp_path: Path
) -> None:
    topic, sent = f"rows-{secrets.token_hex(4)}", 0
    for number, moment in enumerate((*MOMENTS, "", "before the manifest", "")):
        for partition in (0, 2):
            values = range(sent, sent + 40)
            broker.send(
                topic, *(json.dumps({"y": 0, "t": str(value)}).encode() for value in values), partition=partition
            )
            sent += 40
        arguments = {"environ": environ, "topic": topic, "folder": str(tmp_path / f"run {number}"), "moment": moment}
        script = (
            "import json, sys\nfrom pathlib import Path\nfrom tests.stages.test_kafka_runs import run\n"
            "call = json.loads(sys.argv[1])\nrun(**call | {'folder': Path(call['folder'])})\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, json.dumps(arguments)],
            env={"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == (-signal.SIGKILL if moment else 0), done.stderr
    datasets = open_datasets(environ)
    assert datasets is not None
    last = datasets.last("small")
    assert last is not None and last.rows == sent
    rows = pd.read_parquet(datasets.fetch("small", last.md5, last.sha256, tmp_path / "last.parquet"))
    assert sorted(map(int, rows["t"])) == list(range(sent))
    assert [manifest.base for manifest in datasets.manifests("small")] == [None, 1, 2]
