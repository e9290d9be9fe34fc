"""Bodies spoiled at random, in every type that is taken and some others: never a 5xx, never a word from inside."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient

from serving.app import AppOptions, create_app
from serving.models.live_models import LiveModels
from serving.prediction_log.prediction_log import PredictionLog
from serving.server import worker_lock
from tests.support.served_models import load_live_models
from updraft.registry.registry import Registry

TYPES = ("application/json", "text/csv", "application/jsonl", "application/x-www-form-urlencoded", "text/plain", "")
PIECES = [
    b"null", b"NaN", b"1e999", b"-0", b"9" * 400, b"9" * 4400, b'"', b"\\", b"\\ud800", b"\\u0000", b"\x00", b"\xff",
    b"\xc3(", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"{", b"}", b"[" * 50, b"]", b",", b",,", b";", b"\n", b"\r", b"\r\n",
    b"\t", b":", b"'", b'{"rows":', b'{"columns":', b"true", b"<script>", b"{{7*7}}", b"%s%n", b"../../etc/passwd",
    b"=cmd|' /C calc'!A0", "٤٤".encode(), "🚗".encode(), b"2024-02-30", b"10000-01-01", b"0001-01-01T00:00:00+02:00",
    b"a" * 5000,
]  # fmt: skip
SECRETS = ("Traceback", "site-packages", 'File "', "<class", "object at 0x")


@pytest.fixture(scope="module")
def live_models(s3: dict[str, str], key_files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> LiveModels:
    from updraft.registry.registry import open_registry

    registry: Registry = open_registry({**s3, **key_files, "UPDRAFT_REGISTRY": "s3://test-fuzz"})
    return load_live_models(registry, tmp_path_factory.mktemp("fuzz"))


@pytest.fixture
def client(live_models: LiveModels, tmp_path: Path) -> Iterator[FlaskClient]:
    worker = worker_lock.claim(tmp_path)
    log = PredictionLog(tmp_path, worker)
    log.start()
    yield create_app(live_models, AppOptions(prediction_log=log), max_body=2**16, max_rows=20).test_client()
    log.close()
    worker.lock.release()


def bodies(example: dict[str, object]) -> list[bytes]:
    """Write an example in each way that is taken, and as the form sends it."""
    cells = [json.dumps(value, ensure_ascii=False) if value is not None else "" for value in example.values()]
    header = ",".join(f'"{name}"' for name in example)
    lines = [
        json.dumps(example),
        json.dumps({"rows": [example, example]}, ensure_ascii=False),
        json.dumps({"columns": {name: [value] * 2 for name, value in example.items()}}, separators=(",", ":")),
        f"{header}\n{','.join(cells)}\n",
        "\n".join([json.dumps(example)] * 3),
        urlencode({f"value of {name}": "" if value is None else str(value) for name, value in example.items()}),
        json.dumps({"prediction_id": f"{'0' * 32}.0", "label": 1}),
    ]
    return [each.encode() for each in lines]


def spoiled(body: bytes, draw: random.Random) -> bytes:
    raw = bytearray(body)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(raw) + 1)
        match draw.randrange(4):
            case 0:
                raw[at:at] = draw.choice(PIECES)
            case 1:
                raw[at : at + draw.randrange(12)] = draw.choice(PIECES)
            case 2:
                del raw[at : at + draw.randrange(30)]
            case 3:
                raw[at : at + 1] = bytes([draw.randrange(256)])
    return bytes(raw)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_is_sent_makes_it_fail(seed: int, client: FlaskClient, live_models: LiveModels) -> None:
    draw = random.Random(seed)
    examples = {name: bodies(live.model.signature.example) for name, live in live_models.live.items()}
    statuses = set()
    for _ in range(1500):
        name = draw.choice(sorted(examples))
        path = draw.choice([f"/predict/{name}"] * 6 + [f"/{name}", "/feedback", "/train", f"/train/{name}"])
        body = spoiled(draw.choice(examples[name]), draw)
        accept = draw.choice(["application/json", "text/csv", "text/html", "*/*"])
        answer = client.post(path, data=body, content_type=draw.choice(TYPES), headers={"Accept": accept})
        statuses.add(answer.status_code)
        assert answer.status_code < 500, (path, body, answer.text)
        assert not [secret for secret in SECRETS if secret in answer.text], (path, body, answer.text)
        if answer.status_code >= 400 and path.startswith(("/predict", "/feedback")):
            assert answer.content_type == "application/problem+json", (path, body)
    assert {200, 400, 404, 415, 422} <= statuses
