"""Public data as it was found: each dirty file ends in a stated quarantine, a stated cast or a clear refusal."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support.small_cases import SHARED_DATA, date, integer, real, small_case, text
from updraft.addresses import Address
from updraft.destinations.mongodb import load
from updraft.learning.splits import FOLD
from updraft.model.columns import Column
from updraft.sources.files import File
from updraft.sources.mongodb import Documents, database
from updraft.stages.ingest import ingest
from updraft.stages.stage_folder import QUARANTINE, TEST, TRAIN, read_json
from updraft.stages.transform import BadData, transform
from updraft.stages.validate import ValidationFailed, validate
from updraft.usecase import UseCase

pytestmark = pytest.mark.usefixtures("shared_data")

FOCUS = SHARED_DATA / "vehicle_price" / "unclean_focus.csv"
CARS = SHARED_DATA / "vehicle_price" / "Car details v3.csv"
PHISHING = SHARED_DATA / "network_security" / "phisingData.csv"
FIVE_TIMES = SHARED_DATA / "network_security" / "dirty_phishing_duplicated_ingest.csv.gz"
SPAM = SHARED_DATA / "sms_spam" / "spam.csv"
TORN_SPAM = SHARED_DATA / "sms_spam" / "dirty_spam_v1v2_mixed_bytes.csv"
TAXI = SHARED_DATA / "drift" / "yellow_tripdata_sample_2019-01.csv"
LATER_TAXI = SHARED_DATA / "drift" / "yellow_tripdata_sample_2019-02.csv"


def taken(case: UseCase, path: Path, out: Path) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Ingest a file; give the rows that fit and those set aside."""
    dataset = ingest(case, File(path, case), out)
    return pd.read_parquet(dataset), set_aside(out)


def set_aside(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / QUARANTINE).read_text().splitlines()]


def focus(folder: Path, **yaml: Any) -> UseCase:
    columns = [text("model", nullable=False), real("year"), real("price", nullable=False)]
    columns += [text("transmission", allowed=("Manual", "Automatic", "Semi-Auto"))]
    columns += [text("fuel type", allowed=("Petrol", "Diesel", "Other")), real("engine size", maximum=10)]
    return small_case(columns, "price", folder, task="regression", **yaml)


def test_a_scrape_before_cleaning_is_refused_because_its_prices_are_text(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"99\.00% of 5,604 rows do not fit.*worst is 'price' \(5,548\), such as row 2: "):
        taken(focus(tmp_path), FOCUS, tmp_path / "out")
    assert len(set_aside(tmp_path / "out")) == 5604 - 56  # as many rows are empty: the suite's matter, see below


def test_a_row_of_a_scrape_is_set_aside_where_its_number_is_none(tmp_path: Path) -> None:
    casts = {"price": "number_from_text", "engine size": "number_from_text"}
    case = focus(tmp_path, read={"casts": casts, "nulls": "n/a"})
    _, (line,) = taken(case, FOCUS, tmp_path / "out")
    assert line["reason"].startswith("engine size: ' 2,00 cc' is not plainly a number")


def test_a_scrape_whose_prices_are_cast_is_refused_because_its_columns_are_shifted(tmp_path: Path) -> None:
    casts = {"model": "strip", "price": "number_from_text", "engine size": "number_from_text"}
    case = focus(tmp_path, read={"casts": casts})
    dataset = ingest(case, File(FOCUS, case), tmp_path / "out")
    frame = pd.read_parquet(dataset)
    assert frame["price"].head(2).tolist() == [8000, 13400] and set(frame["model"].dropna()) == {"Focus"}
    with pytest.raises(ValidationFailed) as failure:
        validate(case, dataset, tmp_path / "validate")
    assert "fuel type: column_values_to_be_in_set" in str(failure.value)
    assert "engine size: column_values_to_be_between" in str(failure.value)
    assert "model: column_values_to_not_be_null(): 56 of 5,558 rows" in str(failure.value)


SMS = [text("label", nullable=False, allowed=("ham", "spam")), text("message", nullable=False)]
RENAMED = {"rename": {"v1": "label", "v2": "message"}}
SPAM_LABELS = {"labels": [{"value": "ham", "name": "ham"}, {"value": "spam", "name": "spam"}], "positive": "spam"}


