"""deploy/github/take_role.sh, beside a server that hands out tokens as GitHub's does to a job."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from updraft.defaults import ROOT

SCRIPT = ROOT / "deploy" / "github" / "take_role.sh"
ROLE = "arn:aws:iam::123456789012:role/updraft-access-Deploy"
TOKEN = "eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl"


class Tokens(BaseHTTPRequestHandler):
    """Gives a token for AWS to who has the job's own token."""

    def do_GET(self) -> None:
        right = self.headers["Authorization"] == "bearer job-token" and self.path.endswith(
            "&audience=sts.amazonaws.com"
        )
        body = json.dumps({"count": 1857, "value": TOKEN}).encode()
        self.send_response(200 if right else 401)
        self.send_header("Content-Length", str(len(body)) if right else "0")
        self.end_headers()
        self.wfile.write(body if right else b"")

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def url(starts_servers: None) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Tokens) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/token?version=2"
        server.shutdown()
        thread.join()


def take(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": os.environ["PATH"], "RUNNER_TEMP": str(folder), "GITHUB_ENV": str(folder / "env"),
        "GITHUB_RUN_ID": "17", "DEPLOY_ROLE": ROLE, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "job-token",
    }  # fmt: skip
    return subprocess.run([SCRIPT], env=environ | settings, capture_output=True, text=True, check=False, timeout=120)


def test_the_steps_that_follow_find_the_role_and_a_token_that_nobody_else_reads(url: str, tmp_path: Path) -> None:
    done = take(tmp_path, ACTIONS_ID_TOKEN_REQUEST_URL=url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"::add-mask::{TOKEN}\n"  # GitHub then shows *** in logs
    file = tmp_path / "aws-web-identity-token"
    assert (file.read_text(), file.stat().st_mode & 0o777) == (TOKEN, 0o600)
    lines = (tmp_path / "env").read_text().splitlines()
    assert lines == [
        f"AWS_ROLE_ARN={ROLE}",
        f"AWS_WEB_IDENTITY_TOKEN_FILE={file}",
        "AWS_ROLE_SESSION_NAME=github-17",
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"DEPLOY_ROLE": ""}, "DEPLOY_ROLE is not set: expected arn:aws:iam::"),
        ({"DEPLOY_ROLE": "admin\nPATH=/tmp"}, "expected arn:aws:iam::"),
        ({"ACTIONS_ID_TOKEN_REQUEST_TOKEN": ""}, "id-token: write"),
        ({"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "another"}, "GitHub gives no token"),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_set(
    url: str, tmp_path: Path, settings: dict[str, str], expected: str
) -> None:
    done = take(tmp_path, **({"ACTIONS_ID_TOKEN_REQUEST_URL": url} | settings))
    assert done.returncode == 1 and expected in done.stderr
    assert not (tmp_path / "env").exists() and not (tmp_path / "aws-web-identity-token").exists()
