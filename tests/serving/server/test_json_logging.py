"""The log: one line an event, in a file of each worker that rotates, and no secret in it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import textwrap
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
HEAD = """
import logging, sys, threading, warnings
from pathlib import Path
from serving.server import json_logging
from serving.server.worker_lock import claim
folder = Path(sys.argv[1])
worker = claim(folder)
log = logging.getLogger("serving.models.live_models")
"""


def start(script: str, folder: Path) -> subprocess.Popen[str]:
    """Run a script in a process of its own: logging is set up once for all in each."""
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'include'}"}
    command = [sys.executable, "-c", HEAD + textwrap.dedent(script), str(folder)]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(script: str, folder: Path) -> list[str]:
    """Run a script; give the lines of its stderr."""
    process = start(script, folder)
    out, error = process.communicate(timeout=300)
    assert (process.returncode, out) == (0, ""), error
    return error.splitlines()


def written(folder: Path, name: str = "serving-00.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "logs" / name).read_text().splitlines()]


def test_an_event_is_one_line_with_time_level_logger_message_and_fields(tmp_path: Path) -> None:
    before = datetime.now(UTC) - timedelta(seconds=0.001)
    script = """
        json_logging.configure(folder / "logs", worker)
        fields = {"use_case": "a", "rows": [1, 2], "path": folder, "token": "hunter2"}
        log.info("%s: version %d is live\\nat last", "Fräulein 🚗", 3, extra=fields)
    """
    errors = run(script, tmp_path)
    [event] = written(tmp_path)
    at = datetime.fromisoformat(event.pop("time"))
    assert before <= at <= datetime.now(UTC)
    assert at.utcoffset() == timedelta(0)
    assert event == {
        "level": "INFO",
        "logger": "serving.models.live_models",
        "message": "Fräulein 🚗: version 3 is live\nat last",
        "worker": 0,
        "use_case": "a",
        "rows": [1, 2],
        "path": str(tmp_path),
        "token": "…",
    }
    assert [json.loads(line) for line in errors] == written(tmp_path)


def test_an_exception_is_a_text_in_its_line(tmp_path: Path) -> None:
    script = """
        json_logging.configure(folder / "logs", worker)
        try:
            {}["there"]
        except KeyError:
            log.exception("failed")
        thread = threading.Thread(target=lambda: 1 / 0, name="t")
        thread.start(); thread.join()
        warnings.warn("old")
        log.debug("not logged")
    """
    run(script, tmp_path)
    failed, crashed, warned = written(tmp_path)
    assert failed["exception"].startswith("Traceback (most recent call last)")
    assert failed["exception"].endswith("KeyError: 'there'")
    assert crashed["message"] == "thread t died of an exception"
    assert "ZeroDivisionError" in crashed["exception"]
    assert "old" in warned["message"]
    assert [each["level"] for each in (failed, crashed, warned)] == ["ERROR", "CRITICAL", "WARNING"]


def test_an_exception_that_ends_the_process_is_logged(tmp_path: Path) -> None:
    process = start('json_logging.configure(folder / "logs", worker)\nraise RuntimeError("the end")', tmp_path)
    process.communicate(timeout=300)
    assert process.returncode == 1
    assert "RuntimeError: the end" in written(tmp_path)[0]["exception"]


def test_plain_lines_for_people_and_no_file(tmp_path: Path) -> None:
    [line] = run(
        'json_logging.configure(None, worker, "WARNING", json=False)\nlog.info("no")\nlog.warning("a %s", "word")',
        tmp_path,
    )
    time, rest = line.split(" ", 1)
    assert datetime.fromisoformat(time).utcoffset() == timedelta(0)
    assert rest == "WARNING serving.models.live_models: a word"
    assert not (tmp_path / "logs").exists()


def test_an_unknown_level_is_a_value_error(tmp_path: Path) -> None:
    process = start('json_logging.configure(None, worker, "LOUD")', tmp_path)
    _, error = process.communicate(timeout=300)
    assert "ValueError: Unknown level: 'LOUD'" in error


def test_files_rotate_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    script = """
        import os
        os.umask(0)
        json_logging.MAX_BYTES = 2000
        json_logging.configure(folder / "logs", worker)
        for number in range(400):
            log.info("event %d", number)
    """
    errors = run(script, tmp_path)
    assert len(errors) == 400
    names = ["serving-00.jsonl", *(f"serving-00.jsonl.{number}" for number in range(1, 6))]
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == names
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "logs").iterdir()} == {0o600}
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700
    assert all((tmp_path / "logs" / name).stat().st_size <= 2000 for name in names)
    events = [each["message"] for name in reversed(names) for each in written(tmp_path, name)]
    assert events == [f"event {number}" for number in range(400 - len(events), 400)]


def test_workers_at_the_same_time_lose_and_mix_nothing(tmp_path: Path) -> None:
    script = """
        json_logging.MAX_BYTES, json_logging.BACKUPS = 20_000, 50
        json_logging.configure(folder / "logs", worker)
        def tell(thread):
            for number in range(300):
                log.info("%d %d", thread, number)
        threads = [threading.Thread(target=tell, args=(number,)) for number in range(4)]
        for each in threads: each.start()
        for each in threads: each.join()
        sys.stdin.read()
    """
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'include'}"}
    command = [sys.executable, "-c", HEAD + textwrap.dedent(script), str(tmp_path)]
    workers = [
        subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(3)
    ]
    for each in workers:
        each.communicate(b"", timeout=300)
    counts = Counter(
        (path.name.split(".")[0], event["worker"], event["message"])
        for path in (tmp_path / "logs").iterdir()
        for event in map(json.loads, path.read_text().splitlines())
    )
    assert sum(counts.values()) == 3 * 4 * 300
    assert all(name == f"serving-{worker:02d}" for name, worker, _ in counts)
    again = Counter(message for (_, _, message) in counts.elements())
    assert set(again.values()) == {3}


def test_a_folder_that_is_gone_or_full_stops_nothing(tmp_path: Path) -> None:
    script = """
        import resource, shutil
        json_logging.MAX_BYTES = 3000
        json_logging.configure(folder / "logs", worker)
        shutil.rmtree(folder / "logs")
        for number in range(50):
            log.info("event %d", number)
        json_logging.configure(folder / "more", worker)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        for number in range(50):
            log.info("event %d", number)
    """
    errors = run(script, tmp_path)
    assert [json.loads(line)["message"] for line in errors] == [f"event {number}" for number in range(50)] * 2


SECRETS = {
    "an access line": '[t] 10.0.0.1 - "GET /stats?token=hunter2&x=1 HTTP/1.1" 200 1.2',
    "a gunicorn line": '10.0.0.1 - - [t] "POST /predict/a?api_key=hunter2 HTTP/1.1" 200 5 "-" "curl"',
    "a URL": "cannot reach mongodb+srv://user:hunter2@host/db?retryWrites=true",
    "an S3 URL": "https://hunter2:x@s3.example/bucket",
    "a header": "Authorization: Bearer hunter2hunter2",
    "headers": "{'Authorization': 'Basic hunter2hunter2', 'X-API-Key': 'hunter2'}",
    "a cookie": "Cookie: session=hunter2",
    "a token": "token=hunter2 was refused",
    "a variable": "AWS_SECRET_ACCESS_KEY='hunter2'",
}


@pytest.mark.parametrize("json_too", [True, False], ids=["json", "plain"])
def test_a_secret_is_left_out_of_message_exception_and_fields(json_too: bool, tmp_path: Path) -> None:
    script = f"""
        json_logging.configure(folder / "logs", worker, json={json_too})
        for name, text in {SECRETS!r}.items():
            logging.getLogger("granian.access").info("%s: " + text, name)
            log.info("%s: %s", name, text, extra={{"more": [text, {{"x": text}}], "secret": text}})
            try:
                raise RuntimeError(text)
            except RuntimeError:
                log.exception("%s:", name)
    """
    errors = run(script, tmp_path)
    lines = (tmp_path / "logs" / "serving-00.jsonl").read_text().splitlines()
    assert [line for line in (*lines, *errors) if "hunter2" in line] == []
    names = [event["message"].partition(":")[0] for event in written(tmp_path)]
    assert names == [name for name in SECRETS for _ in range(3)]


def test_what_is_no_secret_stays(tmp_path: Path) -> None:
    texts = ["a model of sms_spam: version 3 is live", "http://127.0.0.1:5000/models", "who? GET it", "2 tokens, 1 key"]
    run(f'json_logging.configure(folder / "logs", worker)\nfor text in {texts!r}: log.info(text)', tmp_path)
    assert [event["message"] for event in written(tmp_path)] == texts


def test_an_extra_field_replaces_no_other_and_need_not_be_json(tmp_path: Path) -> None:
    script = """
        json_logging.configure(folder / "logs", worker)
        log.info("a", extra={"time": "never", "level": "LOUD", "worker": 9, "error": ValueError("x"), "odd": {1: {2}}})
        log.info("half a pair: \\ud800", stack_info=True)
    """
    run(script, tmp_path)
    first, second = written(tmp_path)
    assert (first["level"], first["worker"], first["error"], first["odd"]) == ("INFO", 0, "x", {"1": "{2}"})
    assert datetime.fromisoformat(first["time"]).utcoffset() == timedelta(0)
    assert second["message"] == "half a pair: \ud800"
    assert second["stack"].startswith("Stack (most recent call last)")


def test_a_logged_exception_is_not_held_in_memory(tmp_path: Path) -> None:
    script = """
        import weakref
        class Rows: pass
        def fail():
            rows = Rows()
            seen.append(weakref.ref(rows))
            raise RuntimeError("failed")
        seen = []
        json_logging.configure(folder / "logs", worker)
        try:
            fail()
        except RuntimeError:
            log.exception("failed")
        assert seen[0]() is None
    """
    run(script, tmp_path)
    assert "in fail" in written(tmp_path)[0]["exception"]


def test_the_servers_own_lines_go_the_same_way(tmp_path: Path) -> None:
    script = """
        from granian.log import LogLevels, configure_logging
        configure_logging(LogLevels.info)
        json_logging.configure(folder / "logs", worker)
        for name in ("_granian", "granian.access", "gunicorn.error", "gunicorn.access"):
            logging.getLogger(name).warning("line")
        json_logging.log_request("POST", "/predict/a", 200, 0.00123456, use_case="a", rows=3)
    """
    errors = run(script, tmp_path)  # and nothing on stdout
    events = written(tmp_path)
    assert len(errors) == len(events) == 5
    assert events[-1]["message"] == "POST /predict/a 200"
    assert (events[-1]["status"], events[-1]["seconds"], events[-1]["rows"]) == (200, 0.001235, 3)


def test_a_path_cannot_forge_a_line(tmp_path: Path) -> None:
    script = """
        json_logging.configure(folder / "logs", worker, json=False)
        json_logging.log_request("GET", "/a\\n2026-01-01 CRITICAL serving: forged\\r\\x1b[2J" + "x" * 5000, 404, 0.1)
    """
    [line] = run(script, tmp_path)
    assert len(line) < 400
    assert "/a_2026-01-01 CRITICAL serving: forged__[2Jxx" in line
    assert len(written(tmp_path)) == 1


def test_lines_of_answered_requests_wait_a_moment_and_none_is_lost(tmp_path: Path) -> None:
    """8 threads add lines while others are written; an error is written at once, behind what came before it."""
    script = """
        import json, time
        from concurrent.futures import ThreadPoolExecutor
        json_logging.configure(folder / "logs", worker, json=False)
        file = folder / "logs" / "serving-00.jsonl"
        json_logging.log_request("POST", "/predict/a", 200, 0.1, version=1, key="Fräulein")
        json_logging.log_request("POST", "/predict/a", 400, 0.1, version=1, key=None)
        assert [json.loads(line)["status"] for line in file.read_text().splitlines()] == [200, 400]
        add = lambda number: json_logging.log_request("POST", f"/predict/{number}", 200, 0.1)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(add, range(50_000)))
        time.sleep(1)
        assert len(file.read_text().splitlines()) == 50_002
        add(50_000)
    """
    errors = run(script, tmp_path)
    events = written(tmp_path)
    names = {int(event["path"].rpartition("/")[2]) for event in events[2:]}
    assert names == set(range(50_001))
    assert len(events) == len(errors) == 50_003
    assert events[0]["key"] == "Fräulein"
    assert errors[0] == f"{events[0]['time']} INFO serving.access: POST /predict/a 200"
    at = datetime.fromisoformat(events[0]["time"])
    assert timedelta(0) <= datetime.now(UTC) - at < timedelta(minutes=5)


def test_answered_requests_have_no_line_where_only_errors_are_wanted(tmp_path: Path) -> None:
    script = """
        json_logging.configure(folder / "logs", worker, answered=False)
        for status in (200, 302, 404, 500):
            json_logging.log_request("GET", "/a", status, 0.1)
    """
    run(script, tmp_path)
    assert [event["status"] for event in written(tmp_path)] == [404, 500]
    other = tmp_path / "other"
    other.mkdir()
    run(
        'json_logging.configure(folder / "logs", worker, "WARNING")\njson_logging.log_request("GET", "/", 200, 1)',
        other,
    )
    assert not written(other)
