"""Synthetic rows: they pass the suite, have a signal to learn, and follow the YAML's `demo` block."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pytest

from tests.support.small_cases import date, integer, real, small_case, text
from updraft.datasets.manifest import DATASET
from updraft.defaults import ROOT
from updraft.demo.rows import generate, write
from updraft.errors import UserError
from updraft.model.columns import Column
from updraft.regex_texts import matching_texts
from updraft.sources.files import File
from updraft.stages.evaluate import EVALUATION, evaluate
from updraft.stages.ingest import ingest
from updraft.stages.stage_folder import read_frame, read_json
from updraft.stages.train import train
from updraft.stages.transform import transform
from updraft.stages.validate import REPORT, ValidationFailed, validate
from updraft.usecase import BadUseCase, UseCase, load, paths
from updraft.usecase.blocks import Reading
from updraft.usecase.demo_block import Demo
from updraft.usecase.demo_rules import cross_field_errors

SHIPPED = [path.stem for path in paths()]
SPEEDY = {"hist_gradient_boosting", "decision_tree", "naive_bayes"}  # one candidate of each shipped use case, or more


def demo(**block: Any) -> Demo:
    return Demo.model_validate(block)


def with_demo(case: UseCase, **block: Any) -> UseCase:
    return case.model_copy(update={"demo": demo(**block)})


def dataset(case: UseCase, frame: pd.DataFrame, folder: Path) -> Path:
    """Write rows as the use case's file, and take them in as it reads them."""
    return ingest(case, File(write(case, frame, folder / "rows.csv"), case), folder / "ingest")


def learned(case: UseCase, frame: pd.DataFrame, folder: Path) -> dict[str, float]:
    """Train one candidate on the rows; give its figures on held-out ones."""
    split = transform(case, dataset(case, frame, folder), folder / "split")
    name = next((name for name in case.candidates if name in SPEEDY), next(iter(case.candidates)))
    evaluation = evaluate(case, [train(case, name, split, folder / "model")], split, None, folder / "evaluation")
    figures: dict[str, float] = read_json(evaluation / EVALUATION)["metrics"]
    return figures


@pytest.mark.usefixtures("takes_long")
@pytest.mark.parametrize("name", SHIPPED)
def test_the_rows_of_each_shipped_use_case_pass_its_suite_without_a_warning(name: str, tmp_path: Path) -> None:
    case = load(name)
    frame = generate(case, 4000, case.seed)
    rows = validate(case, dataset(case, frame, tmp_path), tmp_path / "validate")
    assert read_json(tmp_path / "validate" / REPORT)["failed"] == []
    pd.testing.assert_frame_equal(read_frame(case, rows), frame)  # nothing is lost on the way through the file


@pytest.mark.usefixtures("takes_long")
@pytest.mark.parametrize("name", SHIPPED)
def test_without_a_demo_block_rows_pass_the_suite_and_there_is_something_to_learn(name: str, tmp_path: Path) -> None:
    case = with_demo(load(name))
    frame = generate(case, 1500, seed=1)
    figures = learned(case, frame, tmp_path)
    validate(case, tmp_path / "ingest" / DATASET, tmp_path / "validate")
    assert figures["r2"] > 0.4 if case.task == "regression" else figures["roc_auc"] > 0.75


@pytest.mark.parametrize("name", SHIPPED)
def test_the_same_seed_gives_the_same_rows_and_another_seed_others(name: str) -> None:
    case = load(name)
    pd.testing.assert_frame_equal(generate(case, 300, seed=5), generate(case, 300, seed=5))
    assert not generate(case, 300, seed=5).equals(generate(case, 300, seed=6))


EVERYTHING = [
    integer("id", minimum=100),
    text("code", nullable=False, pattern=r"^[A-Z]{2}-\d{3}$"),
    text("name", shortest=4, longest=9),
    date("day", earliest="2025-03-01", latest="2025-09-30"),
    date("any_day"),
    real("share", minimum=0.001, maximum=0.002),
    real("below", maximum=-5),
    integer("above", minimum=1000),
    Column(name="flag", type="bool", nullable=False),
    text("size", allowed=("S", "M", "L")),
    text("said", nullable=False),
    integer("y", allowed=(0, 1)),
]


