"""The shipper: every row of the log is on S3 exactly once, whoever dies when."""

from __future__ import annotations

import json
import random
import secrets
import shutil
import sqlite3
import threading
import time
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from msgspec import structs

from serving.prediction_log import shipping
from serving.prediction_log.records import ShadowEntry, prediction_id
from serving.prediction_log.retention import Retention
from serving.shipper import rows as rows_of_log
from serving.shipper.ship import Pace, Shipper
from tests.serving.prediction_log.test_under_granian import WORKERS, kill_all, load, ready
from tests.support.prediction_log_files import ask, entry, facts
from tests.support.servers import LOGIN, server
from tests.support.service import service, until
from tests.support.shipping import USE_CASE, bucket_of, filled, raw_ids, rows, shipper
from tests.support.small_models import NAME, model, promote, push
from updraft.local_stack.servers import weed_command, weed_ports
from updraft.predictions import erasures
from updraft.predictions.erasure import new
from updraft.predictions.layout import ENDED, INSTANCES, stored
from updraft.predictions.reading import read_errors
from updraft.registry.registry import Registry
from updraft.registry.s3 import Bucket

PACE = Pace(0.0)


def ids(*entries: object) -> list[str]:
    return sorted(prediction_id(each.id, row) for each in entries for row in range(len(each.rows)))


def test_rows_and_late_labels_are_shipped_once_and_read_back(s3: dict[str, str], tmp_path: Path) -> None:
    bucket, _ = bucket_of(s3)
    at = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC).timestamp()
    first, second = entry(2, at=at), entry(1, at=at + 2, version=None)
    price = entry(1, use_case="price", predictions=[12.5], labels=None, probabilities=None)
    spam = entry(1, use_case="sms", predictions=["spam"], labels=["spam"], probabilities=[{"spam": 0.9, "ham": 0.1}])
    refused = entry(0, status=422, kind="schema", columns=[], labels=None, probabilities=None)
    with filled(tmp_path, Retention(10_000 * 86400)) as it:
        it.add(first, second, price, spam, refused)
        shipper = Shipper(tmp_path, bucket, PACE)
        shipper.run_once()
        keys = list(bucket.keys(""))
        assert [key.split("/")[:2] for key in keys if not key.startswith("_")] == [
            ["price", f"date={datetime.now(UTC):%Y-%m-%d}"],
            ["sms", f"date={datetime.now(UTC):%Y-%m-%d}"],
            ["vehicle_insurance", "date=2026-03-01"],
            ["vehicle_insurance", "date=2026-03-02"],
            ["vehicle_insurance", "errors"],
        ]
        assert it.log.write_feedback([(prediction_id(first.id, 1), 1)])
        assert it.log.write_feedback([(prediction_id(first.id, 1), 0)])
        it.add()
        shipper.run_once()
        again = list(bucket.keys(""))
        shipper.run_once()
        assert list(bucket.keys("")) == again
        assert len(again) == len(keys) + 1
    row, other, last = rows(bucket)
    assert other == {
        "prediction_id": prediction_id(first.id, 1),
        "request_id": first.id,
        "row": 1,
        "at": datetime.fromtimestamp(at, UTC),
        "version": 3,
        "shadow": False,
        "seconds": 0.001,
        "prediction": "1",
        "label": "yes",
        "value": 1.0,
        "probability": 0.5,
        "probabilities": None,
        "features": '{"Age":21,"Gender":"Male"}',
        "truth": "0",
        "truth_value": 0.0,
        "truth_at": other["truth_at"],
    }
    assert (row["truth"], last["version"]) == (None, None)
    [price_row], [spam_row] = rows(bucket, "price"), rows(bucket, "sms")
    assert (price_row["prediction"], price_row["value"], price_row["label"]) == ("12.5", 12.5, None)
    assert (spam_row["prediction"], spam_row["value"]) == ('"spam"', None)
    assert json.loads(spam_row["probabilities"]) == {"spam": 0.9, "ham": 0.1}
    status = shipping.read(tmp_path)
    assert (status.requests, status.labels, status.prediction_rows, status.feedback_rows) == (5, 2, 5, 2)


