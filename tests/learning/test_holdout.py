"""One part of the training rows in place of folds: which rows it has, and what is chosen on it."""

from __future__ import annotations

import logging
from datetime import date as day
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score
from sklearn.model_selection import train_test_split

from tests.learning.test_splits import COLUMNS, RULES, divided, made
from tests.support.small_cases import date, integer, real, small_case, text
from updraft.errors import BadData
from updraft.learning.estimators import build
from updraft.learning.metrics import find_threshold
from updraft.learning.splits import FOLD
from updraft.stages import row_buckets
from updraft.stages.evaluate import evaluate
from updraft.stages.stage_folder import TRAIN, read_json
from updraft.stages.train import train
from updraft.usecase import UseCase, schema

HOLDOUT = {"validation": {"holdout": 0.25}}


def by(split: dict[str, Any], **yaml: Any) -> UseCase:
    return small_case(COLUMNS, id="id", split=split, **yaml)


@pytest.mark.parametrize("split", RULES, ids=lambda split: "-".join(map(str, split.values())))
def test_the_holdout_is_a_share_of_the_training_rows_and_the_test_rows_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: dict[str, Any]
) -> None:
    frame = made(2000)
    train_rows, test_rows = divided(by(split, **HOLDOUT), frame, tmp_path / "one")
    folded = divided(by(split), frame, tmp_path / "folds")
    pd.testing.assert_frame_equal(test_rows, folded[1])
    pd.testing.assert_frame_equal(train_rows.drop(columns=FOLD), folded[0].drop(columns=FOLD))
    assert set(train_rows[FOLD]) == {-1, 0} and 0.18 < (train_rows[FOLD] == 0).mean() < 0.32
    facts = read_json(tmp_path / "one" / "split" / "split.json")
    assert (facts["folds"], facts["holdout"]) == (None, 0.25)
    monkeypatch.setattr(row_buckets, "CELLS", 800)
    pd.testing.assert_frame_equal(divided(by(split, **HOLDOUT), frame, tmp_path / "many")[0], train_rows)


def test_a_group_and_equal_rows_are_on_one_side_of_the_holdout(tmp_path: Path) -> None:
    frame = made(2000)
    rows, _ = divided(by({"by": "group", "column": "group"}, **HOLDOUT), frame, tmp_path / "group")
    assert rows.groupby("group")[FOLD].nunique().max() == 1
    twice = pd.concat([frame, frame.assign(id=frame["id"] + 2000)])
    rows, _ = divided(by({"by": "hash"}, **HOLDOUT), twice, tmp_path / "hash")
    assert rows.groupby(["x", "group", "day"])[FOLD].agg(["nunique", "size"]).max().tolist() == [1, 2]


