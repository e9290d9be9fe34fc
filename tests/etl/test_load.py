"""`load` into MongoDB: each row once, whatever happens, and counted."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from tests.support.etl_cases import cleaned, write_etl, write_rows
from tests.support.stall import Stall
from updraft.addresses import from_environment
from updraft.destinations.keyed_rows import Counts, content_hashes
from updraft.errors import BadData
from updraft.etl.load import load
from updraft.etl.schema import Etl
from updraft.sources import open_source
from updraft.stages.stage_folder import read_json

NINE = [f"{number},mail,{number},60,no" for number in range(1, 10)]
WITHOUT_ID = ("id: visit\n", "")
WITHOUT_OUTLIERS = ("  outliers:\n    price: {rule: quantile, high: 0.9, then: clip}\n", "")


class Loads:
    """Loads of the small ETL into a database of its own."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url
        self.changes: list[None] = []

    def __call__(self, *lines: str, into: str = "load") -> Counts:
        write_rows(self.root, *lines)
        etl, dataset = cleaned(self.root)
        return self.load(etl, dataset, into)

    def load(self, etl: Etl, dataset: Path, into: str = "load") -> Counts:
        connections = from_environment({"MONGODB_URL": self.url})
        return load(etl, dataset, connections, self.root / into, on_change=lambda: self.changes.append(None))

    def documents(self) -> list[dict[str, Any]]:
        with MongoClient[dict[str, Any]](self.url) as client:
            return list(self.collection(client).find(sort=[("visit", 1), ("_id", 1)]))

    def collection(self, client: MongoClient[dict[str, Any]]) -> Collection[dict[str, Any]]:
        return client.get_default_database()["visits"]


@pytest.fixture
def loads(tmp_path: Path, mongodb_url: str) -> Loads:
    return Loads(write_etl(tmp_path, WITHOUT_OUTLIERS), mongodb_url)


def test_a_row_with_an_id_is_new_then_unchanged_then_changed_and_stays(loads: Loads) -> None:
    assert loads(*NINE) == Counts(new=9)
    before = len(loads.changes)
    assert loads(*reversed(NINE)) == Counts(unchanged=9)
    assert len(loads.changes) == before == 1  # nothing was written
    assert loads(*NINE[:8], "9,mail,7,60,yes", "10,mail,3,60,no") == Counts(new=1, changed=1, unchanged=8)
    assert loads(*NINE[:1]) == Counts(unchanged=1)
    documents = loads.documents()
    assert [document["_id"] for document in documents] == [*range(1, 11)]
    row = {"visit": 9, "kind": "mail", "price": 7.0, "minutes": 1.0, "bought": 1}
    assert documents[8] == {"_id": 9, **row, "_sha256": content_hashes([row])[0]}
    facts = read_json(loads.root / "load/load.json")
    assert facts["destinations"][0].items() >= {"new": 0, "changed": 0, "unchanged": 1}.items()


def test_without_an_id_equal_rows_are_as_many_as_they_come(tmp_path: Path, mongodb_url: str) -> None:
    loads = Loads(write_etl(tmp_path, WITHOUT_ID), mongodb_url)
    assert loads(*NINE, NINE[0], NINE[0]) == Counts(new=11)
    assert loads(NINE[0], NINE[0], *NINE) == Counts(unchanged=11)
    assert len(loads.documents()) == 11


def test_the_hash_of_a_row_hangs_on_what_it_holds_alone() -> None:
    odd = ["a,\nb", '",\n"', "},{", "\\n", "á 🚗", "\u2028"]
    rows = [{"z": text, 'a,\n"': 0.1, "b": None} for text in odd]
    for row, sha256 in zip(rows, content_hashes(rows), strict=True):
        body = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert sha256 == hashlib.sha256(body.encode()).hexdigest()
    assert content_hashes([{"a": 3.0, "b": "x"}]) == content_hashes([{"b": "x", "a": 3}])
    # What stores hold already: another hash would make every row of theirs a changed one.
    row = {"visit": 1, "at": datetime(2026, 1, 31, 8, 0, 0, 5), "price": 1e22, "many": 3.0, "bought": True}
    assert content_hashes([row]) == ["c42f7660bb127443967d5d7f8bb90a15008f86bc3fe9b7bad0b7af1af4bb9a48"]
    assert content_hashes([]) == []


def test_two_loads_at_the_same_time_write_each_row_once(tmp_path: Path, mongodb_url: str) -> None:
    loads = Loads(write_etl(tmp_path, WITHOUT_ID), mongodb_url)
    write_rows(loads.root, *(f"{number},mail,1,60,no" for number in range(6000)))
    etl, dataset = cleaned(loads.root)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda into: loads.load(etl, dataset, into), ("one", "other")))
    assert [document["visit"] for document in loads.documents()] == [*range(6000)]
    assert loads.load(etl, dataset) == Counts(unchanged=6000)