def test_what_a_shadow_would_have_answered_is_marked_and_has_the_labels_of_the_answer(
    s3: dict[str, str], tmp_path: Path
) -> None:
    bucket, _ = bucket_of(s3)
    with filled(tmp_path) as it:
        answer = entry(2)
        copy = ShadowEntry(**structs.asdict(entry(2, kind="shadow", version=4)), answer=answer.id)
        it.add(answer, copy, entry(1, kind="shadow", version=4))
        assert it.log.write_feedback([(prediction_id(answer.id, 1), 1)])
        it.add()
        Shipper(tmp_path, bucket, PACE).run_once()
    found = [(row["version"], row["shadow"], row["request_id"], row["row"], row["truth"]) for row in rows(bucket)]
    assert found[:4] == [
        (version, version == 4, answer.id, row, "1" if row else None) for version in (3, 4) for row in (0, 1)
    ]
    assert found[4][:2] == (4, True) and found[4][4] is None  # its answer was not logged
    assert {row["prediction_id"] for row in rows(bucket)} == {*ids(answer, copy), found[4][2] + ".0"}


def test_requests_that_ended_in_an_error_are_shipped_apart_and_once(s3: dict[str, str], tmp_path: Path) -> None:
    bucket, _ = bucket_of(s3)
    none = {"columns": [], "labels": None, "probabilities": None}
    refused = [entry(0, status=status, kind=kind, **none) for status, kind in ((422, "schema"), (500, "shadow"))]
    with filled(tmp_path) as it:
        it.add(entry(2), *refused, entry(0, status=404, kind="unknown", version=None, use_case="price", **none))
        shipper = Shipper(tmp_path, bucket, PACE)
        shipper.run_once()
        with closing(sqlite3.connect(tmp_path / "shipper.sqlite", isolation_level=None)) as state:
            state.execute("UPDATE ranges SET rows = NULL")
        before = list(bucket.objects(""))
        shipper.run_once()
        assert list(bucket.objects("")) == before
    found = [row for batch in read_errors(bucket, USE_CASE) for row in batch.to_pylist()]
    names = ("request_id", "version", "shadow", "status", "kind", "seconds")
    assert [tuple(row[name] for name in names) for row in found] == [
        (refused[0].id, 3, False, 422, "schema", 0.001),
        (refused[1].id, 3, True, 500, "shadow", 0.001),
    ]
    [other] = [row for batch in read_errors(bucket, "price") for row in batch.to_pylist()]
    assert (other["version"], other["status"]) == (None, 404)
    assert len(rows(bucket)) == shipping.read(tmp_path).prediction_rows == 2


def test_an_upload_that_was_not_marked_is_found_and_not_repeated(s3: dict[str, str], tmp_path: Path) -> None:
    """As if killed between the two. The bucket does not exist before."""
    bucket = Bucket(bucket_of(s3)[0].client, f"updraft-{secrets.token_hex(6)}")
    with filled(tmp_path) as it:
        it.add(*(entries := [entry(2) for _ in range(10)]))
        shipper = Shipper(tmp_path, bucket, PACE)
        shipper.run_once()
        with closing(sqlite3.connect(tmp_path / "shipper.sqlite", isolation_level=None)) as state:
            assert state.execute("UPDATE ranges SET rows = NULL").rowcount == 1
        before = list(bucket.objects(""))
        shipper.run_once()
        assert list(bucket.objects("")) == before
        it.add(more := entry())
        shipper.run_once()
    assert sorted(raw_ids(bucket)) == ids(*entries, more)


def test_a_copy_of_the_state_ships_under_a_name_of_its_own(s3: dict[str, str], tmp_path: Path) -> None:
    """A volume that was cloned, or restored beside the one that lives on."""
    bucket, _ = bucket_of(s3)
    first, second = tmp_path / "first", tmp_path / "second"
    with filled(first) as it:
        it.add(entries := entry())
        Shipper(first, bucket, PACE).run_once()
    shutil.copytree(first, second)
    written = [entries]
    for folder in (first, second):
        with filled(folder) as it:
            it.add(each := entry())
            written.append(each)
            shipper = Shipper(folder, bucket, PACE)
            while shipper.run_once():
                pass
    assert sorted(raw_ids(bucket)) == ids(*written)
    assert len(list(bucket.keys(INSTANCES))) == 2


@pytest.mark.usefixtures("takes_long")
def test_kill_9_of_two_shippers_at_any_moment_loses_nothing_and_doubles_nothing(
    s3: dict[str, str], tmp_path: Path
) -> None:
    """Two services fill their logs; the shipper of each is killed six times. Both ship into one bucket."""
    bucket, environ = bucket_of(s3)
    written: list[object] = []
    done = threading.Event()
    with ExitStack() as stack:
        folders = [tmp_path / "a", tmp_path / "b"]
        logs = [stack.enter_context(filled(folder)) for folder in folders]

        def fill() -> None:
            while not done.is_set():
                for log in logs:
                    new = [entry(random.randint(1, 3)) for _ in range(20)]
                    log.add(*new)
                    assert log.log.write_feedback([(prediction_id(new[0].id, 0), 1)])
                    written.extend(new)
                time.sleep(0.05)

        thread = threading.Thread(target=fill)
        thread.start()
        try:
            for _ in range(6):
                count = len(list(bucket.keys("")))
                with shipper(environ, folders[0], 0.1) as one, shipper(environ, folders[1], 0.1) as other:
                    until(lambda count=count: len(list(bucket.keys(""))) > count)
                    time.sleep(random.uniform(0, 0.4))
                    for process in (one, other):
                        process.kill()
                        process.wait(60)
        finally:
            done.set()
            thread.join()
        for log in logs:
            log.add()
            last = Shipper(log.folder, bucket, PACE)
            while last.run_once(everything=True):
                pass
    assert len(written) > 100
    assert sorted(raw_ids(bucket)) == ids(*written)
    assert sum(row["truth"] is not None for row in rows(bucket)) == len(written) / 20


