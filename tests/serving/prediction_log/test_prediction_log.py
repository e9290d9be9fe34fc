"""The prediction log: nothing acknowledged is lost and nothing is in it twice, whoever dies when."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from serving.prediction_log import retention, spool_reader, spool_writer
from serving.prediction_log.ingester import Ingester
from serving.prediction_log.prediction_log import LogOptions, PredictionLog
from serving.prediction_log.records import new_id, parse_id, prediction_id
from serving.prediction_log.retention import Retention
from serving.prediction_log.store import SCHEMAS, Store
from serving.server.worker_lock import WorkerLock, claim, try_lock
from tests.support.prediction_log_files import ask, entry, facts, files, ingester, leader, stored
from tests.support.service import until

ROOT = Path(__file__).parents[3]


class Log(PredictionLog):
    """A log, and an ingester whose rounds the test runs itself."""

    ingester: Ingester


@contextmanager
def opened(folder: Path, **options: float) -> Iterator[Log]:
    worker = claim(folder)
    kept = LogOptions(**options)
    log = Log(folder, worker, kept)
    log.ingester = Ingester(folder, Retention(kept.days * 86400, int(kept.max_mb * 2**20)))
    try:
        yield log
    finally:
        log.close()
        log.ingester.close()
        worker.lock.release()


def ingest(log: Log) -> None:
    """Run a round, once a killed worker's ingester has ended, and hold that nothing is left over."""
    until(log.ingester.run_once)
    assert log.backlog_bytes() == 0


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_a_request_and_its_predictions_are_in_the_tables(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        it = entry(2)
        assert log.write(it)
        assert log.backlog_bytes() > 0
        ingest(log)
    assert stored(tmp_path) == [it.id]
    query = "SELECT at, use_case, version, status, seconds, kind, rows, columns FROM requests r"
    query += " JOIN shapes s ON s.number = r.shape"
    assert ask(tmp_path, query) == [(it.at, "vehicle_insurance", 3, 200, 0.001, None, 2, '["Age","Gender"]')]
    query = "SELECT row, input, prediction, label, probability FROM predictions ORDER BY row"
    assert ask(tmp_path, query) == [(0, '[20,"Male"]', 0, "no", 0.0), (1, '[21,"Male"]', 1, "yes", 0.5)]


def test_a_refused_request_a_regression_and_a_multiclass_prediction_are_stored(tmp_path: Path) -> None:
    refused = entry(0, version=None, status=422, kind="schema", columns=[], labels=None, probabilities=None)
    price = entry(1, use_case="vehicle_price", predictions=[12.5], labels=None, probabilities=None)
    spam = entry(1, use_case="sms", predictions=["spam"], labels=["spam"], probabilities=[{"spam": 0.9, "ham": 0.1}])
    with opened(tmp_path) as log:
        for each in (refused, price, spam):
            assert log.write(each)
        ingest(log)
    assert ask(tmp_path, "SELECT use_case, version, status, kind, rows FROM requests ORDER BY number") == [
        ("vehicle_insurance", 0, 422, "schema", 0),
        ("vehicle_price", 3, 200, None, 1),
        ("sms", 3, 200, None, 1),
    ]
    assert ask(tmp_path, "SELECT prediction, label, probability FROM predictions ORDER BY request") == [
        (12.5, None, None),
        ("spam", "spam", '{"spam":0.9,"ham":0.1}'),
    ]
    assert ask(tmp_path, "SELECT use_case, what, name, count FROM counts ORDER BY 1") == [
        ("sms", "label", "spam", 1),
        ("vehicle_insurance", "refused", "schema", 1),
    ]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "",
        'a "quoted" \\ line\nand another\r\n\0',
        "Fräulein 🚗",
        2**63 - 1,
        -1e300,
        float("nan"),
        float("inf"),
    ],
)
def test_no_value_of_a_row_breaks_its_line(value: Any, tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        assert log.write(entry(1))
        assert log.write(entry(1, columns=["x"], rows=[[value]]))
        assert log.write(entry(1))
        ingest(log)
    assert len(stored(tmp_path)) == 3
    [(text,)] = ask(tmp_path, "SELECT input FROM predictions WHERE request = 2")
    finite = not (isinstance(value, float) and (value != value or value == float("inf")))
    assert json.loads(text) == [value if finite else None]


def test_what_json_cannot_express_is_counted_and_raises_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        assert not log.write(entry(1, rows=[["\ud800"]]))
        assert log._spool.lost == 1
        assert log.write(entry(1))
        ingest(log)
    assert len(stored(tmp_path)) == 1


def test_ids_sort_by_time_cannot_be_guessed_and_can_be_parsed() -> None:
    ids = []
    for _ in range(5):
        ids.append(new_id())
        time.sleep(0.002)
    assert ids == sorted(ids)
    assert len({new_id()[12:] for _ in range(10_000)}) == 10_000
    assert parse_id(prediction_id(ids[0], 17)) == (ids[0], 17)
    for bad in (
        "",
        ids[0],
        f"{ids[0]}.",
        f"{ids[0]}.01",
        f"{ids[0]}.-1",
        f"{ids[0].upper()}.0x",
        f"{ids[0]}.1\n",
        f"{ids[0]}.\u0661",
    ):
        with pytest.raises(ValueError, match="expected 32 hex digits"):
            parse_id(bad)


def test_only_the_owner_reads_and_nothing_private_was_ever_written(tmp_path: Path) -> None:
    """What is left out of an entry is in no byte of any file: not in the spool, SQLite, its WAL and its free pages."""
    folder = tmp_path / "state"
    old = os.umask(0)
    try:
        with opened(folder) as log:
            log.write(entry(1, columns=["Age"], rows=[[44]]))
            log.ingester.run_once()
            log.write(entry(1, columns=["Age"], rows=[[45]]))
            (folder / "spool" / "00-x.jsonl").write_bytes(b"garbage\n")
            log.ingester.run_once()
            paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "00-x.jsonl"]
            assert {"predictions.sqlite", "predictions.sqlite-wal", "bad.txt"} <= {path.name for path in paths}
            assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
            folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
            assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
            content = b"".join(path.read_bytes() for path in paths)
    finally:
        os.umask(old)
    assert b"Age" in content
    assert b"Gender" not in content
    assert b"Male" not in content


