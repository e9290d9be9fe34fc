from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from tests.support.small_cases import date, integer, real, small_case, text
from tests.support.trained import Trained
from updraft.learning.estimators import ESTIMATORS
from updraft.learning.example_row import example_row
from updraft.model.columns import Column
from updraft.model.model import Model
from updraft.stages.evaluate import Champion, decide, evaluate
from updraft.stages.stage_folder import TEST, read_json
from updraft.stages.train import choose_candidate, train
from updraft.stages.transform import BadData, transform
from updraft.usecase import UseCase
from updraft.usecase.blocks import NO_TEXT, EstimatorName, Regressor, Slice

METRICS = {"roc_auc": 0.9, "pr_auc": 0.5, "f1": 0.5, "precision": 0.4, "recall": 0.6, "brier": 0.1, "accuracy": 0.8}


def test_the_same_rows_and_seed_give_the_same_bytes_in_another_process_with_more_threads(
    case: UseCase, trained: Trained, tmp_path: Path
) -> None:
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from updraft.stages.train import train\nfrom updraft.usecase import load\n"
        "split, out, *candidates = sys.argv[1:]\n"
        "for each in candidates: train(load('vehicle_insurance'), each, Path(split), Path(out, each))"
    )
    command = [sys.executable, "-c", script, trained.split, tmp_path, *(model.name for model in trained.models)]
    subprocess.run(command, check=True, env={**trained.environ, "OMP_NUM_THREADS": "2", "LOKY_MAX_CPU_COUNT": "2"})
    for model in trained.models:
        assert [read_json(folder / "training.json")["threads"] for folder in (model, tmp_path / model.name)] == [1, 2]
        for file in ("model.joblib", "signature.json"):
            assert (tmp_path / model.name / file).read_bytes() == (model / file).read_bytes(), (model.name, file)


def test_a_stored_model_runs_on_one_thread(trained: Trained) -> None:
    forest = Model.load(trained.models[0]).pipeline["model"]
    assert forest.get_params()["n_jobs"] == 1


def test_a_stored_model_predicts_raw_json_rows_as_in_evaluation(case: UseCase, trained: Trained) -> None:
    test = pd.read_parquet(trained.split / TEST)
    for folder in trained.models:
        model = Model.load(folder)
        rows = json.loads(test.drop(columns=case.target).to_json(orient="records"))
        prediction = model.predict(model.signature.frame(rows))
        assert prediction.probabilities == model.scores(test).tolist()
        assert prediction.predictions == [int(p >= model.signature.threshold) for p in prediction.probabilities]
        assert set(prediction.names) == {"interested", "not interested"}


BOUNDED = [
    real("amount", minimum=0, maximum=100),
    integer("count", minimum=0, maximum=9),
    text("colour", nullable=False, allowed=("red", "blue")),
    integer("code", allowed=(1, 2, 3)),
    date("day", earliest=datetime(2026, 1, 1), latest=datetime(2026, 12, 31)),
]
STRANGE = [
    {"amount": 101.0, "count": 10, "colour": "green", "code": 4, "day": "2027-01-01"},
    {"amount": 1e15, "count": 10**15, "colour": "", "code": -(10**15), "day": "9999-12-31T23:59:59.999999"},
    {"amount": -1e15, "count": -(2**63), "colour": "\U0001f534" * 999, "code": 2**63 - 1, "day": "0001-01-01"},
    {"amount": 1e38, "count": 2**63 - 1, "colour": "red ", "code": 0, "day": "1677-09-21"},
]
POLICIES = {
    "unseen": {"colour": "warn", "code": "warn"},
    "out_of_range": {"amount": "warn", "count": "warn", "day": "warn"},
}


