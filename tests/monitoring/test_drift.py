"""Drift as effect sizes, on columns that were changed on purpose and on public pairs of files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.support.small_cases import SHARED_DATA, date, integer, real, small_case, text
from updraft.model.columns import Column
from updraft.monitoring.drift import ColumnDrift, Drift, Limits, Window
from updraft.monitoring.reference import Reference, describe
from updraft.monitoring.report import state_of, summarize
from updraft.usecase import UseCase

ROWS = 4000
NO_SCORES = np.empty(0)
LIMITS = Limits()
PAIRS = SHARED_DATA / "drift"


def compare(case: UseCase, then: pd.DataFrame, now: pd.DataFrame, limits: Limits = LIMITS, batches: int = 3) -> Drift:
    stored = describe(then, case, NO_SCORES).model_dump_json()
    window = Window(Reference.model_validate_json(stored), limits)
    for part in np.array_split(np.arange(len(now)), batches):
        table = pa.Table.from_pandas(now.iloc[part], preserve_index=False)
        window.add({name: table[name] for name in table.column_names})
    return window.drift()


def by_name(drift: Drift) -> Mapping[str, ColumnDrift]:
    return {column.name: column for column in drift.columns}


def drifted(drift: Drift) -> set[str]:
    return {column.name for column in drift.columns if column.verdict == "drifted"}


@pytest.fixture(scope="module")
def case() -> UseCase:
    columns = [
        real("amount"),
        real("zeros"),
        text("city"),
        text("message"),
        integer("old", nullable=True),
        date("day"),
        integer("y"),
    ]
    return small_case(columns, text=("message",))


def rows(seed: int, size: int = ROWS) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    words = [f"word{number}" for number in range(300)]
    frame = pd.DataFrame({
        "amount": random.lognormal(3, 1, size),
        "zeros": np.where(random.random(size) < 0.6, 0.0, random.normal(5, 1, size)),
        "city": random.choice(["Oslo", "Rome", "Lima"], size, p=[0.7, 0.2, 0.1]),
        "message": [" ".join(random.choice(words, 8)) for _ in range(size)],
        "old": random.integers(0, 40, size),
        "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(random.integers(0, 90, size), "D"),
        "y": random.integers(0, 2, size),
    })
    frame["amount"] = frame["amount"].mask(random.random(size) < 0.1)
    return frame.astype({"city": "str", "message": "str", "day": "datetime64[us]"})


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("size", [200, 500, ROWS])
def test_rows_of_the_same_kind_have_not_drifted(case: UseCase, seed: int, size: int) -> None:
    drift = compare(case, rows(0), rows(seed, size))
    assert (drift.rows, drifted(drift), drift.shifts) == (size, set(), [])
    assert max(column.worst for column in drift.columns) < (0.8 if size == 200 else 0.5)


def test_the_same_rows_have_no_drift_at_all(case: UseCase) -> None:
    drift = compare(case, rows(0), rows(0))
    assert {column.psi for column in drift.columns} - {None} == {0.0}
    assert {column.distance for column in drift.columns} - {None} == {0.0}


def change(column: str, value: Any) -> pd.DataFrame:
    frame = rows(1)
    frame[column] = value(frame[column])
    return frame.astype({"city": "str", "message": "str", "day": "datetime64[us]"})


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("amount", lambda old: old * 2, "PSI"),
        ("amount", lambda old: old.where(np.arange(len(old)) % 4 > 0), "% null, 10."),
        ("zeros", lambda old: old.where(old > 0, 0.5), "PSI"),
        ("zeros", lambda old: old + 1e6, "PSI"),
        (
            "city",
            lambda old: old.where(np.arange(len(old)) % 10 > 0, "Paris"),
            "10.0% of the values were not in training",
        ),
        ("city", lambda old: old.replace({"Oslo": "Rome", "Rome": "Oslo"}), "PSI"),
        ("message", lambda old: "xq " + old.str.replace("word", "wort"), "% unknown words, "),
        ("message", lambda old: old + " " + old + " " + old, "PSI"),
        ("old", lambda old: old + 15, "PSI"),
        ("y", lambda old: old * (np.arange(len(old)) % 3 == 0), "PSI"),
    ],
)
def test_a_changed_column_is_named_first_with_its_reason(case: UseCase, column: str, value: Any, reason: str) -> None:
    drift = compare(case, rows(0), change(column, value))
    assert drifted(drift) == {column} == {drift.columns[0].name}
    assert drift.shifts == (["target"] if column == "y" else ["covariate"])
    assert reason in "; ".join(drift.columns[0].reasons)


def test_ranges_of_large_numbers_are_written_out(case: UseCase) -> None:
    large = rows(0).assign(amount=lambda old: old["amount"] * 1e6)
    names = [each.name for each in by_name(compare(case, large, large))["amount"].bins]
    assert any("," in name for name in names) and not any("e+" in name for name in names)


def test_an_atom_within_a_bin_has_a_bin_of_its_own(case: UseCase) -> None:
    frame = rows(1)
    frame["zeros"] = frame["zeros"].where(frame["zeros"] > 0, 1e-9)  # as many rows below every quantile as before
    assert drifted(compare(case, rows(0), frame)) == {"zeros"}


def test_one_value_that_changes_is_seen(case: UseCase) -> None:
    then, now = rows(0), rows(1)
    then["amount"], now["amount"] = 1.0, 2.5
    assert drifted(compare(case, then, now)) == {"amount"}


def test_dates_and_private_columns_are_not_watched(case: UseCase) -> None:
    private = case.model_copy(update={"serving": case.serving.model_copy(update={"private": ("city",)})})
    now = change("day", lambda old: old + pd.Timedelta(days=900))
    now["city"] = pd.Series(["Elsewhere"] * len(now), dtype="str")
    drift = compare(private, rows(0), now)
    found = by_name(drift)
    assert (found["day"].verdict, found["day"].reasons) == ("not watched", ["dates move on by themselves"])
    assert (found["city"].verdict, found["city"].reasons) == ("not watched", ["it is private"])
    assert "Elsewhere" not in drift.model_dump_json()
    assert "Oslo" not in describe(rows(0), private, NO_SCORES).model_dump_json()


def test_few_rows_are_no_evidence(case: UseCase) -> None:
    drift = compare(case, rows(0), change("amount", lambda old: old * 100)[:199])
    assert {column.verdict for column in drift.columns} == {"not enough rows", "not watched"}
    assert by_name(drift)["amount"].reasons == ["199 rows now and 4,000 in training, 200 of each are needed"]
    assert drift.shifts == []
    assert (state_of(drift), summarize(drift)) == ("unknown", "not enough rows to say anything")
    broken = drift.model_copy(update={"schema_break": ["city is gone"]})
    assert state_of(broken) == "found" and summarize(broken).startswith(
        "schema break: city is gone; not enough rows for"
    )


@pytest.mark.parametrize("column", ["amount", "city", "message", "old"])
def test_a_column_of_nulls_has_drifted(case: UseCase, column: str) -> None:
    then, now = rows(0), rows(1)
    now[column] = pd.Series([None] * len(now), dtype=now[column].dtype if now[column].dtype != "int64" else "float64")
    assert drifted(compare(case, then, now)) == {column} == drifted(compare(case, now, then))


def test_no_rows_are_no_drift(case: UseCase) -> None:
    drift = compare(case, rows(0), rows(1, 0), batches=1)
    assert (drift.rows, drift.shifts, drifted(drift)) == (0, [], set())
    assert (state_of(drift), summarize(drift)) == ("unknown", "no rows to compare")


def test_the_state_says_what_the_sentence_says(case: UseCase) -> None:
    alike = compare(case, rows(0), rows(1))
    assert (state_of(alike), summarize(alike)) == ("none", "no drift")
    shifted = compare(case, rows(0), change("amount", lambda old: old * 100))
    assert (state_of(shifted), summarize(shifted)) == ("found", "covariate shift: amount")
    broken = alike.model_copy(update={"schema_break": ["city is gone"]})
    assert (state_of(broken), summarize(broken)) == ("found", "schema break: city is gone")


def test_predictions_are_compared_too(case: UseCase) -> None:
    random = np.random.default_rng(0)
    reference = describe(rows(0), case, random.beta(2, 5, ROWS))
    for scores, shifts in ((random.beta(2, 5, ROWS), []), (random.beta(5, 2, ROWS), ["prediction"])):
        window = Window(reference, LIMITS)
        table = pa.Table.from_pandas(rows(1), preserve_index=False)
        window.add({name: table[name] for name in table.column_names}, pa.array(scores))
        assert window.drift().shifts == shifts


def test_of_a_multiclass_model_the_likeliest_labels_are_compared(case: UseCase) -> None:
    labels = ({"value": 0, "name": "low"}, {"value": 1, "name": "mid"}, {"value": 2, "name": "high"})
    several = small_case(list(case.columns), task="multiclass", labels=labels, text=("message",))
    scores = np.random.default_rng(0).dirichlet([2, 2, 1], ROWS)
    reference = describe(rows(0), several, scores)
    names = np.array(["low", "mid", "high"])
    for now, shifts in ((scores, []), (scores[:, ::-1], ["prediction"])):
        window = Window(reference, LIMITS)
        window.add({"amount": pa.array(rows(0)["amount"])}, pa.array(names[now.argmax(axis=1)]))
        drift = window.drift()
        assert (drift.rows, drift.shifts, len(drift.columns)) == (ROWS, shifts, 2)


def typed(frame: pd.DataFrame, target: str, **yaml: Any) -> tuple[UseCase, pd.DataFrame]:
    def column(name: str) -> Column:
        kinds = {"i": integer, "f": real}
        return (date if "time" in name else kinds.get(frame[name].dtype.kind, text))(name)

    case = small_case([column(name) for name in frame], target, task="regression", **yaml)
    return case, frame.astype({column.name: column.type for column in case.columns})


@pytest.mark.parametrize("month", ["01", "02"])
def test_random_halves_of_a_month_of_taxi_trips_are_alike(shared_data: None, month: str) -> None:
    case, frame = typed(pd.read_csv(PAIRS / f"yellow_tripdata_sample_2019-{month}.csv"), "total_amount")
    for seed in (0, 1, 2):
        order = np.random.default_rng(seed).permutation(len(frame))
        drift = compare(case, frame.iloc[order[::2]], frame.iloc[order[1::2]])
        assert (drifted(drift), drift.shifts) == (set(), [])


def test_a_new_surcharge_is_named_first(shared_data: None) -> None:
    case, then = typed(pd.read_csv(PAIRS / "yellow_tripdata_sample_2019-01.csv"), "total_amount")
    now = typed(pd.read_csv(PAIRS / "yellow_tripdata_sample_2019-02.csv"), "total_amount")[1]
    drift = compare(case, then, now)
    assert drift.columns[0].name == "congestion_surcharge"
    assert drift.columns[0].reasons[0] == "0.0% null, 63.3% in training"
    # The others: 16 % of the trips have no passenger in February, none in January; `extra` has new values.
    assert drifted(drift) == {"congestion_surcharge", "extra", "passenger_count", "total_amount"}
    assert drift.shifts == ["covariate", "target"]


def test_houses_elsewhere_are_seen(shared_data: None) -> None:
    case, then = typed(pd.read_csv(PAIRS / "california_reference.csv"), "clf_target", id="id")
    now = typed(pd.read_csv(PAIRS / "california_analysis.csv"), "clf_target", id="id")[1]
    leave = ["y_pred", "y_pred_proba"]
    case = case.model_copy(update={"ignored": tuple(leave)})
    drift = compare(case, then, now)
    assert {column.name for column in drift.columns[:2]} == {"Latitude", "Longitude"} == drifted(drift)
    assert drift.shifts == ["covariate"]