@pytest.fixture
def everything(tmp_path: Path) -> UseCase:
    return small_case(EVERYTHING, folder=tmp_path, id="id", text=["said"])


@pytest.mark.usefixtures("takes_long")
def test_every_type_and_bound_of_a_suite_is_kept(everything: UseCase, tmp_path: Path) -> None:
    frame = generate(everything, 2000)
    validate(everything, dataset(everything, frame, tmp_path), tmp_path / "validate")
    assert frame["id"].is_unique and frame["id"].min() == 100
    assert frame["code"].map(lambda code: bool(re.fullmatch(r"[A-Z]{2}-\d{3}", code))).all()
    assert frame["name"].str.len().between(4, 9).all()
    assert frame["day"].between("2025-03-01", "2025-09-30").all() and frame["day"].nunique() > 1000
    assert frame["share"].between(0.001, 0.002).all() and frame["share"].nunique() > 5
    assert set(frame["flag"]) == {True, False} and set(frame["size"]) == {"S", "M", "L"}
    assert set(frame["y"]) == {0, 1}


def test_what_must_be_unique_is_and_survives_repeated_rows(tmp_path: Path) -> None:
    columns = [text("key", nullable=False, pattern=r"^[a-z]{6}$"), real("x", maximum=1e9), integer("y")]
    case = small_case(columns, folder=tmp_path)
    suite = json.loads(case.suite.read_text())
    suite["expectations"].append({"type": "expect_column_values_to_be_unique", "kwargs": {"column": "key"}})
    case.suite.write_text(json.dumps(suite))
    frame = generate(with_demo(case, duplicates=0.3), 1000)
    assert frame["key"].is_unique
    assert frame.duplicated(["x", "y"]).mean() == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^\+?\d{2,3}[ -]\d+$",
        r"(?:alpha|beta)_[^a-y_]",
        r"^(\w)x\1$",
        r"^(?!A)[A-C]{2}$",
        r"^[à-ü]\W\S*$",
        r"[\u4e00-\u9fff]",
        "é?.",
    ],
)
def test_texts_are_made_up_for_a_pattern(pattern: str) -> None:
    texts = matching_texts(pattern, 5, Random(1))
    assert texts == matching_texts(pattern, 5, Random(1))
    assert all(re.search(pattern, made) and made.isprintable() for made in texts)


def test_a_pattern_that_nothing_holds_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=re.escape("no text could be generated for the pattern 'a(?<!a)'")):
        matching_texts("a(?<!a)", 3, Random(0))


def test_nulls_weights_and_triangles_come_at_the_stated_rates(everything: UseCase) -> None:
    columns = {"size": {"S": 0.7, "L": 0.3}, "below": {"low": -30, "mode": -10, "high": -6}, "y": {0: 0.9, 1: 0.1}}
    columns["day"] = {"low": "2025-04-01", "mode": "2025-04-02", "high": "2025-04-30"}
    frame = generate(with_demo(everything, columns=columns, nulls={"name": 0.2, "day": 0.1}), 5000)
    assert frame["size"].value_counts(normalize=True).to_dict() == pytest.approx({"S": 0.7, "L": 0.3}, abs=0.03)
    assert frame["below"].between(-30, -6).all() and frame["below"].mean() == pytest.approx(-15.3, abs=0.5)
    assert frame["day"].dropna().between("2025-04-01", "2025-04-30").all()
    assert frame["y"].mean() == pytest.approx(0.1, abs=0.02)
    assert frame["name"].isna().mean() == pytest.approx(0.2, abs=0.03)
    assert frame["day"].isna().mean() == pytest.approx(0.1, abs=0.03)


def test_a_column_may_hang_on_another(everything: UseCase) -> None:
    given = {"given": "size", "values": {"S": {"red": 1}, "M": {"blue": 0.5, "green": 0.5}}}
    frame = generate(with_demo(everything, columns={"name": given}), 500)
    found = {size: set(rows["name"]) for size, rows in frame.groupby("size")}
    assert found["S"] == {"red"} and found["M"] == {"blue", "green"}
    assert not found["L"] & {"red", "blue", "green"}


