from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from tests.support.small_cases import integer, small_case, text
from updraft.datasets.manifest import DATASET
from updraft.demo.rows import generate
from updraft.destinations.mongodb import load
from updraft.sources.files import File
from updraft.sources.mongodb import Documents
from updraft.stages.ingest import ingest
from updraft.stages.stage_folder import QUARANTINE, TEST, TRAIN, read_json
from updraft.stages.transform import BadData, transform
from updraft.usecase import UseCase

COLLECTION = "rows"


@pytest.fixture
def collection(mongodb_url: str, case: UseCase) -> Iterator[Collection[Any]]:
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        yield client.get_default_database()[COLLECTION]
        client.drop_database(client.get_default_database())


def csv(folder: Path, frame: pd.DataFrame, name: str = "rows.csv") -> Path:
    frame.to_csv(folder / name, index=False)
    return folder / name


def test_rows_go_from_file_to_mongodb_to_dataset_unchanged(
    case: UseCase, frame: pd.DataFrame, collection: Collection[Any], tmp_path: Path
) -> None:
    assert load(File(csv(tmp_path, frame), case), collection) == len(frame)
    seen: list[tuple[int, int | None]] = []
    dataset = ingest(case, Documents(collection, case), tmp_path / "out", lambda *at: seen.append(at))
    pd.testing.assert_frame_equal(pd.read_parquet(dataset), frame)
    assert seen[-1] == (len(frame), len(frame))
    assert read_json(tmp_path / "out" / "ingest.json")["rows"] == len(frame)


def test_loading_twice_leaves_the_rows_once_and_another_file_leaves_that_file_alone(
    case: UseCase, frame: pd.DataFrame, collection: Collection[Any], tmp_path: Path
) -> None:
    for part in (frame, frame, frame.head(300)):
        load(File(csv(tmp_path, part), case), collection)
        assert collection.count_documents({}) == len(part)
        assert {document["id"] for document in collection.find()} == set(part["id"])
    assert collection.database.list_collection_names() == [COLLECTION]


def test_loading_a_file_without_rows_leaves_the_old_rows(
    case: UseCase, frame: pd.DataFrame, collection: Collection[Any], tmp_path: Path
) -> None:
    load(File(csv(tmp_path, frame), case), collection)
    with pytest.raises(BadData, match="no rows"):
        load(File(csv(tmp_path, frame.head(0)), case), collection)
    assert collection.count_documents({}) == len(frame)


def test_a_row_that_does_not_fit_goes_through_mongodb_into_quarantine_and_nowhere_else(
    case: UseCase, frame: pd.DataFrame, collection: Collection[Any], tmp_path: Path
) -> None:
    dirty = frame.astype({"Age": "object"})
    dirty.loc[3, "Age"] = "forty"
    load(File(csv(tmp_path, dirty), case), collection)
    dataset = ingest(case, Documents(collection, case), tmp_path / "out")
    assert len(pd.read_parquet(dataset)) == len(frame) - 1
    (line,) = (tmp_path / "out" / QUARANTINE).read_text().splitlines()
    told = json.loads(line)
    assert told["reason"] == "Age: 'forty' (str) is not a whole number"
    assert told["row"]["id"] == 4
    assert told["place"] == f"_id {collection.find_one({'id': 4})['_id']}"  # type: ignore[index]