def test_messages_in_latin_1_are_read_whole(tmp_path: Path) -> None:
    case = small_case(SMS, "label", read=RENAMED | {"encoding": "latin-1"}, **SPAM_LABELS)
    rows, rejected = taken(case, SPAM, tmp_path / "out")
    expected = pd.read_csv(SPAM, encoding="latin-1")
    assert not rejected
    assert rows["message"].tolist() == expected["v2"].tolist()
    assert rows["label"].value_counts().to_dict() == {"ham": 4825, "spam": 747}


def test_a_file_of_mixed_encodings_is_refused_at_the_usual_budget(tmp_path: Path) -> None:
    case = small_case(SMS, "label", read=RENAMED, **SPAM_LABELS)
    with pytest.raises(BadData, match=r"do not fit, more than quarantine_budget 1\.00%; worst is 'message'.*U\+FFFD"):
        taken(case, TORN_SPAM, tmp_path / "out")


def test_a_file_of_mixed_encodings_gives_its_whole_rows_where_the_budget_lets_it(tmp_path: Path) -> None:
    case = small_case(SMS, "label", read=RENAMED, quarantine_budget=0.1, **SPAM_LABELS)
    rows, rejected = taken(case, TORN_SPAM, tmp_path / "out")
    expected = pd.read_csv(TORN_SPAM, encoding_errors="replace")
    torn = expected["v2"].str.contains("\ufffd")
    assert rows["message"].tolist() == expected["v2"][~torn].tolist()
    assert [line["place"] for line in rejected] == [f"row {number + 2}" for number in expected.index[torn]]
    assert all("holds U+FFFD" in line["reason"] for line in rejected)


def cars(**yaml: Any) -> UseCase:
    columns = [text("name"), integer("year"), real("selling_price"), integer("km_driven"), text("fuel")]
    columns += [real("mileage"), real("engine"), real("max_power"), text("torque"), real("seats")]
    return small_case(columns, "selling_price", task="regression", ignored=["name", "torque"], **yaml)


UNITS = dict.fromkeys(("mileage", "engine", "max_power"), "number_from_text")


def test_numbers_with_units_are_read_by_a_stated_cast_and_mixed_units_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case = cars(read={"casts": UNITS})
    with caplog.at_level(logging.WARNING, "updraft"):
        rows, rejected = taken(case, CARS, tmp_path / "out")
    assert "mileage: numbers are read from texts with different units: 'km/kg', 'kmpl'" in caplog.text
    assert "engine:" not in caplog.text
    assert read_json(tmp_path / "out" / "ingest.json")["units"]["engine"] == ["cc"]
    assert len(rows) == 8127
    (line,) = rejected
    assert line["place"] == "row 4935" and line["reason"] == "max_power: ' bhp' holds no number, expected one"
    expected = pd.read_csv(CARS).drop(4933)
    for column in UNITS:
        numbers = expected[column].str.extract(r"([\d.]+)", expand=False).astype("float64")
        assert rows[column].tolist() == pytest.approx(numbers.tolist(), nan_ok=True)


def test_numbers_with_units_are_refused_without_a_cast(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"worst is 'mileage' .*'23\.4 kmpl' is not a number"):
        taken(cars(), CARS, tmp_path / "out")


def test_a_column_that_holds_two_numbers_in_one_text_is_refused(tmp_path: Path) -> None:
    case = cars(read={"casts": UNITS | {"torque": "number_from_text"}})
    columns = tuple(real("torque") if column.name == "torque" else column for column in case.columns)
    with pytest.raises(BadData, match=r"worst is 'torque' .*'190Nm@ 2000rpm' holds 2 numbers, expected one"):
        taken(case.model_copy(update={"columns": columns}), CARS, tmp_path / "out")


def test_a_file_that_was_loaded_five_times_gives_the_rows_of_the_clean_one(tmp_path: Path) -> None:
    names = pd.read_csv(PHISHING, nrows=0).columns
    labels = {"labels": [{"value": 1, "name": "legitimate"}, {"value": -1, "name": "phishing"}], "positive": -1}
    read = {"rename": {"port": "port_no"}}  # as the other file calls it
    case = small_case([integer(name) for name in names], "Result", deduplicate=True, read=read, **labels)
    sides: dict[Path, list[pd.DataFrame]] = {}
    for path, rows in ((PHISHING, 11_055), (FIVE_TIMES, 55_275)):
        dataset = ingest(case, File(path, case), tmp_path / "ingest")
        split = transform(case, dataset, tmp_path / "split")
        facts = read_json(split / "split.json")
        assert (facts["rows"], facts["duplicates"], facts["distinct_rows"]) == (5849, rows - 5849, 5785)
        sides[path] = [pd.read_parquet(split / name) for name in (TRAIN, TEST)]
    for one, other in zip(*sides.values(), strict=True):
        pd.testing.assert_frame_equal(one, other)
    features = list(names.drop("Result"))
    train, test = (set(side[features].itertuples(index=False, name=None)) for side in sides[PHISHING])
    assert not train & test