def test_one_more_column_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    few = small_case([real("a"), real("b"), integer("y")], folder=tmp_path)
    more = small_case([real("a"), text("new"), real("b"), integer("y")], folder=tmp_path / "more")
    pd.testing.assert_frame_equal(generate(few, 50)[["a", "b"]], generate(more, 50)[["a", "b"]])


@pytest.mark.parametrize("noise", [0.1, 3.0])
def test_the_target_follows_the_signal_as_far_as_noise_lets_it(everything: UseCase, noise: float) -> None:
    block = {"signal": {"above": 1.0, "size": {"L": 50}}, "noise": noise, "columns": {"size": {"S": 0.5, "L": 0.5}}}
    frame = generate(with_demo(everything, **block), 3000)
    score = frame["above"] + 50 * (frame["size"] == "L")
    linked = score.corr(frame["y"].astype(float), method="spearman")
    assert linked > 0.8 if noise < 1 else 0.1 < linked < 0.5


LABELS = [{"value": value, "name": f"{value} news"} for value in ("bad", "fair", "good")]


@pytest.mark.usefixtures("takes_long")
def test_text_of_three_labels_can_be_told_apart(tmp_path: Path) -> None:
    case = small_case(
        [text("said", nullable=False), text("y", nullable=False, allowed=("bad", "fair", "good"))],
        folder=tmp_path, task="multiclass", labels=LABELS, text=["said"],
    )  # fmt: skip
    words = {"speak": {"bad news": ["down"], "good news": ["up", "high"]}, "filler": ["the", "a"]}
    (tmp_path / "plain").mkdir()
    assert learned(case, generate(case, 600), tmp_path / "plain")["f1_macro"] > 0.8
    told = generate(with_demo(case, columns={"said": words}, noise=0), 600)
    assert learned(case, told, tmp_path)["f1_macro"] > 0.8
    assert not told.loc[told["y"] == "bad", "said"].str.contains("up|high").any()


def test_the_last_label_is_the_highest(tmp_path: Path) -> None:
    allowed = ("bad", "fair", "good")
    case = small_case(
        [real("x"), text("y", nullable=False, allowed=allowed)], folder=tmp_path, task="multiclass", labels=LABELS
    )
    frame = generate(with_demo(case, signal={"x": 1.0}, noise=0, columns={"y": {"bad": 0.2, "fair": 0.5, "good": 0.3}}))
    low, middle, high = (frame.loc[frame["y"] == label, "x"] for label in allowed)
    assert low.max() <= middle.min() and middle.max() <= high.min()
    assert len(high) / len(frame) == pytest.approx(0.3, abs=0.02)


def test_texts_speak_for_the_halves_of_a_number(tmp_path: Path) -> None:
    case = small_case(
        [text("said", nullable=False), real("y", nullable=False, minimum=1, maximum=9)],
        folder=tmp_path, task="regression", text=["said"],
    )  # fmt: skip
    frame = generate(with_demo(case, noise=0.1), 800)
    assert frame["y"].between(1, 9).all()
    assert learned(case, frame, tmp_path)["r2"] > 0.5


@pytest.mark.parametrize(
    "read",
    [
        {"quote": "none", "delimiter": "|"},
        {"escape": "\\", "quote": "'"},
        {"header": "none", "rename": {"column_2": "day", "column_3": "size"}},
    ],
)
def test_synthetic_rows_keep_to_the_files_quotes_and_header(
    everything: UseCase, tmp_path: Path, read: dict[str, Any]
) -> None:
    kept = [column for column in everything.columns if "rename" not in read or column.name in ("day", "size")]
    case = everything.model_copy(update={"read": Reading.model_validate(read), "columns": tuple(kept)})
    frame = generate(everything, 50)[[column.name for column in kept]]
    (batch,) = File(write(case, frame, tmp_path / "rows.csv"), case).batches()
    pd.testing.assert_frame_equal(batch.table.to_pandas(), frame, check_dtype=False)