def test_more_bad_rows_than_the_budget_stop_the_run_and_say_so(
    case: UseCase, frame: pd.DataFrame, tmp_path: Path
) -> None:
    dirty = frame.astype({"Vintage": "object"})
    dirty.loc[: len(frame) // 50, "Vintage"] = "1.5"
    with pytest.raises(BadData, match=r"do not fit, more than quarantine_budget 1\.00%; worst is 'Vintage'"):
        ingest(case, File(csv(tmp_path, dirty), case), tmp_path / "out")
    assert (tmp_path / "out" / QUARANTINE).read_text().count("\n") == len(frame) // 50 + 1


def test_a_second_try_of_ingest_replaces_what_the_first_left(
    case: UseCase, frame: pd.DataFrame, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / DATASET).write_bytes(b"half a file")
    (out / "left.over").touch()
    ingest(case, File(csv(tmp_path, frame), case), out)
    assert len(pd.read_parquet(out / DATASET)) == len(frame)
    assert not (out / "left.over").exists()


def test_the_log_tells_counts_share_and_the_worst_columns(
    case: UseCase, frame: pd.DataFrame, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dirty = frame.astype({"Age": "object"})
    dirty.loc[3, "Age"] = "forty"
    with caplog.at_level(logging.INFO, "updraft"):
        ingest(case, File(csv(tmp_path, dirty), case), tmp_path / "out")
    assert f"{len(frame):,} rows read, {len(frame) - 1:,} fit" in caplog.text
    assert "Age (1)" in caplog.text


def split(case: UseCase, frame: pd.DataFrame, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    folder.mkdir()
    frame.to_parquet(folder / DATASET)
    out = transform(case, folder / DATASET, folder / "split")
    return pd.read_parquet(out / TRAIN), pd.read_parquet(out / TEST)


def features(case: UseCase, side: pd.DataFrame) -> set[tuple[Any, ...]]:
    return set(side[[column.name for column in case.feature_columns]].itertuples(index=False, name=None))


def test_rows_of_identical_features_never_straddle_the_split_nor_the_folds(
    case: UseCase, frame: pd.DataFrame, tmp_path: Path
) -> None:
    again = pd.concat([frame] * 5, ignore_index=True)
    again["id"] = range(len(again))
    again["Response"] = [0, 1] * (len(again) // 2)
    train, test = split(case, again, tmp_path / "run")
    assert len(train) + len(test) == len(again)
    assert not features(case, train) & features(case, test)
    assert train.groupby([column.name for column in case.feature_columns])["__fold"].nunique().max() == 1
    assert 0.15 < len(test) / len(again) < 0.25


def test_rows_that_are_appended_leave_the_others_on_their_side(
    case: UseCase, frame: pd.DataFrame, tmp_path: Path
) -> None:
    _, before = split(case, frame.head(1500), tmp_path / "before")
    _, after = split(case, frame, tmp_path / "after")
    assert set(before["id"]) == set(after["id"]) & set(frame.head(1500)["id"])


def test_the_split_depends_on_the_seed_and_not_on_the_order_of_rows(
    case: UseCase, frame: pd.DataFrame, tmp_path: Path
) -> None:
    first = split(case, frame, tmp_path / "first")
    shuffled = split(case, frame.sample(frac=1, random_state=1), tmp_path / "shuffled")
    for one, other in zip(first, shuffled, strict=True):
        pd.testing.assert_frame_equal(one, other)
    _, reseeded = split(case.model_copy(update={"split_seed": 43}), frame, tmp_path / "reseeded")
    assert set(reseeded["id"]) != set(first[1]["id"])


def test_a_side_without_a_label_is_refused(case: UseCase, frame: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"none with Response = 1"):
        split(case, frame[frame["Response"] == 0], tmp_path / "run")


def test_generated_rows_are_the_same_for_the_same_seed_and_carry_a_signal(case: UseCase, frame: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(frame, generate(case, len(frame), seed=0))
    assert not frame.equals(generate(case, len(frame), seed=1))
    rates = frame.groupby("Vehicle_Damage")["Response"].mean()
    assert rates["Yes"] > 3 * rates["No"]
    assert 0.05 < frame["Response"].mean() < 0.25


def test_rows_that_mongodb_cannot_hold_go_in_as_text(collection: Collection[Any], tmp_path: Path) -> None:
    small = small_case([integer("n"), text("t")], quarantine_budget=1)
    lines = ['{"n": 1, "t": "a"}', '{"n": 1, "t": "\\ud800"}', f'{{"n": {10**30}, "t": "b"}}']
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    assert load(File(tmp_path / "rows.jsonl", small), collection) == 3
    assert {document["n"] for document in collection.find()} == {1, "1", str(10**30)}
    ingest(small, File(tmp_path / "rows.jsonl", small), tmp_path / "out")
    kept = [json.loads(line)["row"]["n"] for line in (tmp_path / "out" / QUARANTINE).read_text().splitlines()]
    assert kept == [1, 10**30]
