"""Recent requests and a prediction by its id: what is told of them, and that a long log costs no more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from serving.prediction_log import recent
from serving.prediction_log.inserts import insert_lines
from serving.prediction_log.prediction_log import PredictionLog
from serving.prediction_log.records import ENCODER, SHADOW, Entry, ShadowEntry, new_id, prediction_id
from serving.prediction_log.store import Store
from serving.server.worker_lock import claim
from tests.support.prediction_log_files import entry

NAME = "vehicle_insurance"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PredictionLog]:
    """A log without a process that ingests: tests insert by themselves."""
    worker = claim(tmp_path)
    yield PredictionLog(tmp_path, worker)
    worker.lock.release()


def insert(log: PredictionLog, *entries: Entry) -> None:
    with closing(log.store.open()) as connection:
        connection.execute("BEGIN")
        assert insert_lines(connection, [ENCODER.encode(each) for each in entries]) == []
        connection.execute("COMMIT")


def test_the_latest_come_first_of_all_versions_and_a_shadow_is_none(log: PredictionLog) -> None:
    old, new = entry(1, version=1), entry(3, version=2)
    refused = entry(0, version=2, status=422, kind="schema", labels=None, probabilities=None)
    shadow = ShadowEntry(**{key: getattr(entry(1), key) for key in Entry.__struct_fields__}, answer=new.id)
    shadow = ShadowEntry(**{**{key: getattr(shadow, key) for key in shadow.__struct_fields__}, "kind": SHADOW})
    insert(log, old, new, refused, shadow, entry(1, use_case="another"))
    found = recent.recent(log, NAME, [2])
    assert found is not None
    assert [(each.version, each.rows, each.kind) for each in found] == [(2, 0, "schema"), (2, 3, None), (1, 1, None)]
    assert found[0].answer is None
    assert found[1].answer == recent.Answer(0, "no", 0.0, None)


def test_many_versions_and_requests_are_bounded_and_the_live_one_is_among_them(log: PredictionLog) -> None:
    insert(log, *(entry(1, version=version) for version in range(1, 40) for _ in range(3)))
    found = recent.recent(log, NAME, [2]) or []
    assert {each.version for each in found} == {2, *range(30, 40)}
    insert(log, *(entry(1, version=40) for _ in range(80)))
    assert [each.version for each in recent.recent(log, NAME, [2]) or []] == [40] * recent.SHOWN


def test_a_prediction_has_its_inputs_its_answer_and_the_actual_outcome(log: PredictionLog) -> None:
    made = entry(2, probabilities=[{"no": 0.75, "yes": 0.25}, {"no": 0.25, "yes": 0.75}])
    insert(log, made)
    found = recent.find(log, NAME, prediction_id(made.id, 1))
    assert found and found.inputs == {"Age": 21, "Gender": "Male"} and found.version == 3
    assert found.answer == recent.Answer(1, "yes", {"no": 0.25, "yes": 0.75}, None)
    assert abs(found.at.timestamp() - time.time()) < 60


def test_what_is_of_another_use_case_or_was_refused_is_not_found(log: PredictionLog) -> None:
    made, other = entry(1), entry(1, use_case="another")
    insert(log, made, other)
    for missing in (prediction_id(other.id, 0), prediction_id(made.id, 7), prediction_id(new_id(), 0)):
        assert recent.find(log, NAME, missing) is None
    with pytest.raises(ValueError, match="32 hex digits"):
        recent.find(log, NAME, "' OR 1=1 --")


def test_a_log_that_cannot_be_read_says_so(log: PredictionLog) -> None:
    assert recent.recent(log, NAME, [1]) is None
    log.store.path.write_bytes(b"no database" * 1000)
    assert recent.recent(log, NAME, [1]) is None


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        (recent._BELOW, (NAME, 2**62)),
        (recent._LATEST, (NAME, 3, 50)),
        (recent._FIRST, (1,)),
        (recent._ONE, (0, b"x", NAME)),
    ],
)
def test_each_look_up_goes_by_an_index(tmp_path: Path, query: str, parameters: tuple[object, ...]) -> None:
    with closing(Store(tmp_path).open()) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", parameters)]
    assert plan and all("SEARCH" in step for step in plan), plan
    assert not [step for step in plan if "TEMP B-TREE" in step]


def test_sqlite_reads_as_much_of_a_long_log_as_of_a_short_one(log: PredictionLog) -> None:
    """Counted in steps of its virtual machine, not in time."""

    def steps() -> int:
        count = 0

        def tick() -> int:
            nonlocal count
            count += 1
            return 0

        with log.store.read_transaction() as connection:
            connection.set_progress_handler(tick, 10)
            for query, parameters in ((recent._BELOW, (NAME, 2**62)), (recent._LATEST, (NAME, 3, 50))):
                assert connection.execute(query, parameters).fetchall()
        return count

    insert(log, *(entry(1) for _ in range(100)))
    short = steps()
    insert(log, *(entry(1, use_case=name) for name in (NAME, "another") for _ in range(5_000)))
    assert short > 0 and steps() <= short + 2