# --- kill -9 ----------------------------------------------------------------------------------------------------------

WORKER = """
import os, sys, threading, time
from pathlib import Path
from serving.prediction_log.prediction_log import PredictionLog
from tests.support.prediction_log_files import COLUMNS, ask, entry, facts, files, leader, stored
from serving.prediction_log.records import Entry, new_id
from serving.server.worker_lock import claim

folder = Path(sys.argv[1])
log = PredictionLog(folder, claim(folder))
log._spool.max_bytes = 200_000
log.start()

def answer():
    while True:
        it = Entry(id=new_id(), at=time.time(), use_case="a", version=1, status=200, seconds=0.001, columns=["x"],
                   rows=[[1], ["two" * 50]], predictions=[0, 1], labels=["no", "yes"], probabilities=[0.1, 0.9])
        if log.write(it):
            os.write(1, it.id.encode() + b"\\n")  # the answer goes out
        time.sleep(0.0005)

for _ in range(3):
    threading.Thread(target=answer, daemon=True).start()
time.sleep(600)
"""
INGESTER = """
import sys
from pathlib import Path
from serving.prediction_log.ingester import Ingester
from serving.prediction_log.retention import Retention

Ingester(Path(sys.argv[1]), Retention()).run()
"""


class Worker:
    """A process that writes, and the ids for which it answered. It is killed at the end of its block, if not before."""

    def __init__(self, folder: Path, script: str = WORKER) -> None:
        environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'include'}"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, str(folder)], env=environ, stdout=subprocess.PIPE
        )
        self.ids: list[str] = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith(b"\n"):
                self.ids.append(line.decode().strip())

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(60)
        self.reader.join(20)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def kill(self) -> None:
        self.process.kill()
        assert self.process.wait(60) == -signal.SIGKILL
        self.reader.join(20)