def test_a_document_of_others_with_the_key_of_a_row_stays(loads: Loads) -> None:
    theirs = {"_id": 5, "of": "others"}
    with MongoClient[dict[str, Any]](loads.url) as client:
        loads.collection(client).insert_one(theirs)
    with pytest.raises(BadData, match="visits': 5 is the key of something that no ETL has loaded"):
        loads(*NINE)
    assert loads.documents() == [theirs]


DATES = """\
title: Visits of a site
source: {file: {path: data/visits.csv}}
id: visit
load: [{mongodb: {collection: visits}}]
"""


def test_microseconds_are_refused_unless_they_may_be_cut(tmp_path: Path, mongodb_url: str) -> None:
    types = {"visit": "int64", "at": "datetime64[us]"}
    rows = ["1,2026-01-31T08:00:00.123", "2,", "3,2026-01-31T08:00:00.123456"]
    write_rows(write_etl(tmp_path, yaml=DATES, types=types), *rows, header="visit,at")
    loads = Loads(tmp_path, mongodb_url)
    with pytest.raises(BadData, match=r"column 'at' holds 2026-01-31T08:00:00\.123456, and MongoDB's dates have milli"):
        loads.load(*cleaned(tmp_path))
    assert loads.documents() == []
    write_etl(tmp_path, ("collection: visits", "collection: visits, microseconds: cut"), yaml=DATES, types=types)
    assert loads.load(*cleaned(tmp_path)) == Counts(new=3)
    assert loads.load(*cleaned(tmp_path)) == Counts(unchanged=3)
    assert [document["at"] and document["at"].microsecond for document in loads.documents()] == [123000, None, 123000]


LOAD = """
import sys
from pathlib import Path
from updraft.addresses import from_environment
from updraft.etl.definitions import load as load_etl
from updraft.etl.load import load
root, connections = Path(sys.argv[1]), from_environment({"MONGODB_URL": sys.argv[2]})
load(load_etl("visits", root), root / "run/clean/dataset.parquet", connections, root / "load")
"""


@pytest.mark.usefixtures("takes_long")
def test_a_load_that_is_killed_is_finished_by_the_next(loads: Loads) -> None:
    total = 40_000
    write_rows(loads.root, *(f"{number},mail,1,60,no" for number in range(total)))
    etl, dataset = cleaned(loads.root)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    address, _, database = loads.url.rpartition("/")
    with Stall(int(address.rpartition(":")[2]), after=2_000_000) as stall:
        stalling = f"{address.rpartition(':')[0]}:{stall.port}/{database}"
        process = subprocess.Popen([sys.executable, "-c", LOAD, str(loads.root), stalling], env=environ)
        assert stall.reached.wait(120) and process.poll() is None
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    with MongoClient[dict[str, Any]](loads.url) as client:
        written = loads.collection(client).count_documents({})
    assert 0 < written < total
    counts = loads.load(etl, dataset)
    assert (counts.new + counts.unchanged, counts.changed) == (total, 0)
    assert counts.unchanged == written
    assert [document["visit"] for document in loads.documents()] == [*range(total)]


def test_documents_of_others_are_told_and_what_is_loaded_can_be_read_again(
    loads: Loads, caplog: pytest.LogCaptureFixture
) -> None:
    with MongoClient[dict[str, Any]](loads.url) as client:
        loads.collection(client).insert_one({"visit": 99})
        loads(*NINE)
        assert "1 documents that were not loaded by an ETL" in caplog.text
        loads.collection(client).delete_one({"visit": 99})
    (loads.root / "include/etl/visits.yaml").write_text(
        "title: Visits again\nsource: {mongodb: {collection: visits}}\nload: {mongodb: {collection: copies}}\n"
    )
    connections = from_environment({"MONGODB_URL": loads.url})
    from updraft.etl.definitions import load as load_etl

    with open_source(load_etl("visits", loads.root).extracted, connections) as source:
        assert source.others == [] and sum(batch.table.num_rows for batch in source.batches()) == 9


def test_what_the_server_refuses_names_the_row(loads: Loads) -> None:
    with MongoClient[dict[str, Any]](loads.url) as client:
        client.get_default_database().create_collection("visits", validator={"price": {"$lt": 5}})
    with pytest.raises(BadData, match=r"MongoDB collection '.*visits': _id 5: .*validation"):
        loads(*NINE)
    assert [document["_id"] for document in loads.documents()] == [1, 2, 3, 4]


def test_a_server_that_does_not_answer_and_a_refused_login_are_told_apart(loads: Loads, mongo_with_login: str) -> None:
    write_rows(loads.root, *NINE)
    etl, dataset = cleaned(loads.root)
    loads.url = "mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=100"
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:1.*no server answers"):
        loads.load(etl, dataset)
    loads.url = f"mongodb://somebody:hunter22@{mongo_with_login}/x"
    with pytest.raises(Exception, match="wrong user or password") as caught:
        loads.load(etl, dataset)
    assert "hunter22" not in str(caught.value)