@pytest.mark.usefixtures("starts_servers", "takes_long")
def test_kill_9_of_s3_holds_rows_back_until_it_is_there_again(tmp_path: Path) -> None:
    ports = weed_ports()
    s3 = {**LOGIN, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{ports['s3']}", "AWS_DEFAULT_REGION": "us-east-1"}
    (tmp_path / "s3").mkdir()
    command = weed_command(tmp_path / "s3", ports)
    with filled(tmp_path / "data", Retention(ships=True)) as it, ExitStack() as stack:
        with server(command, ports["s3"], tmp_path / "s3.log", LOGIN):
            bucket, environ = bucket_of(s3)
            it.add(*(entries := [entry() for _ in range(5)]))
            stack.enter_context(shipper(environ, it.folder))
            until(lambda: shipping.read(it.folder).prediction_rows == 5)
            [weed] = [each for each in psutil.Process().children() if str(tmp_path / "s3") in " ".join(each.cmdline())]
            weed.kill()
        it.add(*(late := [entry() for _ in range(5)]))
        until(lambda: shipping.read(it.folder).failures > 0)
        assert shipping.waiting(it.log.store, shipping.read(it.folder))[0] > 0
        with server(command, ports["s3"], tmp_path / "s3.log", LOGIN):
            until(lambda: shipping.read(it.folder).prediction_rows == 10)
            assert sorted(raw_ids(bucket)) == ids(*entries, *late)
            stack.close()
    text = (tmp_path / "data-shipper.log").read_text()
    assert text.count("predictions stay here for now") == text.count("predictions are shipped again") == 1
    assert "Traceback" not in text


@pytest.mark.usefixtures("takes_long")
def test_kill_9_of_the_service_under_load_ships_each_acknowledged_prediction_once(
    registry: Registry, registry_environ: dict[str, str], s3: dict[str, str], tmp_path: Path
) -> None:
    promote(registry, push(registry, tmp_path / "run", model()))
    bucket, environ = bucket_of(s3)
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    acknowledged: list[str] = []
    with shipper(environ, data) as process:
        for _ in range(2):
            with service(registry_environ | environ, tmp_path, *WORKERS) as it, load(it) as clients:
                ready(it, data, clients)
                until(lambda clients=clients: len(clients.acknowledged) > 100)
                kill_all(it)
            assert clients.wrong == []
            acknowledged += [each for each, _ in clients.acknowledged]
        with service(registry_environ | environ, tmp_path, *WORKERS) as it:
            it.until(1)
            until(lambda: json.loads(it.ask("GET", "/stats")[2])["log"]["backlog_bytes"] == 0)
            [(total,)] = ask(data, "SELECT count(*) FROM predictions")
            until(lambda: shipping.read(data).prediction_rows == total)
            text = it.ask("GET", "/metrics")[2].decode()
        process.terminate()
        assert process.wait(60) == 0
    found = raw_ids(bucket, NAME)
    assert len(found) == len(set(found)) == total
    assert len(acknowledged) > 200
    assert set(acknowledged) <= set(found)
    assert f'updraft_shipped_rows_total{{kind="predictions"}} {float(total)}' in text
    assert "updraft_shipping_lag_seconds 0.0" in text
    assert "updraft_shipping_failures_total 0.0" in text


def test_one_shipper_at_a_time(s3: dict[str, str], tmp_path: Path) -> None:
    _, environ = bucket_of(s3)
    data = tmp_path / "data"
    with filled(data) as it, shipper(environ, data) as first:
        it.add(entry())
        until(lambda: shipping.read(data).prediction_rows == 1)
        with shipper(environ, data) as second:
            until(lambda: second.cpu_times().user > 0)
            first.kill()
            first.wait(60)
            it.add(entry())
            until(lambda: shipping.read(data).prediction_rows == 2)
            second.terminate()
            assert second.wait(60) == 0
        with suppress(psutil.NoSuchProcess):
            first.wait(1)


def test_a_log_that_ends_is_shipped_to_its_last_row_and_no_erasure_waits_for_it(
    s3: dict[str, str], tmp_path: Path
) -> None:
    bucket, environ = bucket_of(s3)
    data, environ = tmp_path / "data", environ | {"SERVING_SHIP_AT_END": "on"}
    with filled(data) as it:
        it.add(first := entry())
        with shipper(environ, data, seconds=0.1) as process:
            until(lambda: raw_ids(bucket) == ids(first))
            process.terminate()
            assert process.wait(60) == 0
        (ended,) = bucket.keys(ENDED)
        it.add(second := entry(3))
        with shipper(environ, data, seconds=86_400) as process:  # nothing is due before it ends
            until(lambda: (tmp_path / "data-shipper.log").read_text().count(" shipping ") == 2)
            until(lambda: len(list(bucket.keys(INSTANCES))) == 2)
            assert raw_ids(bucket) == ids(first)
            process.terminate()
            assert process.wait(60) == 0
    assert sorted(raw_ids(bucket)) == ids(first, second)
    assert ended in bucket.keys(ENDED) and set(bucket.keys(ENDED)) == set(bucket.keys(INSTANCES))
    erasure = new(USE_CASE, "Name", "Ann Onymous")
    erasures.create(bucket, erasure)
    assert erasures.unaware(bucket, erasure) == []


def test_what_is_not_shipped_stays_beyond_its_time_and_what_goes_all_the_same_is_counted(
    s3: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bucket, _ = bucket_of(s3)
    day = 86400.0
    now = time.time()
    with filled(tmp_path, Retention(30 * day, ships=True)) as it:
        it.add(old := entry(3, at=now - 40 * day), entry(2, at=now - 61 * day))
        assert [request.hex() for (request,) in ask(tmp_path, "SELECT id FROM requests")] == [old.id]
        assert facts(tmp_path)["unshipped"] == 2
        assert shipping.waiting(it.log.store, shipping.read(tmp_path))[1] == 2
        assert "2 predictions were deleted that had not been shipped" in caplog.text
        Shipper(tmp_path, bucket, PACE).run_once()
        it.ingester._expired = float("-inf")
        it.add()
        assert ask(tmp_path, "SELECT id FROM requests") == []
        it.add(new := entry())  # its number is not one that was used
        Shipper(tmp_path, bucket, PACE).run_once()
    assert sorted(raw_ids(bucket)) == ids(old, new)
    assert facts(tmp_path)["unshipped"] == 2
    assert sorted(stored(bucket, USE_CASE, "predictions"), key=lambda each: each.first)[-1].last == 3


def test_what_is_erased_leaves_the_log_and_is_not_shipped(s3: dict[str, str], tmp_path: Path) -> None:
    """Rows of a fixed range that is not uploaded, too; and the ingester overwrites them in the file."""
    bucket, _ = bucket_of(s3)
    person = entry(2, columns=["Name", "Age"], rows=[["Ann Onymous", 1], ["Bob", 2]])
    with filled(tmp_path) as it:
        it.add(person)
        assert it.log.write_feedback([(prediction_id(person.id, 0), 1)])
        it.add()
        shipper = Shipper(tmp_path, bucket, PACE)
        with it.log.store.read_transaction() as connection:
            instance = shipper.state.instance(str(rows_of_log.log_id(connection)))
        shipper.state.fix(instance, "predictions", 1)
        erasure = new(USE_CASE, "Name", "Ann Onymous")
        erasures.create(bucket, erasure)
        shipper.run_once()
        assert raw_ids(bucket) == [prediction_id(person.id, 1)]
        assert erasures.unaware(bucket, erasure) == [instance]
        it.ingester.run_once()
        shipper.run_once(everything=True)
        assert erasures.acknowledged(bucket, erasure) == {instance: 1}
        assert erasures.unaware(bucket, erasure) == []
        again = entry(1, columns=["Name", "Age"], rows=[["Ann Onymous", 1]])  # a later request is a new one
        it.add(again)
        shipper.run_once()
    assert sorted(raw_ids(bucket)) == sorted([prediction_id(person.id, 1), prediction_id(again.id, 0)])
    assert ask(tmp_path, "SELECT input FROM predictions") == [('["Bob",2]',), ('["Ann Onymous",1]',)]
    assert (
        ask(tmp_path, "SELECT count(*) FROM feedback") == ask(tmp_path, "SELECT count(*) FROM feedback_log") == [(0,)]
    )
    assert facts(tmp_path)["erased"] == 1