def taxi(folder: Path, surcharge: Column) -> UseCase:
    columns = [date("pickup_datetime", nullable=False), date("dropoff_datetime"), real("trip_distance")]
    columns += [text("store_and_fwd_flag", allowed=("N", "Y")), surcharge, real("total_amount")]
    split = {"by": "time", "column": "pickup_datetime", "share": 0.25}
    return small_case(columns, "total_amount", folder, task="regression", split=split)


def test_a_column_that_is_null_where_it_was_not_before_is_refused_by_its_suite(tmp_path: Path) -> None:
    case = taxi(tmp_path, real("congestion_surcharge", nullable=False))
    later = ingest(case, File(LATER_TAXI, case), tmp_path / "later")
    assert validate(case, later, tmp_path / "validate") == later
    dataset = ingest(case, File(TAXI, case), tmp_path / "ingest")
    with pytest.raises(
        ValidationFailed, match=r"congestion_surcharge: column_values_to_not_be_null\(\): 6,327 of 10,00"
    ):
        validate(case, dataset, tmp_path / "validate")


def test_a_column_that_may_be_null_passes_and_its_rows_are_split_by_time(tmp_path: Path) -> None:
    case = taxi(tmp_path, real("congestion_surcharge"))
    dataset = ingest(case, File(TAXI, case), tmp_path / "ingest")
    assert validate(case, dataset, tmp_path / "validate") == dataset
    split = transform(case, dataset, tmp_path / "split")
    train, test = pd.read_parquet(split / TRAIN), pd.read_parquet(split / TEST)
    assert train["pickup_datetime"].max() < test["pickup_datetime"].min()
    assert len(test) == pytest.approx(2500, abs=5)
    assert train["pickup_datetime"].dtype == "datetime64[us]" and set(train[FOLD]) == {0, 1, 2}


def test_the_published_split_of_california_is_reproduced(tmp_path: Path) -> None:
    from sklearn.model_selection import train_test_split

    path = SHARED_DATA / "california_housing" / "california_sklearn_format.csv"
    expected = pd.read_csv(path)
    case = small_case(
        [real(name) for name in expected], "MedHouseVal", task="regression", split={"by": "random", "share": 0.2}
    )
    split = transform(case, ingest(case, File(path, case), tmp_path / "ingest"), tmp_path / "split")
    sides = [pd.read_parquet(split / name).drop(columns=FOLD, errors="ignore") for name in (TRAIN, TEST)]
    for side, wanted in zip(sides, train_test_split(expected, test_size=0.2, random_state=42), strict=True):
        pd.testing.assert_frame_equal(side, wanted.reset_index(drop=True).astype("float64"))


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    case = small_case([text("reviewText"), integer("Positive")], "Positive")
    rows, rejected = taken(case, SHARED_DATA / "text_sentiment" / "amazon.csv", tmp_path / "out")
    assert len(rows) == 20_000 and not rejected


@pytest.mark.parametrize("path", [CARS, TORN_SPAM, TAXI], ids=lambda path: path.name)
def test_a_dirty_file_gives_the_same_rows_by_way_of_mongodb(tmp_path: Path, mongodb_url: str, path: Path) -> None:
    case = {
        CARS: cars(read={"casts": UNITS}),
        TORN_SPAM: small_case(SMS, "label", read=RENAMED, quarantine_budget=0.1, **SPAM_LABELS),
        TAXI: taxi(tmp_path, real("congestion_surcharge")),
    }[path]
    rows, rejected = taken(case, path, tmp_path / "file")
    with database(Address("MONGODB_URL", mongodb_url)) as opened:
        load(File(path, case), opened["small"])
        dataset = ingest(case, Documents(opened["small"], case), tmp_path / "mongo")
        opened.client.drop_database(opened.name)
    pd.testing.assert_frame_equal(pd.read_parquet(dataset), rows)
    assert sorted(line["reason"] for line in set_aside(tmp_path / "mongo")) == sorted(
        line["reason"] for line in rejected
    )