@pytest.mark.usefixtures("takes_long")
def test_kill_9_under_load_loses_nothing_acknowledged_and_doubles_nothing(tmp_path: Path) -> None:
    """Nine kills among three workers: in turn of one that has started the ingester, of another, of the ingester."""
    dead: list[Worker] = []
    kills = {"leader": 0, "other": 0, "ingester": 0}
    with ExitStack() as stack:
        alive = [stack.enter_context(Worker(tmp_path)) for _ in range(3)]
        until(lambda: all(len(each.ids) > 20 for each in alive))
        for turn in range(9):
            time.sleep(random.uniform(0.1, 0.5))
            until(lambda: leader(tmp_path) in {each.process.pid for each in alive})
            lead = next(each for each in alive if each.process.pid == leader(tmp_path))
            kind = list(kills)[turn % 3]
            kills[kind] += 1
            if kind == "ingester":
                ingester(tmp_path).kill()
                continue
            victim = lead if kind == "leader" else random.choice([each for each in alive if each is not lead])
            alive.remove(victim)
            victim.kill()
            dead.append(victim)
            alive.append(stack.enter_context(Worker(tmp_path)))
            until(lambda: len(alive[-1].ids) > 20)
        for each in alive:
            each.kill()
    acknowledged = [id_ for each in (*dead, *alive) for id_ in each.ids]
    assert len(acknowledged) > 500
    with opened(tmp_path) as log:  # the next start
        ingest(log)
        ids = stored(tmp_path)
        assert files(tmp_path) == []
    assert len(ids) == len(set(ids))
    assert set(acknowledged) <= set(ids)
    assert (
        len(set(ids) - set(acknowledged)) <= 3 * 9
    )  # of each thread that died one may be written and not acknowledged
    assert "bad" not in facts(tmp_path)
    assert len(list((tmp_path / "slots").iterdir())) <= 5  # numbers are used again


def waiting(folder: Path) -> int:
    """Count the bytes of the spool that are not in the tables."""
    return spool_reader.backlog_bytes(folder / "spool", Store(folder).offsets())


@pytest.mark.usefixtures("takes_long")
def test_kill_9_of_the_ingester_in_the_middle_of_a_long_backlog(tmp_path: Path) -> None:
    entries = [entry(2) for _ in range(10_000)]
    with opened(tmp_path) as log:
        log._spool.max_bytes = 1_500_000
        assert all(map(log.write, entries))
        assert len(files(tmp_path)) > 1
    kills = cut = 0
    while before := waiting(tmp_path):
        with Worker(tmp_path, INGESTER) as worker:
            while waiting(tmp_path) == before:  # so that each of them gets further
                assert worker.process.poll() is None
            worker.kill()
        kills += 1
        offsets, sizes = Store(tmp_path).offsets(), spool_reader.file_sizes(tmp_path / "spool")
        cut += any(0 < offset < sizes.get(name, 0) for name, offset in offsets.items())
    assert kills > 1
    assert cut  # at least one of them was in the middle of a file
    with opened(tmp_path) as log:
        ingest(log)
    assert sorted(stored(tmp_path)) == sorted(each.id for each in entries)
    assert facts(tmp_path) == {}


def test_another_worker_takes_over_from_the_one_that_ingests(tmp_path: Path) -> None:
    with opened(tmp_path) as log, opened(tmp_path) as other:
        assert log.ingester.run_once()
        assert not other.ingester.run_once()
        it = entry()
        other.write(it)
        ingest(log)
        assert stored(tmp_path) == [it.id]
        log.ingester.close()
        other.write(entry())
        ingest(other)
        assert not log.ingester.run_once()
        assert len(stored(tmp_path)) == 2


def test_two_workers_start_one_ingester_which_doubles_nothing(tmp_path: Path) -> None:
    workers = [claim(tmp_path), claim(tmp_path)]
    assert [each.number for each in workers] == [0, 1]
    logs = [PredictionLog(tmp_path, worker) for worker in workers]
    for log in logs:
        log.start()
    entries = [entry() for _ in range(2000)]
    for index, each in enumerate(entries):
        assert logs[index % 2].write(each)
    assert logs[0].wait_until_ingested(20)
    assert sorted(stored(tmp_path)) == sorted(each.id for each in entries)
    assert [log._process._process is not None for log in logs].count(True) == 1
    for log in logs:
        log.close()
    for worker in workers:
        worker.lock.release()


