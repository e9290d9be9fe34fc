from __future__ import annotations

import hashlib
from datetime import date as day
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from tests.support.small_cases import date, integer, real, small_case, text
from updraft.datasets.manifest import DATASET
from updraft.learning.splits import FOLD
from updraft.model.columns import Column
from updraft.stages import row_buckets, usable_rows
from updraft.stages.stage_folder import TEST, TRAIN, read_json
from updraft.stages.transform import BadData, transform
from updraft.usecase import UseCase
from updraft.usecase.blocks import GroupSplit, HashSplit, RandomSplit, TimeSplit

COLUMNS = [integer("id"), real("x"), text("group"), date("day"), integer("y")]


def made(rows: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({
        "id": np.arange(rows),
        "x": random.normal(size=rows),
        "group": [f"g{number}" for number in random.integers(0, max(rows // 10, 2), rows)],
        "day": pd.Timestamp("2026-01-01")
        + pd.to_timedelta(random.integers(0, 300, rows), "D").astype("timedelta64[us]"),
        "y": (random.random(rows) < 0.2).astype("int64"),
    })


def divided(case: UseCase, frame: pd.DataFrame, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    folder.mkdir(exist_ok=True)
    frame.to_parquet(folder / DATASET)
    out = transform(case, folder / DATASET, folder / "split")
    return pd.read_parquet(out / TRAIN), pd.read_parquet(out / TEST)


def by(**split: Any) -> UseCase:
    return small_case(COLUMNS, id="id", **({"split": split} if split else {}))


RULES = [
    {"by": "hash"},
    {"by": "random"},
    {"by": "random", "stratify": True},
    {"by": "time", "column": "day"},
    {"by": "group", "column": "group"},
]

AS_EVER = {  # sha256 of the ids and folds of 1,000 rows: a model's test rows must not become another's training rows
    "hash": "5f6727c6db1312d2",
    "random": "f8a336af8969c195",
    "random-True": "c880a7c954dc8424",
    "time-day": "2f3082661939cb56",
    "group-group": "49f0166910f8aba7",
}


@pytest.mark.parametrize("split", RULES, ids=lambda split: "-".join(map(str, split.values())))
def test_every_rule_gives_each_row_one_side_and_the_folds_to_train(tmp_path: Path, split: dict[str, Any]) -> None:
    frame = made(1000)
    train, test = divided(by(**split), frame, tmp_path)
    assert sorted([*train["id"], *test["id"]]) == list(range(1000))
    assert 150 <= len(test) <= 250
    assert FOLD not in test
    shares = train[FOLD].value_counts(normalize=True)
    assert sorted(shares.index) == [0, 1, 2] and shares.min() > 0.2
    facts = read_json(tmp_path / "split" / "split.json")
    assert (facts["seed"], facts["split"]["by"]) == (42, split["by"])
    assert facts["train"]["positive"] + facts["test"]["positive"] == frame["y"].sum()


@pytest.mark.parametrize("split", RULES, ids=lambda split: "-".join(map(str, split.values())))
def test_the_same_seed_gives_the_same_sides_and_another_others(tmp_path: Path, split: dict[str, Any]) -> None:
    case, frame = by(**split), made(300)
    first, again = (divided(case, frame, tmp_path / name) for name in ("first", "again"))
    for one, other in zip(first, again, strict=True):
        pd.testing.assert_frame_equal(one, other)
    reseeded, _ = divided(case.model_copy(update={"split_seed": 7}), frame, tmp_path / "reseeded")
    assert (set(reseeded["id"]) == set(first[0]["id"])) == (split["by"] == "time")


@pytest.mark.parametrize("split", RULES, ids=lambda split: "-".join(map(str, split.values())))
def test_rows_in_many_buckets_are_split_as_in_one_and_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: dict[str, Any]
) -> None:
    frame = made(1000)
    frame = pd.concat([frame, frame.head(200).assign(id=lambda rows: rows["id"] + 1000)], ignore_index=True)
    case = by(**split).model_copy(update={"deduplicate": True})
    one = divided(case, frame, tmp_path / "one")
    facts = read_json(tmp_path / "one" / "split" / "split.json")
    monkeypatch.setattr(row_buckets, "CELLS", 400)
    monkeypatch.setattr(usable_rows, "ROWS", 90)
    many = divided(case, frame, tmp_path / "many")
    for side, other in zip(one, many, strict=True):
        pd.testing.assert_frame_equal(side, other)
    assert read_json(tmp_path / "many" / "split" / "split.json") == facts
    assert (facts["rows"], facts["duplicates"], facts["distinct_rows"]) == (1000, 200, 1000)
    assert {file.name for file in (tmp_path / "many" / "split").iterdir()} == {TRAIN, TEST, "split.json"}
    digest = hashlib.sha256(pd.concat(many)[["id", FOLD]].to_csv().encode()).hexdigest()[:16]
    assert digest == AS_EVER["-".join(map(str, split.values()))]


@pytest.mark.parametrize("stratify", [False, True])
def test_random_is_scikit_learns_own_split_row_by_row(tmp_path: Path, stratify: bool) -> None:
    frame = made(500)
    sides = divided(by(by="random", share=0.25, stratify=stratify), frame, tmp_path)
    expected = train_test_split(frame, test_size=0.25, random_state=42, stratify=frame["y"] if stratify else None)
    for side, wanted in zip(sides, expected, strict=True):
        pd.testing.assert_frame_equal(side.drop(columns=FOLD, errors="ignore"), wanted.reset_index(drop=True))
    if stratify:
        assert sides[0].groupby(FOLD)["y"].mean().sub(frame["y"].mean()).abs().max() < 0.01


def test_by_time_the_latest_rows_are_for_test_and_ties_stay_together(tmp_path: Path) -> None:
    frame = made(1000)
    train, test = divided(by(by="time", column="day", share=0.3), frame, tmp_path)
    assert train["day"].max() < test["day"].min()
    assert list(train["id"]) == sorted(train["id"])  # the source's order
    spans = train.groupby(FOLD)["day"].agg(["min", "max"])
    assert (spans["max"].iloc[:-1].to_numpy() < spans["min"].iloc[1:].to_numpy()).all()
    facts = read_json(tmp_path / "split" / "split.json")
    assert facts["test"]["from"] == str(test["day"].min())


def test_by_time_since_a_day(tmp_path: Path) -> None:
    train, test = divided(by(by="time", column="day", since=day(2026, 9, 1)), made(1000), tmp_path)
    assert train["day"].max() < pd.Timestamp("2026-09-01") <= test["day"].min()
    assert read_json(tmp_path / "split" / "split.json")["split"]["since"] == "2026-09-01"


@pytest.mark.parametrize(
    ("years", "tested"),
    [([2020] * 50 + [2021] * 50, 50), ([2020] * 90 + [2021] * 10, 10), ([2020] * 10 + [2021] * 45 + [2022] * 45, 45)],
)
def test_by_time_a_share_is_met_as_nearly_as_ties_allow(tmp_path: Path, years: list[int], tested: int) -> None:
    case = small_case([integer("year"), integer("y")], split={"by": "time", "column": "year"}, folds=2)
    columns = {"year": years, "y": [0, 1] * 50}
    if len(set(years)) < 3:
        with pytest.raises(BadData, match="leave 1 of 2 folds empty; use fewer folds or more rows"):
            divided(case, pd.DataFrame(columns), tmp_path)
        return
    _, test = divided(case, pd.DataFrame(columns), tmp_path)
    assert len(test) == tested


@pytest.mark.parametrize(
    ("split", "change", "complaint"),
    [
        (TimeSplit(by="time", column="day"), {"day": pd.NaT}, "split by time: day is null in 300 of 300 rows"),
        (TimeSplit(by="time", column="day"), {"day": pd.Timestamp("2026-01-01")}, "leaves no row for"),
        (TimeSplit(by="time", column="day", since=day(2030, 1, 1)), {}, "split by time leaves no row for test, of 300"),
        (TimeSplit(by="time", column="x", since=day(2030, 1, 1)), {}, "split.since: x is float64, expected a date"),
        (TimeSplit(by="time", column="group"), {}, "group is str, expected a date or a number"),
        (GroupSplit(by="group", column="group"), {"group": "one"}, "leaves no row for"),
        (HashSplit(), {"x": 1.0, "group": "one", "day": pd.Timestamp("2026-01-01")}, "leaves no row for"),
        (RandomSplit(by="random", stratify=True), {"y": [0] * 299 + [1]}, "The least populated class"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused(
    tmp_path: Path, split: Any, change: dict[str, Any], complaint: str
) -> None:
    case = by().model_copy(update={"split": split})
    frame = made(300).assign(**change).astype({"day": "datetime64[us]"})
    with pytest.raises(BadData, match=complaint) as refusal:
        divided(case, frame, tmp_path)
    assert len(str(refusal.value).splitlines()) == 1


def test_a_group_stays_on_one_side_and_in_one_fold_whatever_the_order_of_rows(tmp_path: Path) -> None:
    case, frame = by(by="group", column="group"), made(2000)
    sides = divided(case, frame, tmp_path / "first")
    assert not set(sides[0]["group"]) & set(sides[1]["group"])
    assert sides[0].groupby("group")[FOLD].nunique().max() == 1
    shuffled = divided(case, frame.sample(frac=1, random_state=1), tmp_path / "shuffled")
    for one, other in zip(sides, shuffled, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_rows_equal_in_all_but_the_id_count_once_where_the_yaml_says_so(tmp_path: Path) -> None:
    frame = made(200)
    again = pd.concat([frame, frame.assign(id=frame["id"] + 1000)], ignore_index=True)
    for duplicates, rows in ((False, 400), (True, 200)):
        case = by().model_copy(update={"deduplicate": duplicates})
        sides = divided(case, again, tmp_path)
        assert sum(map(len, sides)) == rows
        facts = read_json(tmp_path / "split" / "split.json")
        assert (facts["rows"], facts["duplicates"]) == (rows, 400 - rows)
    assert sorted(pd.concat(sides)["id"]) == list(range(200))


REGRESSION = [integer("id"), real("x"), real("y")]


def prices(rows: int = 200) -> pd.DataFrame:
    return made(rows)[["id", "x"]].assign(y=np.linspace(1, 2, rows))


def test_rows_without_a_target_are_left_out_and_counted(tmp_path: Path) -> None:
    frame = prices()
    frame.loc[:9, "y"] = np.nan
    train, test = divided(small_case(REGRESSION, id="id", task="regression"), frame, tmp_path)
    assert not set(range(10)) & {*train["id"], *test["id"]}
    facts = read_json(tmp_path / "split" / "split.json")
    assert (facts["rows"], facts["null_targets"]) == (190, 10)
    assert facts["train"]["rows"] == len(train) and 1 < facts["train"]["mean"] < 2


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        (np.nan, "none of 200 rows has a y"),
        (5.0, "all with y = 5; a regression needs a target that varies"),
        (np.inf, "expected finite numbers"),
    ],
)
def test_a_target_that_a_regression_cannot_use_is_refused(tmp_path: Path, target: float, complaint: str) -> None:
    with pytest.raises(BadData, match=complaint):
        divided(small_case(REGRESSION, task="regression"), prices().assign(y=target), tmp_path)


def test_a_multiclass_target_needs_each_label_on_both_sides(tmp_path: Path) -> None:
    labels = [{"value": word, "name": word} for word in ("a", "b", "c")]
    case = small_case([real("x"), text("y")], task="multiclass", labels=labels)
    frame = made(200)[["x"]].assign(y=["a", "b", "c", "a"] * 50)
    divided(case, frame, tmp_path)
    assert sum(read_json(tmp_path / "split" / "split.json")["test"]["labels"].values()) > 20
    with pytest.raises(BadData, match=r"none with y = 'c'; more rows are needed, or another split"):
        divided(case, frame.assign(y=["a", "b"] * 100), tmp_path)
    with pytest.raises(BadData, match=r"y has values without a label: 'd'"):
        divided(case, frame.assign(y=["a", "b", "c", "d"] * 50), tmp_path)


@pytest.mark.parametrize("split", [{"by": "hash"}, {"by": "random", "stratify": True}], ids=["hash", "random"])
def test_wide_small_constant_and_empty_columns_pass_and_the_useless_ones_are_named(
    tmp_path: Path, split: dict[str, Any]
) -> None:
    wide = [real(f"x{number}") for number in range(150)]
    columns = [*wide, real("nothing"), text("no_text"), date("no_day"), text("same"), integer("y")]
    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(200, 150)), columns=[column.name for column in wide])
    frame = frame.assign(nothing=np.nan, no_text=None, no_day=pd.NaT, same="a", y=[0, 1] * 100)
    frame = frame.astype({column.name: column.type for column in columns})
    train, test = divided(small_case(columns, split=split), frame, tmp_path)
    assert len(train) + len(test) == 200
    facts = read_json(tmp_path / "split" / "split.json")
    assert facts["constant"] == ["nothing", "no_text", "no_day", "same"]


def test_a_flag_may_be_the_target(tmp_path: Path) -> None:
    case = small_case([real("x"), Column(name="y", type="bool", nullable=False)])
    train, _ = divided(case, made(200)[["x"]].assign(y=[False, True] * 100), tmp_path)
    assert train["y"].dtype == "bool"
    assert read_json(tmp_path / "split" / "split.json")["train"]["positive"] == train["y"].sum()
