"""`updraft predictions`: counted, written, found by id, erased."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from serving.prediction_log.records import prediction_id
from serving.shipper.ship import Pace, Shipper
from tests.support.prediction_log_files import ask, entry
from tests.support.shipping import USE_CASE, bucket_of, filled, raw_ids, shipper
from updraft.cli import predictions as command
from updraft.errors import UserError
from updraft.predictions import erase
from updraft.predictions.erasure import new
from updraft.predictions.reading import ALWAYS


@pytest.fixture
def shipped(s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Three predictions of two people, one labelled, on S3 and in the log of a service."""
    bucket, environ = bucket_of(s3)
    for name, value in (environ | {"UPDRAFT_HOME": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    it = entry(3, columns=["Name", "Age"], rows=[["Ann", 1], ["Bob", 2], ["Ann", 3]])
    with filled(tmp_path / "data") as log:
        log.add(it)
        assert log.log.write_feedback([(prediction_id(it.id, 0), 1), (prediction_id(it.id, 1), 0)])
        log.add()
        Shipper(tmp_path / "data", bucket, Pace(0.0)).run_once()
        yield bucket, it, log, environ


def test_they_are_counted_written_and_found_by_their_id(shipped, tmp_path: Path, capsys) -> None:
    _, it, _, _ = shipped
    command.show(USE_CASE, ALWAYS, None, as_json=False)
    assert [word for word in capsys.readouterr().out.split() if word.isdecimal()] == ["3", "3", "2"]
    command.show(USE_CASE, ALWAYS, tmp_path / "all.parquet", as_json=False)
    assert pq.read_table(tmp_path / "all.parquet")["truth"].to_pylist() == ["1", "0", None]
    capsys.readouterr()
    command.show(USE_CASE, ALWAYS, None, as_json=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["features"] for line in lines] == [{"Name": n, "Age": a} for n, a in it.rows]
    command.show_one(USE_CASE, prediction_id(it.id, 1))
    one = json.loads(capsys.readouterr().out)
    assert (one["version"], one["row"], one["prediction"], one["truth"]) == (3, 1, 1, 0)


@pytest.mark.parametrize(
    ("since", "until", "count"),
    [("2000-01-01", None, 3), (None, "2000-01-01", 0), ("2000-01-01", "2999-01-01", 3), ("2999-01-01", None, 0)],
)
def test_a_period(shipped, since: str | None, until: str | None, count: int, capsys) -> None:
    command.show(USE_CASE, command.parse_period(since, until), None, as_json=True)
    assert len(capsys.readouterr().out.splitlines()) == count


def test_bad_input_is_one_line(shipped, tmp_path: Path) -> None:
    for call in (
        lambda: command.parse_period("yesterday", None),
        lambda: command.parse_period("2026-02-01", "2026-01-01"),
        lambda: command.show(USE_CASE, ALWAYS, tmp_path / "x.csv", as_json=False),
        lambda: command.show_one(USE_CASE, "7"),
        lambda: command.show_one(USE_CASE, f"{'0' * 32}.1"),
        lambda: command.show("nothing", ALWAYS, None, as_json=False),
        lambda: command.parse_erasure(USE_CASE, "Name"),
        lambda: command.erase_rows(command.parse_erasure(USE_CASE, "Nmae=Ann"), 0, yes=True),
    ):
        with pytest.raises(UserError) as error:
            call()
        assert "\n" not in str(error.value)


def test_a_persons_rows_are_erased_from_s3_and_from_the_log_of_a_service(shipped, capsys) -> None:
    bucket, it, log, environ = shipped
    wanted = command.parse_erasure(USE_CASE, "Name=Ann")
    command.erase_rows(wanted, 0, yes=False)
    assert "would be erased: 2 predictions and 1 labels" in capsys.readouterr().out
    assert len(raw_ids(bucket)) == 3
    assert len(ask(log.folder, "SELECT * FROM predictions")) == 3
    log.log.start()
    log.ingester.close()  # the service's own process ingests, and erases
    with shipper(environ, log.folder):
        command.erase_rows(wanted, 120, yes=True)
    text = capsys.readouterr().out
    assert "erased: 2 predictions and 1 labels" in text
    assert "erased: 2 predictions in the log of" in text
    assert raw_ids(bucket) == [prediction_id(it.id, 1)]
    assert ask(log.folder, "SELECT row FROM predictions") == [(1,)]
    assert ask(log.folder, "SELECT row FROM feedback") == [(1,)]
    keys = list(bucket.keys(""))
    assert not any(b"Ann" in b"".join(bucket.stream(key)) for key in keys)


def test_an_erasure_that_was_interrupted_or_not_heard_of_can_be_repeated(shipped, capsys) -> None:
    """The labels went, the predictions did not; and no shipper runs."""
    bucket, it, _, _ = shipped
    erasure = new(USE_CASE, "Name", "Ann")
    found = erase.find(bucket, erasure)
    assert erase.erase(bucket, erasure, erase.Matches(found.ids, (), found.objects, found.columns)) == (0, 1)
    with pytest.raises(UserError, match="1 services have not acknowledged"):
        command.erase_rows(command.parse_erasure(USE_CASE, "Name=Ann"), 0, yes=True)
    assert "erased: 2 predictions and 0 labels" in capsys.readouterr().out
    assert raw_ids(bucket) == [prediction_id(it.id, 1)]


@pytest.mark.parametrize(
    ("value", "found", "matches"),
    [
        ("44", 44, True),
        ("44.0", 44, True),
        ("44", "44", True),
        ("44", "044", False),
        ("044", 44, True),
        ("Ann", "ann", False),
        ("true", True, True),
        ("1", True, False),
        ("null", None, True),
        ("a=b", "a=b", True),
        ("nan", 0, False),
    ],
)
def test_a_value_is_what_somebody_writes(value: str, found: object, matches: bool) -> None:
    erasure = new(USE_CASE, "x", value)
    assert erasure.matches({"x": found}, erasure.until) is matches
    assert not erasure.matches({"x": found}, erasure.until + 1)
    assert not erasure.matches({"y": found}, erasure.until)
    assert value not in (erasure.text, erasure.number)