def test_rows_are_written_as_the_use_case_reads_them(everything: UseCase, tmp_path: Path) -> None:
    read = {"encoding": "utf-16", "delimiter": ";", "rename": {"v1": "size"}, "dates": {"day": "%d.%m.%Y"}}
    case = everything.model_copy(update={"read": type(everything.read).model_validate(read)})
    frame = generate(
        with_demo(case, columns={"day": {"low": "2025-04-01", "mode": "2025-04-01", "high": "2025-04-01"}}), 50
    )
    path = write(case, frame, tmp_path / "rows.csv")
    assert path.read_text(encoding="utf-16").splitlines()[0].split(";")[9] == "v1"
    assert ";01.04.2025;" in path.read_text(encoding="utf-16")
    rows = ingest(case, File(path, case), tmp_path / "ingest")
    pd.testing.assert_frame_equal(read_frame(case, rows), frame)


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ({"columns": {"size": {"XL": 1}}}, "demo.columns.size: 'XL' is not one of 'S', 'M', 'L'"),
        ({"columns": {"above": {"low": 1, "mode": 2000, "high": 3000}}}, "demo.columns.above: 1 is not between 1000"),
        ({"columns": {"day": {"low": "2024-01-01", "mode": "2025-04-01", "high": "2025-05-01"}}}, "demo.columns.day: "),
        ({"columns": {"size": {"given": "flag", "values": {"maybe": {"S": 1}}}}}, "demo.columns.size.values: 'maybe'"),
        ({"columns": {"size": {"given": "flag", "values": {True: {"XL": 1}}}}}, "demo.columns.size.values.True: 'XL'"),
        (
            {"columns": {n: {"given": "name", "values": {"a": {"S": 1}}} for n in ("size", "name")}},
            "demo.columns.size.given: 'name' itself depends on another column",
        ),
        (
            {"columns": {"said": {"speak": {"maybe": ["x"]}, "filler": ["y"]}}},
            "no label 'maybe'; there are: no",
        ),
        ({"signal": {"size": {"XL": 1}}}, "demo.signal.size: 'XL'"),
        ({"signal": {"name": 2}}, "demo.signal.name: text has no units"),
        ({"nulls": {"code": 0.1}}, "demo.nulls.code: the suite allows no nulls there"),
    ],
)
def test_a_demo_that_the_suite_does_not_take_is_a_fault(
    everything: UseCase, block: dict[str, Any], complaint: str
) -> None:
    faults = list(cross_field_errors(with_demo(everything, **block)))
    assert any(message.startswith(complaint) or complaint in message for _, message in faults), faults
    assert all(place[0] == "demo" for place, _ in faults)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("    Gender: {Male: 0.54", "    Gender: {Mael: 0.54", "demo.columns.Gender: 'Mael' is not one of"),
        ("  signal:", "  nulls: {Agee: 0.1}\n  signal:", "no column 'Agee' in the suite (did you mean 'Age'?)"),
        ("{low: 20, mode: 24, high: 80}", "{low: 90, mode: 24, high: 80}", "expected low <= mode <= high"),
        ("{low: 20, mode: 24, high: 80}", "{low: 20, mode: 24, hihg: 80}", "(did you mean 'high'?)"),
        ("  noise: 0.6", "  noise: -1", "demo.noise"),
    ],
)
def test_a_fault_in_the_block_is_told_with_its_line(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    for folder in ("expectations", "include/usecases"):
        (tmp_path / folder).mkdir(parents=True)
    suite = Path("expectations") / "vehicle_insurance.json"
    (tmp_path / suite).write_text((ROOT / suite).read_text())
    yaml = Path("include") / "usecases" / "vehicle_insurance.yaml"
    told = (ROOT / yaml).read_text()
    assert old in told
    (tmp_path / yaml).write_text(told.replace(old, new))
    with pytest.raises(BadUseCase) as caught:
        load("vehicle_insurance", tmp_path)
    lines = [line for line in str(caught.value).splitlines() if complaint in line]
    assert len(lines) == 1 and re.match(rf"{re.escape(str(yaml))}:\d+: ", lines[0]), str(caught.value)


def test_the_suite_of_made_up_rows_is_not_blind(tmp_path: Path) -> None:
    case = load("vehicle_price")
    frame = generate(case, 500)
    frame.loc[0, "transmission"] = "Levers"
    with pytest.raises(ValidationFailed, match=r"transmission.*Levers"):
        validate(case, dataset(case, frame, tmp_path), tmp_path / "validate")