@pytest.mark.parametrize("more", [{}, {"since": day(2026, 9, 1)}], ids=["share", "since"])
def test_by_time_the_holdout_is_later_than_what_is_fitted_and_earlier_than_the_test(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    rows, test = divided(by({"by": "time", "column": "day", **more}, **HOLDOUT), made(2000), tmp_path)
    fitted, held_out = (rows[rows[FOLD] == fold]["day"] for fold in (-1, 0))
    assert fitted.max() < held_out.min() <= held_out.max() < test["day"].min()


def test_at_random_it_is_scikit_learns(tmp_path: Path) -> None:
    rows, _ = divided(by({"by": "random"}, **HOLDOUT), made(500), tmp_path)
    _, expected = train_test_split(rows["id"], test_size=0.25, random_state=42)
    assert set(rows[rows[FOLD] == 0]["id"]) == set(expected)


@pytest.mark.parametrize(("yaml", "held_out"), [({}, True), ({"folds": 3}, False), (HOLDOUT, True)])
def test_many_rows_have_a_holdout_unless_the_yaml_asks_for_folds(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    yaml: dict[str, Any],
    held_out: bool,
) -> None:
    case = by({"by": "hash"}, **yaml)
    assert case.holdout(1_000_000) == (0.25 if yaml == HOLDOUT else None)
    monkeypatch.setattr(schema, "FOLDS_UP_TO", 299)
    caplog.set_level(logging.INFO)
    rows, _ = divided(case, made(300), tmp_path)
    assert set(rows[FOLD]) == ({-1, 0} if held_out else {0, 1, 2})
    assert ("validated on 20 % of the training rows, not in folds" in caplog.text) == (yaml == {})


def test_a_holdout_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    case = small_case([integer("year"), integer("y")], split={"by": "time", "column": "year"}, **HOLDOUT)
    frame = pd.DataFrame({"year": [2020] * 50 + [2021] * 50, "y": [0, 1] * 50})
    with pytest.raises(BadData, match=r"validation\.holdout: by time it has none of 50 training rows") as refusal:
        divided(case, frame, tmp_path)
    assert len(str(refusal.value).splitlines()) == 1


def test_candidates_and_threshold_are_chosen_on_the_holdout_and_the_model_has_all_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    candidates = {"forest": {"estimator": "RandomForestClassifier", "params": {"n_estimators": 5, "max_depth": 4}}}
    frame = made(1000).assign(y=lambda rows: (rows["x"] + rows["id"] % 3 > 1).astype("int64"))
    folders = {}
    for name, yaml in (("holdout", HOLDOUT), ("folds", {"folds": 3})):
        case = by({"by": "hash"}, candidates=candidates, **yaml)
        divided(case, frame, tmp_path / name)
        folders[name] = train(case, "forest", tmp_path / name / "split", tmp_path / name / "forest")
    assert (folders["holdout"] / "model.joblib").read_bytes() == (folders["folds"] / "model.joblib").read_bytes()

    case, split = by({"by": "hash"}, candidates=candidates, **HOLDOUT), tmp_path / "holdout" / "split"
    rows = pd.read_parquet(split / TRAIN)
    fitted, held_out = (rows[rows[FOLD] == fold] for fold in (-1, 0))
    pipeline = build(case, "RandomForestClassifier", candidates["forest"]["params"])  # type: ignore[arg-type]
    scores = pipeline.fit(fitted[case.feature_names], fitted["y"]).predict_proba(held_out[case.feature_names])[:, 1]
    training = read_json(folders["holdout"] / "training.json")
    assert training["validation"]["pr_auc"] == pytest.approx(average_precision_score(held_out["y"], scores))
    assert training["threshold"] == find_threshold(case.threshold, held_out["y"].to_numpy() == 1, scores)
    assert (training["folds"], training["validated_rows"], training["rows"]) == (None, len(held_out), len(rows))

    out = evaluate(case, [folders["holdout"]], split, None, tmp_path / "out")
    card = (out / "card.html").read_text()
    assert f"on a holdout of {len(held_out)} of the {len(rows)} training rows" in card
    assert "cross-valid" not in card and "that holdout" in card


KINDS = [
    *(integer(name) for name in ("tiny", "small", "large", "code")),
    *(real(name) for name in ("exact", "inexact", "empty")),
    *(text(name) for name in ("few", "many", "words")),
    date("day"),
    integer("y"),
]

NARROW = {
    "tiny": "int8", "small": "int32", "large": "int64", "code": "int64", "y": "int64", "exact": "float32",
    "inexact": "float64", "few": "category", "many": "str", "day": "datetime64[us]",
}  # fmt: skip
FEW = {"RandomForestClassifier": {"n_estimators": 5}, "LogisticRegression": {"tol": 1e9}}


def test_models_of_rows_in_narrow_types_are_those_of_wide_ones(tmp_path: Path) -> None:
    from updraft.model.model import _dump
    from updraft.stages.narrow_frame import read_narrow
    from updraft.stages.stage_folder import read_frame

    random, rows = np.random.default_rng(3), 400
    frame = pd.DataFrame({
        "tiny": random.integers(-128, 128, rows), "small": random.integers(0, 40_000, rows),
        "large": random.integers(-(2**62), 2**62, rows), "code": random.integers(0, 5, rows),
        "exact": np.where(random.random(rows) < 0.1, np.nan, random.integers(0, 100, rows) / 4),
        "inexact": np.append(random.random(rows - 1), 1e38), "empty": np.nan,
        "few": random.choice(["b", "a", "é", None], rows), "many": [f"t{number}" for number in range(rows)],
        "words": random.choice(["a good one", "bad", ""], rows), "day": pd.Timestamp("2026-01-01"),
        "y": random.integers(0, 2, rows), FOLD: 0,
    })  # fmt: skip
    estimators = ("RandomForestClassifier", "LogisticRegression", "HistGradientBoostingClassifier")
    for name in estimators:
        texts: list[str] = [] if name.startswith("Hist") else ["words"]
        case = small_case(KINDS, categorical=["code"], text=texts, ignored=["many"] if texts else [])
        frame.astype({column.name: column.type for column in KINDS}).to_parquet(tmp_path / TRAIN, row_group_size=150)
        wide, narrow = read_frame(case, tmp_path / TRAIN), read_narrow(case, tmp_path / TRAIN)
        types = NARROW | {"words": "str" if texts else "category"}
        assert {each: str(narrow[each].dtype) for each in types} == types
        contents = []
        for number, read in enumerate((wide, narrow)):
            few = FEW.get(name, {"max_iter": 20})
            pipeline = build(case, name, few).fit(read[case.feature_names], read["y"])  # type: ignore[arg-type]
            _dump(pipeline, tmp_path / f"{number}")
            contents.append((tmp_path / f"{number}").read_bytes())
            assert np.array_equal(pipeline.predict_proba(wide), pipeline.predict_proba(narrow))
        assert contents[0] == contents[1]


@pytest.mark.parametrize(("estimator", "threads"), [("LinearSVC", 1), ("MultinomialNB", 2)])
def test_a_model_of_texts_notes_no_address_and_liblinear_runs_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, estimator: str, threads: int
) -> None:
    from updraft.model.model import Model

    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    frame = made(200).assign(words=lambda rows: np.where(rows["y"] == 1, "free money", "see you"))
    case = small_case([text("words"), integer("y")], text=["words"], deduplicate=False, split={"by": "random"},
                      candidates={"one": {"estimator": estimator}})  # fmt: skip
    divided(case, frame[["words", "y"]], tmp_path)
    folder = train(case, "one", tmp_path / "split", tmp_path / "one")
    assert read_json(folder / "training.json")["threads"] == threads
    assert b"_stop_words_id" not in (folder / "model.joblib").read_bytes()
    assert len(Model.load(folder).scores(frame[["words"]])) == 200