def test_many_threads_share_a_worker(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log._spool.max_bytes = 20_000
        entries = [[entry(1 + index % 50) for index in range(200)] for _ in range(8)]
        threads = [
            threading.Thread(target=lambda worker=worker: [log.write(each) for each in worker]) for worker in entries
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert log._spool.lost == 0
        ingest(log)
    assert sorted(stored(tmp_path)) == sorted(each.id for worker in entries for each in worker)


# --- the process that ingests ----------------------------------------------------------------------------------------


@contextmanager
def started(folder: Path) -> Iterator[PredictionLog]:
    """Give a log with an ingester of its own, as in a worker."""
    worker = claim(folder)
    log = PredictionLog(folder, worker)
    log.start()
    try:
        until(lambda: ingester(folder) is not None)
        yield log
    finally:
        log.close()
        worker.lock.release()


def test_a_stop_leaves_everything_in_the_tables_and_no_process(tmp_path: Path) -> None:
    with started(tmp_path) as log:
        process = ingester(tmp_path)
        entries = [entry() for _ in range(3000)]
        assert all(map(log.write, entries))
    assert not process.is_running()
    assert sorted(stored(tmp_path)) == sorted(each.id for each in entries)
    assert files(tmp_path) == []


def test_an_ingester_that_is_told_to_end_ingests_first_and_another_follows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with started(tmp_path) as log:
        assert log.write(entry())
        assert log.wait_until_ingested(20)  # it is up, and handles signals
        first = ingester(tmp_path)
        it = entry()
        assert log.write(it)
        first.terminate()
        until(lambda: not first.is_running())
        assert it.id in stored(tmp_path)
        until(lambda: ingester(tmp_path) is not None)
        assert log.write(entry())
        assert log.wait_until_ingested(20)
    assert "the ingester ended with exit code 0" in caplog.text


def test_the_ingester_has_no_secret_of_the_service_and_no_file_but_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVING_API_KEYS", "a:0123456789abcdef")
    with started(tmp_path) as log:
        assert log.write(entry())
        assert log.wait_until_ingested(20)
        process = ingester(tmp_path)
        assert "SERVING_API_KEYS" not in process.environ()
        opened_here = {
            Path(each.path).relative_to(tmp_path).parts[0]
            for each in process.open_files()
            if tmp_path.as_posix() in each.path
        }
    names = ("predictions.sqlite", "predictions.sqlite-wal", "predictions.sqlite-shm")
    assert opened_here <= {*names, "ingester.lock", "logs"}


def test_a_full_file_is_flushed_by_the_thread_that_syncs_and_not_by_a_request(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log._spool.max_bytes = 5_000
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(200):
            assert log.write(entry())
        full = len(files(tmp_path)) - 1
        assert len(log._spool._full) == full > 5
        log._spool.sync()
        assert log._spool._full == []
        assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
        ingest(log)
        assert len(files(tmp_path)) == 1


# --- what lies in the spool -------------------------------------------------------------------------------------------


def test_an_incomplete_record_of_a_dead_worker_is_dropped_counted_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path) as log:
        it = entry()
        log.write(it)
        log.write(entry())
        [path] = files(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    with opened(tmp_path) as log:
        ingest(log)
    assert stored(tmp_path) == [it.id]
    assert files(tmp_path) == []
    assert facts(tmp_path) == {"torn": 1}
    assert "incomplete record" in caplog.text


def test_half_a_record_of_a_live_worker_is_left_until_it_is_whole(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.write(entry())
        [path] = files(tmp_path)
        whole = spool_writer.ENCODER.encode(entry()) + b"\n"
        with path.open("ab", buffering=0) as file:  # as write(2) may be seen by another in its middle
            file.write(whole[:100])
            assert log.ingester.run_once()
            assert log.backlog_bytes() == 100
            file.write(whole[100:])
        ingest(log)
    assert len(stored(tmp_path)) == 2
    assert facts(tmp_path) == {}


GARBAGE = {
    "text": b"hello",
    "an empty line": b"",
    "zeros, as a power cut leaves them": b"\0" * 4096,
    "not UTF-8": b'{"record":"prediction","id":"\xff"}',
    "another record": b'{"record":"weather","at":1}',
    "a version too large": spool_writer.ENCODER.encode(entry(version=2**63)),
    "an id that is none": spool_writer.ENCODER.encode(entry(id="x")),
    "a number that SQLite does not hold": spool_writer.ENCODER.encode(entry(1, predictions=[2**70])),
    "a time that is none": spool_writer.ENCODER.encode(entry(1, at=1e300)),
    "more rows than answers": spool_writer.ENCODER.encode(entry(2, predictions=[1])),
    "no answer": spool_writer.ENCODER.encode(entry(1, predictions=[None])),
    "deep": b"[" * 100_000,
    "long": b"x" * 3_000_000,
}


@pytest.mark.parametrize("line", GARBAGE.values(), ids=GARBAGE)
def test_a_malformed_line_is_kept_apart_and_blocks_nothing(
    line: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path) as log:
        entries = [entry() for _ in range(6)]
        for each in entries[:3]:
            log.write(each)
        [path] = files(tmp_path)
        with path.open("ab") as file:
            file.write(line + b"\n")
        for each in entries[3:]:
            log.write(each)
        ingest(log)
    assert stored(tmp_path) == [each.id for each in entries]
    assert facts(tmp_path) == {"bad": 1}
    assert (tmp_path / "spool" / "bad.txt").read_bytes() == line + b"\n"
    assert "malformed line" in caplog.text


def test_a_file_that_comes_back_is_not_counted_twice(tmp_path: Path) -> None:
    """A power cut may bring back a name that was deleted."""
    with opened(tmp_path) as log:
        entries = [entry() for _ in range(3)]
        for each in entries:
            log.write(each)
        [path] = files(tmp_path)
        content = path.read_bytes()
    with opened(tmp_path) as log:
        ingest(log)
        path.write_bytes(content)
        ingest(log)
        assert files(tmp_path) == []
    assert stored(tmp_path) == [each.id for each in entries]
    assert facts(tmp_path) == {"repeated": 3}


def test_a_file_shorter_than_what_was_ingested_of_it_is_done(tmp_path: Path) -> None:
    """A power failure may truncate the end of a spool file whose rows are on the disk in SQLite."""
    with opened(tmp_path) as log:
        for _ in range(3):
            log.write(entry())
        ingest(log)
        [path] = files(tmp_path)
    os.truncate(path, 100)
    with opened(tmp_path) as log:
        ingest(log)
        assert files(tmp_path) == []
    assert len(stored(tmp_path)) == 3
    assert facts(tmp_path) == {}


def test_full_files_are_deleted_while_their_worker_lives(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log._spool.max_bytes = 5_000
        entries = [entry() for _ in range(200)]
        for each in entries:
            log.write(each)
        assert len(files(tmp_path)) > 5
        ingest(log)
        assert len(files(tmp_path)) == 1
        log.write(entries.append(entry()) or entries[-1])
        ingest(log)
    assert sorted(stored(tmp_path)) == sorted(each.id for each in entries)
    assert len(ask(tmp_path, "SELECT name FROM spool")) == 1


def test_a_second_start_ingests_nothing_again_and_cleans_up(tmp_path: Path) -> None:
    for _ in range(3):
        with opened(tmp_path) as log:
            log.write(entry())
            ingest(log)
    assert len(stored(tmp_path)) == 3
    assert len(files(tmp_path)) == 1
    with opened(tmp_path) as log:
        ingest(log)
        assert files(tmp_path) == []
        assert ask(tmp_path, "SELECT name FROM spool") == []


def test_an_empty_log_is_empty(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        assert log.backlog_bytes() == 0
        assert log.wait_until_ingested(0.1)
        ingest(log)
        assert log.wait_until_ingested(0.1)
    assert stored(tmp_path) == []


# --- disks that are full, folders that are gone -----------------------------------------------------------------------


def limited(script: str, folder: Path, limit: int) -> subprocess.CompletedProcess[str]:
    """Run a script in a process that may write no file beyond a size: the kernel takes a part, then fails."""
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'include'}"}
    return subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        env=environ,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY)),
        capture_output=True,
        text=True,
        timeout=300,
    )


FULL = """
import resource, sys
from pathlib import Path
from serving.prediction_log.prediction_log import PredictionLog
from serving.server.worker_lock import claim
from tests.support.prediction_log_files import entry
folder = Path(sys.argv[1])
log = PredictionLog(folder, claim(folder))
good = [it.id for it in (entry() for _ in range(50)) if log.write(it)]
assert log._spool.lost == 50 - len(good) > 10 and good, log._spool.lost
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
again = [it.id for it in (entry() for _ in range(5)) if log.write(it)]
assert len(again) == 5
print(*good, *again)
"""


def test_a_full_disk_corrupts_no_later_record_and_is_logged_once(tmp_path: Path) -> None:
    done = limited(FULL, tmp_path, 5_000)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be written") == 1
    assert done.stderr.count("written again") == 1
    assert "Traceback" not in done.stderr
    with opened(tmp_path) as log:
        ingest(log)
    assert stored(tmp_path) == done.stdout.split()
    assert facts(tmp_path) == {}


FULL_WHILE_INGESTING = """
import resource, sys, threading, time
from pathlib import Path
from serving.prediction_log.ingester import Ingester
from serving.prediction_log.retention import Retention
from serving.prediction_log.prediction_log import PredictionLog
from serving.server.worker_lock import claim
folder = Path(sys.argv[1])
log = PredictionLog(folder, claim(folder))
ingester = Ingester(folder, Retention())
thread = threading.Thread(target=ingester.run)
thread.start()
time.sleep(1.5)
assert log.backlog_bytes() > 100_000, log.backlog_bytes()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert log.wait_until_ingested(30)
ingester.stop()
thread.join()
"""


def test_a_disk_full_while_ingesting_is_waited_for(tmp_path: Path) -> None:
    entries = [entry(5) for _ in range(3_000)]
    with opened(tmp_path) as log:
        assert all(map(log.write, entries))
    done = limited(FULL_WHILE_INGESTING, tmp_path, 400_000)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("predictions stay in the spool for now") == 1
    assert sorted(stored(tmp_path)) == sorted(each.id for each in entries)
    assert not list(tmp_path.glob("*corrupt*"))


def test_a_folder_that_is_gone_is_no_acknowledgement(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The open file would go on taking what nobody ever reads."""
    folder = tmp_path / "state"
    with opened(folder) as log:
        assert log.write(entry())
        folder.rename(tmp_path / "away")
        for path in sorted((tmp_path / "away").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        time.sleep(2 * spool_writer.LINK_CHECK_SECONDS)
        assert [log.write(entry()) for _ in range(3)] == [False] * 3
        assert log._spool.lost == 3
        assert caplog.text.count("cannot be written") == 1
        folder.mkdir()
        it = entry()
        assert log.write(it)
        ingest(log)
        assert stored(folder) == [it.id]


def test_a_file_that_cannot_be_begun_leaks_nothing(tmp_path: Path) -> None:
    """The name of a draft has 255 bytes here, as many as a name may have, and its later name one more."""
    worker = WorkerLock(10**216, claim(tmp_path).lock)
    log = PredictionLog(tmp_path, worker)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert [log.write(entry()) for _ in range(50)] == [False] * 50
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert list((tmp_path / "spool").iterdir()) == []
    worker.lock.release()


def test_a_forked_child_writes_to_a_file_of_its_own(tmp_path: Path) -> None:
    script = """
import os, sys, time
from pathlib import Path
from serving.prediction_log.prediction_log import PredictionLog
from tests.support.prediction_log_files import COLUMNS, ask, entry, facts, files, leader, stored
from serving.prediction_log.records import Entry, new_id
from serving.server.worker_lock import claim
folder = Path(sys.argv[1])
log = PredictionLog(folder, claim(folder))
def write():
    assert log.write(Entry(id=new_id(), at=time.time(), use_case="a", version=1, status=422, seconds=0.1, kind="x"))
write()
child = os.fork()
log._spool.sync()
write()
if child:
    assert os.waitpid(child, 0)[1] == 0
    write()
"""
    done = limited(script, tmp_path, resource.RLIM_INFINITY)
    assert done.returncode == 0, done.stderr
    assert sorted(path.read_bytes().count(b"\n") for path in files(tmp_path)) == [1, 3]
    with opened(tmp_path) as log:
        ingest(log)
    assert len(ask(tmp_path, "SELECT id FROM requests")) == 4


def test_a_sync_that_failed_is_made_up_for_with_the_folder_too(tmp_path: Path) -> None:
    with opened(tmp_path / "state") as log:
        assert log.write(entry())
        for _ in range(2):
            (tmp_path / "state" / "spool").rename(tmp_path / "away")
            for _ in range(2):
                with pytest.raises(FileNotFoundError):  # the file's name is not on the disk
                    log._spool.sync()
            (tmp_path / "away").rename(tmp_path / "state" / "spool")
        log._spool.sync()
        (tmp_path / "state" / "spool").rename(tmp_path / "away")
        log._spool.sync()
        (tmp_path / "away").rename(tmp_path / "state" / "spool")


def test_a_disk_that_cannot_sync_blocks_no_ingestion_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel answers EINVAL to a sync of /dev/null, which here takes the place of the file that is written."""
    worker = claim(tmp_path)
    log = PredictionLog(tmp_path, worker)
    it = entry()
    assert log.write(it)
    with Path("/dev/null").open("ab") as null:
        os.dup2(null.fileno(), log._spool._file.descriptor)
    log.start()
    assert log.wait_until_ingested(5)
    until(lambda: log._syncing.failures > 2)
    assert len(log._spool._full) == 0  # the file that is written to is tried again, and none is opened each time
    log.close()
    worker.lock.release()
    assert stored(tmp_path) == [it.id]
    [error] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "cannot be flushed to disk" in error.getMessage()
    assert "flushed to disk again" not in caplog.text


def test_a_foreign_lock_delays_ingestion_and_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path) as log:
        thread = threading.Thread(target=log.ingester.run)
        thread.start()
        assert log.write(entry())
        assert log.wait_until_ingested(10)
        with closing(sqlite3.connect(tmp_path / "predictions.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert log.write(entry())
            assert not log.wait_until_ingested(1.5)
            until(lambda: log.ingester._ingesting.failures > 0)
        assert log.wait_until_ingested(10)
        log.ingester.stop()
        thread.join()
    assert len(stored(tmp_path)) == 2
    assert caplog.text.count("predictions stay in the spool for now: database is locked") == 1
    assert caplog.text.count("predictions are ingested again") == 1


def test_one_thread_waits_for_the_tables_and_the_rest_go_on(tmp_path: Path) -> None:
    with opened(tmp_path) as log:  # nobody ingests
        assert log.write(entry())
        first = threading.Thread(target=log.wait_until_ingested, args=(3,))
        first.start()
        time.sleep(0.1)
        start = time.monotonic()
        assert [log.wait_until_ingested(3) for _ in range(5)] == [False] * 5
        assert time.monotonic() - start < 1.5
        first.join()
        ingest(log)
        assert log.wait_until_ingested(3)


def test_tables_that_are_deleted_under_the_ingester_are_recreated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path) as log:
        log.write(entry())
        ingest(log)
        for path in tmp_path.glob("predictions.sqlite*"):
            path.unlink()
        it = entry()
        log.write(it)
        ingest(log)
        assert it.id in stored(tmp_path)
    assert "was deleted; creating a new one" in caplog.text


# --- spoilt tables ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xa5" * 8000], ids=["text", "a broken header"]
)
def test_a_file_that_is_not_a_database_is_kept_as_corrupt(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "predictions.sqlite"
    path.write_bytes(content)
    with opened(tmp_path) as log:
        it = entry()
        assert log.write(it)
        ingest(log)
    assert stored(tmp_path) == [it.id]
    assert (tmp_path / "predictions.corrupt-1.sqlite").read_bytes() == content
    [error] = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert "predictions.corrupt-1.sqlite" in error.getMessage()


def _damage(path: Path) -> None:
    """Overwrite all pages but the first, as a failing disk may."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))


def test_damage_found_at_a_start_moves_the_file_aside_and_keeps_what_the_spool_has(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        for _ in range(500):
            log.write(entry())
        ingest(log)
    _damage(tmp_path / "predictions.sqlite")
    with opened(tmp_path) as log:
        it = entry()
        assert log.write(it)
        ingest(log)
    ids = stored(tmp_path)
    assert len(ids) == 501  # the first 500 still lay in the file of a worker that had not ended
    assert ids[-1] == it.id or it.id in ids
    assert (tmp_path / "predictions.corrupt-1.sqlite").exists()


def test_damage_while_running_stops_no_prediction_and_is_moved_aside(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        for number in (1, 2):
            for _ in range(500):
                log.write(entry())
            ingest(log)
            log.ingester._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            _damage(tmp_path / "predictions.sqlite")
            log.ingester._connection.execute("PRAGMA shrink_memory")
            assert log.write(entry())
            for _ in range(3):
                log.ingester.run_once()
            assert (tmp_path / f"predictions.corrupt-{number}.sqlite").exists()
        assert log.backlog_bytes() == 0
        assert len(stored(tmp_path)) == 1002  # all of it still lay in the spool
        assert log._spool.lost == 0


def test_a_file_of_a_later_version_is_kept_unchanged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path) as log:
        log.write(entry())
        ingest(log)
    with closing(sqlite3.connect(tmp_path / "predictions.sqlite")) as connection:
        connection.execute(f"PRAGMA user_version = {len(SCHEMAS) + 1}")
    with opened(tmp_path) as log:
        ingest(log)
    assert "later version" in caplog.text
    with closing(sqlite3.connect(tmp_path / "predictions.corrupt-1.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM requests").fetchall() == [(1,)]


# --- retention --------------------------------------------------------------------------------------------------------


def test_predictions_expire_by_age_and_totals_stay(tmp_path: Path) -> None:
    now = time.time()
    old = [entry(3, at=now - 31 * 86400) for _ in range(50)]
    new = [entry(3, at=now - 29 * 86400) for _ in range(50)]
    with opened(tmp_path) as log:
        for each in (*new, *old):  # a clock that went back
            log.write(each)
        log.write_feedback([(prediction_id(old[0].id, 0), 1), (prediction_id(new[0].id, 0), 1)])
        ingest(log)
    assert [found.hex() for (found,) in ask(tmp_path, "SELECT id FROM requests ORDER BY number")] == [
        each.id for each in new
    ]
    assert ask(tmp_path, "SELECT count(*) FROM predictions") == [(150,)]
    assert ask(tmp_path, "SELECT count(*) FROM feedback") == [(1,)]
    assert ask(tmp_path, "SELECT sum(requests), sum(rows), sum(feedback) FROM totals") == [(100, 300, 2)]
    assert facts(tmp_path) == {"expired": 150}


def test_the_oldest_go_above_the_size_and_the_file_shrinks(tmp_path: Path) -> None:
    entries = [entry(20) for _ in range(2_000)]
    with opened(tmp_path, max_mb=1) as log:
        for each in entries:
            log.write(each)
        while log.ingester._expired == float("-inf"):
            log.ingester.run_once()
        connection = log.ingester._connection
        assert retention.used_bytes(connection) <= 2**20
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert (tmp_path / "predictions.sqlite").stat().st_size < 1.5 * 2**20
    left = [found.hex() for (found,) in ask(tmp_path, "SELECT id FROM requests ORDER BY number")]
    assert 100 < len(left) < 1_900
    assert left == [each.id for each in entries[-len(left) :]]
    assert ask(tmp_path, "SELECT sum(requests), sum(rows) FROM totals") == [(2_000, 40_000)]
    assert ask(tmp_path, "PRAGMA integrity_check") == [("ok",)]


# --- worker numbers ---------------------------------------------------------------------------------------------------


def test_a_number_is_free_again_when_its_process_is_killed(tmp_path: Path) -> None:
    script = "import sys, time; from pathlib import Path; from serving.server.worker_lock import claim\n"
    script += "worker = claim(Path(sys.argv[1])); print(worker.number, flush=True); time.sleep(600)"
    with ExitStack() as stack:
        workers = []
        for number in range(3):
            workers.append(stack.enter_context(Worker(tmp_path, script)))
            until(lambda number=number: workers[-1].ids == [str(number)])
        workers[1].kill()
        assert claim(tmp_path).number == 1


def test_a_forked_child_does_not_keep_its_parents_number(tmp_path: Path) -> None:
    script = """
import os, sys, time
from pathlib import Path
from serving.server.worker_lock import claim
worker = claim(Path(sys.argv[1]))
if os.fork() == 0:
    assert not worker.lock.held
    assert claim(Path(sys.argv[1])).number == 1
    os.write(1, b"child\\n")
    time.sleep(3)
    os._exit(0)
assert worker.lock.held
os.write(1, b"parent\\n")
time.sleep(600)
"""
    with Worker(tmp_path, script) as worker:
        until(lambda: sorted(worker.ids) == ["child", "parent"])
        ours = claim(tmp_path)
        assert ours.number == 2
        ours.lock.release()
        worker.process.kill()
        worker.process.wait(60)
        assert claim(tmp_path).number == 0  # though the child lives on


def test_a_lock_whose_file_is_gone_is_not_held(tmp_path: Path) -> None:
    lock = try_lock(tmp_path / "a.lock")
    assert lock is not None
    assert lock.held
    assert try_lock(tmp_path / "a.lock") is None
    (tmp_path / "a.lock").unlink()
    assert not lock.held
    lock.release()
    lock.release()


def test_the_thread_syncs_and_goes_on_after_a_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder in the place of the tables, until it is taken away."""
    (tmp_path / "predictions.sqlite").mkdir()
    (tmp_path / "predictions.sqlite" / "full").touch()
    (tmp_path / "predictions.corrupt-1.sqlite").touch()
    worker = claim(tmp_path)
    log = PredictionLog(tmp_path, worker)
    log.start()
    it = entry()
    assert log.write(it)
    assert log.wait_until_ingested(10)
    log.close()
    worker.lock.release()
    assert stored(tmp_path) == [it.id]
    assert (tmp_path / "predictions.corrupt-2.sqlite").is_dir()