@pytest.mark.parametrize("words", [False, True], ids=["", "text"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_predicts_rows_that_only_warn(name: EstimatorName, words: bool, tmp_path: Path) -> None:
    """Unknown categories, numbers far beyond the range, and texts without any known word."""
    if words and name in NO_TEXT:
        pytest.skip("takes no text")
    random = np.random.default_rng(5)
    rows = 120
    frame = pd.DataFrame({
        "amount": random.random(rows) * 100,
        "count": random.integers(0, 10, rows),
        "colour": random.choice(["red", "blue"], rows),
        "code": random.integers(1, 4, rows),
        "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(random.integers(0, 360, rows), unit="D"),
    })
    regression = name in get_args(Regressor)
    frame["y"] = frame["amount"] * 2 if regression else (frame["amount"] + 9 * random.random(rows) > 50).astype(int)
    columns = [*BOUNDED, real("y", nullable=False) if regression else integer("y", allowed=(0, 1))]
    if words:
        columns, frame["words"] = [*columns, text("words")], np.where(frame["amount"] > 50, "good fine", "bad poor")
    few = {"n_estimators": 10} if "n_estimators" in ESTIMATORS[name].parameters else {}
    case = small_case(
        columns,
        task="regression" if regression else "binary",
        candidates={"one": {"estimator": name, "params": few}},
        text=["words"] if words else [],
        categorical=["code"],
        folds=2,
        serving=POLICIES,
    )
    frame.astype({column.name: column.type for column in columns}).to_parquet(tmp_path / "dataset.parquet")
    split = transform(case, tmp_path / "dataset.parquet", tmp_path / "split")
    model = Model.load(train(case, "one", split, tmp_path / "one"))
    texts = [{"words": word} if words else {} for word in ("unknown \u00e9\U0001f600", "", None, "x" * 5000)]
    checked = model.signature.check([row | more for row, more in zip(STRANGE, texts, strict=True)])
    assert len(checked.warnings) == 20
    prediction = model.predict(checked.frame())
    assert np.isfinite(prediction.predictions).all() and np.isfinite(prediction.probabilities or 0).all()


def test_categories_never_seen_in_training_are_scored(trained: Trained) -> None:
    for folder in trained.models:
        model = Model.load(folder)
        row = model.signature.example | {"Region_Code": 59, "Policy_Sales_Channel": 199}
        (probability,) = model.predict(model.signature.frame([row])).probabilities
        assert 0 <= probability <= 1


def test_the_threshold_comes_from_training_rows_and_decides_the_held_out_f1(case: UseCase, trained: Trained) -> None:
    test = pd.read_parquet(trained.split / TEST)
    evaluation = read_json(trained.evaluation / "evaluation.json")
    for folder in trained.models:
        training = read_json(folder / "training.json")
        model = Model.load(folder)
        assert model.signature.threshold == training["threshold"]
        expected = f1_score(test[case.target] == 1, model.scores(test) >= training["threshold"])
        assert evaluation["candidates"][folder.name]["f1"] == pytest.approx(expected, abs=1e-6)


def test_held_out_rows_do_not_influence_the_choice(case: UseCase, trained: Trained) -> None:
    evaluation = read_json(trained.evaluation / "evaluation.json")
    scores = {name: figures[case.choose_by] for name, figures in evaluation["validation"].items()}
    assert evaluation["chosen"] == max(scores, key=lambda name: scores[name])
    flipped = {"random_forest": METRICS | {"pr_auc": 0.1}, "hist_gradient_boosting": METRICS}
    assert choose_candidate(case, flipped) == "hist_gradient_boosting"
    assert choose_candidate(case, dict.fromkeys(flipped, METRICS)) == "random_forest"
    by_brier = case.model_copy(update={"choose_by": "brier"})
    assert (
        choose_candidate(by_brier, {"random_forest": METRICS, "hist_gradient_boosting": METRICS | {"brier": 0.01}})
        == "hist_gradient_boosting"
    )


def test_the_test_rows_are_scored_raw_and_whole(case: UseCase, trained: Trained) -> None:
    evaluation = read_json(trained.evaluation / "evaluation.json")
    test = pd.read_parquet(trained.split / TEST)
    assert (evaluation["rows"], evaluation["positive"]) == (len(test), int(test[case.target].sum()))
    assert set(evaluation["metrics"]) == set(case.metrics)


def comparison(gain: float, width: float = 0.01) -> dict[str, Any]:
    interval = [gain - width, gain + width]
    return {"version": 3, "challenger": 0.5 + gain, "champion": 0.5, "gain": gain, "interval": interval}


ZEROES = {"version": 3, "challenger": -0.00002, "champion": -0.00001, "gain": -0.00001, "interval": [-3e-5, 2e-5]}


def champion_of(folder: Path, number: int) -> Champion:
    return Champion(number, {path.name: path.read_bytes() for path in folder.iterdir()})


def evaluated(metrics: dict[str, float], champion: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    return {"metrics": METRICS | metrics, "champion": champion, "slices": {}, "train_metrics": None} | more


@pytest.mark.parametrize(
    ("update", "metrics", "champion", "decision", "reason"),
    [
        ({}, {}, None, "promote", "there is no champion yet"),
        (
            {},
            {},
            comparison(0.02),
            "promote",
            "f1 beats the champion's, version 3, by 0.02: 0.5200 against 0.5000, +0.02",
        ),
        ({}, {}, comparison(0.019), "reject", "does not beat"),
        ({}, {}, comparison(-0.1, 0.1), "reject", "-0.1000 (95 % -0.2000 to 0.0000)"),
        ({}, {}, ZEROES, "reject", "by 0.02: 0.0000 against 0.0000, 0.0000 (95 % 0.0000 to 0.0000)"),
        ({}, {}, comparison(0.0583, 0.0678), "reject", "the interval is not above zero"),
        ({}, {}, comparison(0.1, 0.1), "reject", "the interval is not above zero"),
        ({}, {}, comparison(0.1, float("nan")), "reject", "the interval is not above zero"),
        ({"promote": "never"}, {}, comparison(0.1), "hold", "but promote is 'never'"),
        ({"promote": "never"}, {}, None, "hold", "but promote is 'never'"),
        ({}, {}, {"version": 3, "error": "columns are missing: {'x'}"}, "hold", "version 3, cannot score these rows"),
        ({}, {"roc_auc": 0.7}, None, "reject", "roc_auc 0.7000 does not reach the floor 0.75"),
        ({}, {"roc_auc": 0.7}, comparison(0.3), "reject", "roc_auc 0.7000 does not reach the floor 0.75"),
        ({"floors": {"brier": 0.05}}, {}, None, "reject", "brier 0.1000 does not reach the floor 0.05"),
    ],
)
def test_the_decision(
    case: UseCase,
    update: dict[str, Any],
    metrics: dict[str, float],
    champion: dict[str, Any] | None,
    decision: str,
    reason: str,
) -> None:
    decided = decide(case.model_copy(update=update), evaluated(metrics, champion))
    assert decided[0] == decision and reason in decided[1]


def test_an_interval_that_is_only_reported_asks_for_the_margin_alone(case: UseCase) -> None:
    gate = case.gate.model_copy(update={"interval": "reported"})
    decided = decide(case.model_copy(update={"gate": gate}), evaluated({}, comparison(0.0583, 0.0678)))
    assert decided[0] == "promote" and "-0.0095 to +0.1261" in decided[1]


@pytest.mark.parametrize(
    ("gain", "width", "changes", "decision", "reason"),
    [
        (0.0, 0.004, {}, "promote", "f1 is not worse than the champion's, version 3, by 0.005"),
        (-0.003, 0.001, {}, "promote", "-0.0030 (95 % -0.0040 to -0.0020)"),
        (0.05, 0.02, {}, "promote", "is not worse than"),
        (-0.005, 0.0, {}, "reject", "f1 is worse than the champion's, version 3, by 0.005"),
        (-0.2, 0.01, {}, "reject", "is worse than"),
        (-0.003, 0.003, {}, "reject", "the interval is not above -0.005"),
        (0.01, float("nan"), {}, "reject", "the interval is not above -0.005"),
        (-0.003, 0.003, {"interval": "reported"}, "promote", "is not worse than"),
        (-0.3, 0.003, {"interval": "reported"}, "reject", "is worse than"),
    ],
)
def test_by_the_rule_not_worse_a_loss_below_the_margin_is_enough(
    case: UseCase, gain: float, width: float, changes: dict[str, Any], decision: str, reason: str
) -> None:
    gate = case.gate.model_copy(update={"rule": "not_worse", "margin": 0.005, **changes})
    decided = decide(case.model_copy(update={"gate": gate}), evaluated({}, comparison(gain, width)))
    assert decided[0] == decision and reason in decided[1]


def test_a_held_model_is_a_hold_whatever_it_scores(case: UseCase) -> None:
    held = "held as version 3 by ann on 2026-11-28: it is bad"
    for champion in (None, comparison(0.3), comparison(-0.3)):
        decision, reason = decide(case, evaluated({}, champion, held=held))
        assert decision == "hold" and held in reason and "--force" in reason


def test_a_margin_of_zero_still_requires_a_gain(case: UseCase) -> None:
    gate = case.gate.model_copy(update={"margin": 0.0})
    assert decide(case.model_copy(update={"gate": gate}), evaluated({}, comparison(0.0)))[0] == "reject"


def test_a_slice_below_its_floor_and_a_gap_above_its_limit_reject(case: UseCase) -> None:
    strict = case.model_copy(update={"slices": {"Gender": Slice(floors={"f1": 0.4})}, "max_gap": {"f1": 0.05}})
    slices = {"Gender": {"Male": {"rows": 90, "metrics": METRICS}, "Female": {"rows": 50, "metrics": {"f1": 0.3}}}}
    decided = decide(strict, evaluated({}, None, slices=slices, train_metrics=METRICS | {"f1": 0.7}))
    assert decided == (
        "reject",
        "Gender = Female: f1 0.3000 does not reach the floor 0.4; "
        "f1 is 0.2000 better on the training rows, more than max_gap 0.05",
    )
    even = {"Gender": {"Male": {"rows": 90, "metrics": METRICS}}}
    assert decide(strict, evaluated({}, None, slices=even, train_metrics=METRICS))[0] == "promote"


def test_the_champion_is_scored_on_the_same_rows_and_does_not_beat_itself(
    case: UseCase, trained: Trained, tmp_path: Path
) -> None:
    chosen = read_json(trained.evaluation / "evaluation.json")["chosen"]
    folder = next(model for model in trained.models if model.name == chosen)
    out = evaluate(case, trained.models, trained.split, champion_of(folder, 4), tmp_path / "out")
    evaluation = read_json(out / "evaluation.json")
    assert evaluation["decision"] == "reject" and "version 4" in evaluation["reason"]
    not_worse = case.model_copy(update={"gate": case.gate.model_copy(update={"rule": "not_worse"})})
    assert decide(not_worse, evaluation) == ("reject", "it is the same model as the champion's, version 4")
    assert evaluation["champion"]["metrics"] == evaluation["metrics"]
    assert (evaluation["champion"]["gain"], evaluation["champion"]["interval"]) == (0, [0, 0])
    card = (out / "card.html").read_text()
    assert card.count("data:image/svg+xml;base64,") == 6 and "champion, version 4" in card


def test_a_champion_of_other_columns_leads_to_hold(
    case: UseCase, trained: Trained, tmp_path: Path, frame: pd.DataFrame
) -> None:
    fewer = case.model_copy(update={"columns": tuple(c for c in case.columns if c.name != "Vintage")})
    dataset = tmp_path / "dataset.parquet"
    frame.drop(columns="Vintage").to_parquet(dataset)
    split = transform(fewer, dataset, tmp_path / "split")
    model = train(fewer, "hist_gradient_boosting", split, tmp_path / "train" / "hist_gradient_boosting")
    out = evaluate(fewer, [model], split, champion_of(trained.models[0], 1), tmp_path / "out")
    evaluation = read_json(out / "evaluation.json")
    assert evaluation["decision"] == "hold" and "Vintage" in evaluation["reason"]


def test_a_fold_without_a_positive_is_refused(case: UseCase, frame: pd.DataFrame, tmp_path: Path) -> None:
    rare = frame.copy()
    rare["Response"] = 0
    rare.loc[rare.index[:2], "Response"] = 1
    dataset = tmp_path / "dataset.parquet"
    for seed in range(20):
        rare.to_parquet(dataset)
        try:
            split = transform(case.model_copy(update={"split_seed": seed}), dataset, tmp_path / "split")
        except BadData:
            continue
        with pytest.raises(BadData, match=r"have one label only"):
            train(case, "hist_gradient_boosting", split, tmp_path / "model")
        return
    pytest.fail("no seed put a positive on each side")


def test_a_model_finds_the_signal_in_the_rows(case: UseCase, trained: Trained) -> None:
    model = Model.load(trained.models[1])
    damage = [model.signature.example | {"Vehicle_Damage": value, "Previously_Insured": 0} for value in ("Yes", "No")]
    yes, no = model.predict(model.signature.frame(damage)).probabilities
    assert yes > no + 0.05
    assert np.isfinite([yes, no]).all()


def test_floors_of_a_slice_without_enough_rows_reject(case: UseCase) -> None:
    strict = case.model_copy(update={"slices": {"Gender": Slice(floors={"f1": 0.4})}})
    decision, reason = decide(strict, evaluated({}, None, slices={"Gender": {}}))
    assert decision == "reject" and "no value of Gender has 30 held-out rows" in reason


PEOPLE = pd.DataFrame({
    "age": [61, 20, 44, 45, 46],
    "height": [np.nan, 1.5, 1.83, 1.7, 2.0],
    "town": ["Ulm", "Bonn", "Bonn", "Kiel", "Bonn"],
    "grade": [3, 1, 2, 2, 1],
    "zip": [5, 5, 5, 7, 7],
    "born": pd.to_datetime(["1999-12-31", "1970-01-01", "1980-02-02", "1975-05-05", "2001-01-01"]),
    "letter": ["my name is Ann", "I am Bob", "I am Bob", "I am Bob", "Cem"],
    "name": ["Ann", "Bob", "Cem", "Dan", "Eva"],
    "car": ["UL-A 1", "BN-B 22", "BN-C 3", "KI-D 44", "BN-E 5"],
    "flag": [False, True, True, False, True],
    "y": [0, 1, 0, 1, 0],
})
PERSONAL = [
    integer("age", minimum=0, maximum=120),
    real("height"),
    text("town", nullable=False),
    integer("grade", allowed=(1, 2, 3)),
    integer("zip"),
    date("born"),
    text("letter", nullable=False, shortest=40, longest=50),
    text("name", nullable=False, longest=6),
    text("car", nullable=False, pattern=r"^[A-Z]{2}-[A-Z] \d+$"),
    Column(name="flag", type="bool", nullable=False),
    integer("y", allowed=(0, 1)),
]


def example_of(columns: list[Column], private: list[str]) -> dict[str, Any]:
    frame = PEOPLE.astype({column.name: column.type for column in columns})
    made = small_case(columns, text=["letter"], categorical=["zip"], serving={"private": private})
    return example_row(made, frame)


def test_the_example_is_the_first_training_row_as_json() -> None:
    assert example_of(PERSONAL, []) == {
        "age": 61, "height": None, "town": "Ulm", "grade": 3, "zip": 5, "born": "1999-12-31T00:00:00",
        "letter": "my name is Ann", "name": "Ann", "car": "UL-A 1", "flag": False,
    }  # fmt: skip


def test_private_values_in_the_example_belong_to_nobody() -> None:
    names = [column.name for column in PERSONAL[:-1]]
    row = example_of(PERSONAL, names)
    assert list(row) == names
    assert {name: row[name] for name in names if name != "car"} == {
        "age": 45, "height": 1.7, "town": "Bonn", "grade": 1, "zip": 5, "born": "1980-02-02T00:00:00",
        "letter": "This is an example. This is an example..", "name": "This i", "flag": True,
    }  # fmt: skip
    assert row["car"] not in set(PEOPLE["car"])
    for column in PERSONAL[:-1]:
        column.check(row[column.name])
    assert row == example_of(PERSONAL, names)
    json.dumps(row, allow_nan=False)


def test_a_private_text_that_cannot_be_generated_is_null_or_stops_the_run() -> None:
    impossible = {"pattern": "a(?<!a)|Bob|Ann|Cem|Dan|Eva", "longest": 2}
    columns = [column for column in PERSONAL if column.name != "name"]
    assert example_of([*columns, text("name", **impossible)], ["name"])["name"] is None
    with pytest.raises(BadData, match=r"serving\.private: no text could be generated that 'name' accepts"):
        example_of([*columns, text("name", nullable=False, **impossible)], ["name"])


def test_a_signature_has_the_serving_policies(case: UseCase, trained: Trained) -> None:
    test = pd.read_parquet(trained.split / "train.parquet")
    for folder in trained.models:
        signature = Model.load(folder).signature
        assert (signature.warn_unseen, signature.private) == ((), case.serving.private)
        assert signature.warn_out_of_range == tuple(case.serving.out_of_range)
        assert signature.title_of("Age") == case.titles["Age"] and signature.title_of("Gender") == "Gender"
        assert json.loads((folder / "signature.json").read_text())["value_names"] == {
            name: [{"value": 0, "name": "No"}, {"value": 1, "name": "Yes"}] for name in case.values
        }
        assert signature.example["Age"] == test["Age"].quantile(0.5, interpolation="lower")
        assert signature.example["Vintage"] == test["Vintage"].iloc[0]
