"""Golden rows: what is stored of a model's answers, whose rows they are not, and when the service refuses a version."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.support.small_cases import date, integer, real, small_case, text
from tests.support.trained import Trained
from updraft.learning.golden_rows import make_rows, to_json_value
from updraft.model.columns import Column
from updraft.model.golden import GOLDEN, NotReproduced, replay, write
from updraft.model.model import Model
from updraft.model.signature import Label, Signature
from updraft.stages.evaluate import evaluate
from updraft.stages.stage_folder import TEST, TRAIN, read_frame
from updraft.stages.train import train
from updraft.stages.transform import transform
from updraft.usecase import UseCase

PEOPLE = 300
COLUMNS = [
    real("income", minimum=0, maximum=1e6),
    integer("age", minimum=0, maximum=120),
    text("town", allowed=("Kiel", "Bonn", "Ulm")),
    date("since"),
    Column(name="flag", type="bool", nullable=False),
]


def people(seed: int = 0, rows: int = PEOPLE) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "income": np.where(random.random(rows) < 0.1, np.nan, random.random(rows) * 1e5),
        "age": random.integers(18, 90, rows),
        "town": random.choice(["Kiel", "Bonn", "Ulm", None], rows),  # type: ignore[arg-type]
        "since": pd.Timestamp("2026-01-01") + pd.to_timedelta(random.integers(0, 10**9, rows), unit="s"),
        "flag": random.random(rows) < 0.5,
        "note": [f"person {n} likes tea and person {n} has {n}@mail.org" for n in range(rows)],
    })
    types = {column.name: column.type for column in COLUMNS} | {"note": "str"}
    return frame.astype(types)


def signature(columns: list[Column], **more: Any) -> Signature:
    facts: dict[str, Any] = {"use_case": "made", "title": "made", "task": "regression", "candidate": "one"}
    facts |= {"columns": columns, "id": None, "target": "y", "split": {}, "versions": {}}
    example = {column.name: to_json_value(people()[column.name].iloc[0]) for column in columns}
    return Signature(**facts | {"example": example} | more)


def rows_in(inputs: Signature, rows: list[dict[str, Any]], frame: pd.DataFrame) -> int:
    """Count the rows of a frame that are among the golden ones."""
    theirs = {tuple(map(to_json_value, row)) for row in frame[list(inputs.names)].itertuples(index=False)}
    return sum(tuple(row[name] for name in inputs.names) in theirs for row in rows)


def test_twenty_rows_are_drawn_that_are_nobodys_and_that_the_signature_takes() -> None:
    inputs, frame = signature(COLUMNS), people()
    rows = make_rows(inputs, frame, [frame, people(1)], seed=3)
    assert len(rows) == 20 and rows[0] == inputs.example
    assert rows_in(inputs, rows[1:], frame) == 0 and rows_in(inputs, rows, frame) == 1
    assert len({json.dumps(row) for row in rows}) == 20
    for name in inputs.names:
        there = set(map(to_json_value, frame[name]))
        assert {row[name] for row in rows} <= there and len({row[name] for row in rows}) > 1, name
    assert inputs.check(rows).warnings == []
    assert (
        rows
        == make_rows(inputs, frame, [frame, people(1)], seed=3)
        != make_rows(inputs, frame, [frame, people(1)], seed=4)
    )


def test_what_comes_out_as_somebodys_row_by_chance_is_left_out() -> None:
    """Of two columns of few values, most mixtures are rows of somebody."""
    columns = [COLUMNS[2], COLUMNS[4]]
    everybody = pd.DataFrame({"town": ["Kiel", "Kiel", "Bonn"] * 50, "flag": [True, False, True] * 50})
    everybody = everybody.astype({"town": "str"})
    inputs = signature(columns, example={"town": "Ulm", "flag": True})
    assert make_rows(inputs, everybody, [everybody], 1) == [inputs.example, {"town": "Bonn", "flag": False}]
    also = pd.DataFrame({"town": ["Bonn"], "flag": [False]}).astype({"town": "str"})
    assert make_rows(inputs, everybody, [everybody, also], 1) == [inputs.example]


def test_a_private_column_holds_the_value_of_the_example_and_does_not_make_a_row_new() -> None:
    inputs, frame = signature(COLUMNS, private=("income", "since")), people()
    rows = make_rows(inputs, frame, [frame], 1)
    assert {row["income"] for row in rows} == {inputs.example["income"]}
    assert {row["since"] for row in rows} == {inputs.example["since"]}
    open_names = [name for name in inputs.names if name not in inputs.private]
    theirs = {tuple(map(to_json_value, row)) for row in frame[open_names].itertuples(index=False)}
    assert not any(tuple(row[name] for name in open_names) in theirs for row in rows[1:])
    assert make_rows(signature(COLUMNS, private=tuple(inputs.names)), frame, [frame], 1) == [inputs.example]


def test_a_text_is_made_of_words_that_several_people_wrote() -> None:
    inputs, frame = signature([*COLUMNS, text("note")], text=("note",)), people()
    frame.loc[::5, "note"] = None
    rows = make_rows(inputs, frame, [frame], 1)
    notes = [row["note"] for row in rows[1:]]
    words = {word for note in notes if note is not None for word in note.split()}
    assert words == {"person", "likes", "tea", "and", "has"}
    assert None in notes and len(set(notes)) > 5
    assert {len(note.split()) for note in notes if note is not None} == {9}
    alone = frame.assign(note=[f"only{n}" for n in range(PEOPLE)]).astype({"note": "str"})
    assert {row["note"] for row in make_rows(inputs, alone, [alone], 1)} == {inputs.example["note"]}


def test_rows_that_the_signature_does_not_take_are_left_out() -> None:
    narrow = [column.model_copy(update={"maximum": 30.0}) if column.name == "age" else column for column in COLUMNS]
    inputs, frame = signature(narrow), people()
    rows = make_rows(inputs, frame, [frame], 1)
    assert len(rows) > 3 and max(row["age"] for row in rows) <= 30
    none = signature([column.model_copy(update={"maximum": 1.0}) for column in narrow[1:2]])
    assert make_rows(none, frame, [frame], 1) == []
    assert make_rows(signature(COLUMNS), frame.head(0), [frame], 1) == [signature(COLUMNS).example]


class Sum:
    """A model whose every bit is known beforehand."""

    def __init__(self, by: float = 1.0, classes: int = 0) -> None:
        self.by, self.classes_ = by, list(range(classes))

    def predict(self, frame: pd.DataFrame) -> Any:
        return frame["income"].fillna(0.1).to_numpy() * self.by / 3

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        return np.stack([self.predict(frame) / 1e6 * (n + 1) for n in range(len(self.classes_))], axis=1)


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Model, list[dict[str, Any]], Path]:
    """Give a model, its golden rows, and the folder that they were written to."""
    model, frame = Model(signature(COLUMNS), Sum()), people()
    rows = make_rows(model.signature, frame, [frame], 1)
    write(model, rows, tmp_path)
    return model, rows, tmp_path


def test_scores_are_stored_to_the_last_bit(stored: tuple[Model, list[dict[str, Any]], Path]) -> None:
    model, rows, folder = stored
    golden = json.loads((folder / GOLDEN).read_bytes())
    assert golden["rows"] == rows
    expected = model.scores(model.signature.frame(rows))
    assert np.array(golden["scores"]).tobytes() == expected.tobytes()
    first = (folder / GOLDEN).read_bytes()
    write(model, rows, folder)
    assert (folder / GOLDEN).read_bytes() == first


@pytest.mark.parametrize(("by", "passes"), [(1.0, True), (1 + 1e-7, True), (1 + 1e-5, False), (math.nan, False)])
def test_another_answer_than_in_evaluation_is_refused_beyond_the_last_bits(
    stored: tuple[Model, list[dict[str, Any]], Path], by: float, passes: bool
) -> None:
    model, _, folder = stored
    other = Model(model.signature, Sum(by))
    if passes:
        replay(other, (folder / GOLDEN).read_bytes())
        return
    golden = json.loads((folder / GOLDEN).read_bytes())
    with pytest.raises(NotReproduced, match=r"^golden row 0: expected ") as refusal:
        replay(other, (folder / GOLDEN).read_bytes())
    assert str(refusal.value).startswith(f"golden row 0: expected {golden['scores'][0]!r}, found ")


def test_one_label_of_one_row_that_differs_is_named(tmp_path: Path) -> None:
    labels = tuple(Label(value=n, name=f"label {n}") for n in range(3))
    inputs = signature(COLUMNS, task="multiclass", labels=labels)
    model, frame = Model(inputs, Sum(classes=3)), people()
    write(model, make_rows(inputs, frame, [frame], 1), tmp_path)
    replay(model, (tmp_path / GOLDEN).read_bytes())
    stored = json.loads((tmp_path / GOLDEN).read_bytes())
    stored["scores"][7][2] += 0.01
    (tmp_path / GOLDEN).write_text(json.dumps(stored))
    with pytest.raises(NotReproduced, match=r"^golden row 7, label 'label 2': expected 0\.\d+, found 0\.\d+$"):
        replay(model, (tmp_path / GOLDEN).read_bytes())


def test_golden_rows_that_do_not_go_with_the_model_are_refused(
    stored: tuple[Model, list[dict[str, Any]], Path],
) -> None:
    model, rows, folder = stored
    stored_ones = json.loads((folder / GOLDEN).read_bytes())
    (folder / GOLDEN).write_text(json.dumps(stored_ones | {"scores": stored_ones["scores"][:-1]}))
    with pytest.raises(NotReproduced, match=r"expected scores of shape \(19,\), found \(20,\)"):
        replay(model, (folder / GOLDEN).read_bytes())
    del rows[4]["age"]
    (folder / GOLDEN).write_text(json.dumps(stored_ones | {"rows": rows}))
    with pytest.raises(NotReproduced, match=r"the signature rejects golden row /rows/4/age"):
        replay(model, (folder / GOLDEN).read_bytes())


def test_a_version_without_golden_rows_passes(stored: tuple[Model, list[dict[str, Any]], Path]) -> None:
    model, _, folder = stored
    write(model, [], folder)
    replay(Model(model.signature, Sum(5)), (folder / GOLDEN).read_bytes())


def test_evaluation_leaves_golden_rows_that_the_chosen_model_reproduces_and_another_does_not(
    case: UseCase, trained: Trained, tmp_path: Path
) -> None:
    golden = json.loads((trained.evaluation / GOLDEN).read_bytes())
    assert len(golden["rows"]) == len(golden["scores"]) == 20
    chosen = json.loads((trained.evaluation / "evaluation.json").read_text())["chosen"]
    for folder in trained.models:
        model = Model.load(folder)
        if folder.name == chosen:
            replay(model, (trained.evaluation / GOLDEN).read_bytes())
            assert {row["Age"] for row in golden["rows"]} == {model.signature.example["Age"]}
            for side in (TRAIN, TEST):
                assert rows_in(model.signature, golden["rows"], read_frame(case, trained.split / side)) == 0
        else:
            with pytest.raises(NotReproduced, match="golden row 0"):
                replay(model, (trained.evaluation / GOLDEN).read_bytes())
    again = evaluate(case, trained.models, trained.split, None, tmp_path / "again")
    assert (again / GOLDEN).read_bytes() == (trained.evaluation / GOLDEN).read_bytes()


@pytest.mark.usefixtures("takes_long")
@pytest.mark.parametrize("estimator", ["Ridge", "HistGradientBoostingRegressor"])
def test_a_linear_and_a_boosted_model_reproduce_their_golden_rows_after_a_reload(
    estimator: str, tmp_path: Path
) -> None:
    columns = [*COLUMNS, real("y", nullable=False)]
    made = small_case(columns, task="regression", candidates={"one": {"estimator": estimator}}, folds=2)
    frame = people(rows=1000).drop(columns="note")
    frame["y"] = frame["age"] * 3.0 + frame["flag"] * 10
    frame.to_parquet(tmp_path / "dataset.parquet")
    split = transform(made, tmp_path / "dataset.parquet", tmp_path / "split")
    model = train(made, "one", split, tmp_path / "one")
    out = evaluate(made, [model], split, None, tmp_path / "out")
    assert len(json.loads((out / GOLDEN).read_bytes())["rows"]) == 20
    replay(Model.load(model), (out / GOLDEN).read_bytes())
