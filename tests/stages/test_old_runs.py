"""Which runs' files may go, here and on S3: never those of a run that goes on, or may go on."""

from __future__ import annotations

import os
import secrets
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.airflow_server import LIVE, AirflowServer
from updraft.airflow_client import AirflowError
from updraft.cli.clean_runs import clean_runs
from updraft.errors import UserError
from updraft.local_stack.credentials import SERVICE
from updraft.registry.s3 import Bucket, s3_client
from updraft.stages.old_runs import LocalRunFolders, RunFolder, S3RunFolders, removable

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def runs(**days: float) -> list[RunFolder]:
    return [RunFolder(run_id, 10, NOW - timedelta(days=age)) for run_id, age in days.items()]


def test_the_runs_that_were_written_last_stay_and_so_does_what_goes_on_or_may_go_on() -> None:
    states = {"waits": "running", "queued": "queued", "failed": "failed", "done": "success", "b": "success"}
    found = runs(a=1, b=0, waits=90, queued=30, failed=3, done=40, unknown=6, lost=8)
    old, staying = removable(found, 2, states.get, NOW)
    assert {run.run_id for run in old} == {"failed", "done", "lost"}
    assert staying.keys() == {"waits", "queued", "unknown"}
    assert staying["waits"] == "Airflow says running" and "7 days" in staying["unknown"]
    assert removable(found, 8, states.get, NOW) == ([], {})


def folder(root: Path, run_id: str, days: float) -> Path:
    path = root / run_id / "ingest"
    path.mkdir(parents=True)
    (path / "dataset").write_bytes(bytes(1000))
    then = time.time() - days * 86400
    for each in (path / "dataset", path, path.parent):
        os.utime(each, (then, then))
    return path.parent


def test_on_this_machine_a_dry_run_removes_nothing_and_links_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UPDRAFT_ARTIFACTS", str(tmp_path))
    monkeypatch.delenv("AIRFLOW_URL", raising=False)
    root = tmp_path / LIVE
    new, recent, old = (folder(root, name, days) for name, days in (("new", 0), ("recent", 5), ("old", 9)))
    (root / "link").symlink_to(new)
    assert {run.run_id: run.size for run in LocalRunFolders(root).list()} == dict.fromkeys(
        ("new", "recent", "old"), 1000
    )
    clean_runs(LIVE, 1, yes=False)
    output = capsys.readouterr().out
    assert "would be removed: old (1.0 kB" in output and "stays: recent" in output
    assert output.splitlines()[-1] == f"Next: updraft clean {LIVE} --keep-runs 1 --yes" and old.exists()
    clean_runs(LIVE, 1, yes=True)
    assert (new.exists(), recent.exists(), old.exists()) == (True, True, False)
    assert f"{root}: 1 runs, 1.0 kB, removed" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["../x", "", "."])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="is not a name of a use case"):
        clean_runs(name, 0, yes=True)


def test_on_s3(s3: dict[str, str]) -> None:
    bucket = Bucket(s3_client(s3), "test-kept", f"clean/{secrets.token_hex(6)}/{LIVE}")
    bucket.create_if_missing()
    for key in ("first/ingest/a", "first/ingest/b", "second/c"):
        bucket.put(key, b"12345")
    folders = S3RunFolders(bucket)
    assert {run.run_id: run.size for run in folders.list()} == {"first": 10, "second": 5}
    assert all(timedelta(0) <= datetime.now(UTC) - run.written + timedelta(minutes=1) for run in folders.list())
    folders.remove("first")
    assert list(bucket.keys("")) == ["second/c"]


def test_airflow_is_asked_and_must_answer(
    api_server: AirflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = f"kept-{secrets.token_hex(4)}"
    api_server.admin.trigger(f"train_{LIVE}", run_id)  # without a scheduler it stays queued
    path, other = folder(tmp_path / LIVE, run_id, 90), folder(tmp_path / LIVE, "of-the-shell", 90)
    monkeypatch.setenv("UPDRAFT_ARTIFACTS", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AIRFLOW_USER", SERVICE)
    monkeypatch.setenv("AIRFLOW_PASSWORD", api_server.password)
    with pytest.raises(AirflowError):
        clean_runs(LIVE, 0, yes=True)
    assert path.exists() and other.exists()
    monkeypatch.setenv("AIRFLOW_URL", api_server.url)
    clean_runs(LIVE, 0, yes=True)
    assert path.exists() and not other.exists()
    assert f"stays: {run_id}: Airflow says queued" in capsys.readouterr().out
