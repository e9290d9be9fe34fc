"""`updraft new`: what is guessed from a file's columns, what is written, and whether next month's rows pass."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.support.churn_rows import ROWS, base
from tests.support.small_cases import SHARED_DATA
from updraft.demo.rows import generate, write
from updraft.new.column_types import profile_column
from updraft.new.new import CannotCreate, NewUseCase, new
from updraft.sources.files import File
from updraft.sources.source import BadSource
from updraft.stages.check import check
from updraft.stages.evaluate import evaluate
from updraft.stages.ingest import ingest
from updraft.stages.stage_folder import read_json
from updraft.stages.train import train
from updraft.stages.transform import transform
from updraft.stages.validate import validate
from updraft.usecase import UseCase, load


def create(tmp_path: Path, frame: pd.DataFrame, target: str = "churned", **options: Any) -> tuple[NewUseCase, UseCase]:
    """Write a CSV, create a use case from it, and load it."""
    frame.to_csv(tmp_path / "rows.csv", index=False)
    created = new("churn", tmp_path / "rows.csv", target, root=tmp_path, **options)
    return created, load("churn", tmp_path)


def notes(created: NewUseCase) -> str:
    return "\n".join(created.draft.notes)


def suite(tmp_path: Path) -> list[tuple[str, dict[str, Any], str]]:
    entries = json.loads((tmp_path / "expectations/churn.json").read_text())["expectations"]
    return [(entry["type"].removeprefix("expect_"), entry["kwargs"], entry["severity"]) for entry in entries]


def run(case: UseCase, file: Path, out: Path) -> dict[str, Any]:
    """Run all stages; return the evaluation."""
    dataset = validate(case, ingest(case, File(file, case), out / "ingest"), out / "validate")
    split = transform(case, dataset, out / "transform")
    models = [train(case, candidate, split, out / "train" / candidate) for candidate in case.candidates]
    facts: dict[str, Any] = read_json(evaluate(case, models, split, None, out / "evaluate") / "evaluation.json")
    return facts


@pytest.mark.usefixtures("takes_long")
def test_a_new_use_case_passes_check_trains_and_accepts_next_months_rows(tmp_path: Path) -> None:
    created, case = create(tmp_path, base())
    assert check("churn", tmp_path) == []
    assert (case.task, case.target, case.id, case.positive) == (
        "binary",
        "churned",
        "customer_id",
        created.draft.spec.positive,
    )
    assert case.categorical == ("plan",) and [label.value for label in case.labels][-1] == case.positive
    assert run(case, tmp_path / "rows.csv", tmp_path / "run")["decision"] == "promote"

    base(600, seed=1).to_csv(tmp_path / "next.csv", index=False)
    validate(case, ingest(case, File(tmp_path / "next.csv", case), tmp_path / "next"), tmp_path / "validated")


def test_the_commented_out_block_loads_with_a_columns_name(tmp_path: Path) -> None:
    create(tmp_path, base())
    yaml = tmp_path / "include/usecases/churn.yaml"
    head, mark, tail = yaml.read_text().partition("# serving:")
    block, gap, rest = (mark + tail).partition("\n\n")
    lines = [line.removeprefix("# ") for line in block.splitlines()]
    lines = [line.replace("a_column", "age" if "range" in line else "plan") for line in lines]
    yaml.write_text(head + "\n".join(lines).replace("#   ", "  ") + gap + rest)
    assert check("churn", tmp_path) == []
    serving = load("churn", tmp_path).serving
    assert (serving.unseen, serving.out_of_range, serving.private) == ({"plan": "warn"}, {"age": "warn"}, ("plan",))


def test_the_yaml_says_how_the_gate_decides_and_where_every_key_is(tmp_path: Path) -> None:
    text = create(tmp_path, base())[0].usecase.read_text()
    (gate,) = [line for line in text.splitlines() if line.startswith("gate:")]
    assert "surely so; interval: reported asks for the margin alone" in gate
    assert "docs/usecase.md lists every key" in text


@pytest.mark.usefixtures("takes_long")
def test_the_demo_block_generates_rows_that_train(tmp_path: Path) -> None:
    _, case = create(tmp_path, base())
    write(case, generate(case, seed=1), tmp_path / "made_up.csv")
    facts = run(case, tmp_path / "made_up.csv", tmp_path / "run")
    assert facts["decision"] == "promote" and facts["metrics"]["roc_auc"] > 0.6


def test_the_suite_has_types_nulls_ranges_with_a_margin_and_closed_sets(tmp_path: Path) -> None:
    frame = base()
    frame.loc[::10, "spend"] = np.nan
    create(tmp_path, frame)
    entries = suite(tmp_path)
    by_column = {(kind, kwargs.get("column")): (kwargs, severity) for kind, kwargs, severity in entries}
    assert entries[0][1]["column_set"] == list(frame)
    assert by_column[("column_values_to_be_unique", "customer_id")][1] == "critical"
    assert by_column[("column_values_to_be_in_set", "plan")][0]["value_set"] == ["basic", "plus", "pro"]
    bounds = by_column[("column_values_to_be_between", "age")][0]
    assert 0 <= bounds["min_value"] < 18 and 100 < bounds["max_value"] <= 130
    nulls, severity = by_column[("column_values_to_not_be_null", "spend")]
    assert (severity, nulls["mostly"]) == ("warning", 0.8)


def test_a_text_with_rare_values_is_no_closed_set_and_an_outlier_makes_the_range_a_warning(tmp_path: Path) -> None:
    frame = base()
    frame.loc[0, "plan"] = "gold"
    frame["spend"] = frame["spend"].where(frame.index > 0, 1e6)
    created, _ = create(tmp_path, frame)
    sets = [kwargs["column"] for kind, kwargs, _ in suite(tmp_path) if kind == "column_values_to_be_in_set"]
    assert sets == ["churned"]
    ranges = [
        (kwargs, s) for kind, kwargs, s in suite(tmp_path) if "between" in kind and kwargs.get("column") == "spend"
    ]
    assert ranges[0] == ({"column": "spend", "min_value": 0, "mostly": 0.99}, "critical") and ranges[1][1] == "warning"
    assert "spend 1,000,000 (98 %" in notes(created)


@pytest.mark.parametrize(
    ("name", "values", "type_", "role"),
    [
        ("flag", lambda n: np.arange(n) % 2 == 0, "bool", "feature"),
        ("channel_code", lambda n: np.arange(n) % 15, "int64", "categorical"),
        ("grade", lambda n: np.arange(n) % 4, "int64", "categorical"),
        ("children_count", lambda n: np.arange(n) % 4, "int64", "feature"),
        ("zip", lambda n: [f"0{1000 + i % 40}" for i in range(n)], "str", "categorical"),
        ("day", lambda n: pd.date_range("2024-01-01", periods=n).astype(str), "datetime64[us]", "feature"),
        ("moment", lambda n: pd.date_range("2024-01-01", periods=n, freq="h").astype(str), "datetime64[us]", "feature"),
        ("note", lambda n: [f"customer {i} wrote a long letter about prices" for i in range(n)], "str", "text"),
        ("constant", lambda n: ["x"] * n, "str", "ignored"),
        ("serial", lambda n: [f"A-{i:05}" for i in range(n)], "str", "ignored"),
        ("y_pred", lambda n: np.arange(n) % 7 / 10, "float64", "ignored"),
        ("shop_id", lambda n: np.arange(n) // 3, "int64", "ignored"),
        ("whole", lambda n: [None if i % 9 == 0 else str(i * 3) for i in range(n)], "float64", "feature"),
    ],
)  # fmt: skip
def test_types_and_roles_are_guessed(tmp_path: Path, name: str, values: Any, type_: str, role: str) -> None:
    created, case = create(tmp_path, base().assign(**{name: values(ROWS)}))
    column = next(column for column in created.draft.columns if column.name == name)
    assert (column.type, column.role) == (type_, role)
    assert case.column(name).type == type_


def test_a_unique_text_is_the_id_where_there_is_no_other(tmp_path: Path) -> None:
    frame = base().drop(columns="customer_id").assign(reference=[f"/ad/{i}" for i in range(ROWS)])
    assert create(tmp_path, frame)[1].id == "reference"


@pytest.mark.parametrize(
    ("texts", "numbers", "whole"),
    [
        ([f"{1000 + 3 * i:,}" for i in range(ROWS)], [1000, 1003], True),
        ([f"£{1000 + 3 * i:,}" for i in range(ROWS)], [1000, 1003], True),
        ([f"{10 + i / 10:.1f} kmpl" for i in range(ROWS)], [10.0, 10.1], False),
        ([f" {i} %" for i in range(ROWS)], [0, 1], True),
        ([str(990 + i) if i < 10 else f"{990 + i:,}" for i in range(ROWS)], [990, 991], True),
    ],
)
def test_numbers_with_units_are_cast(tmp_path: Path, texts: list[str], numbers: list[float], whole: bool) -> None:
    _, case = create(tmp_path, base().assign(size=texts))
    assert case.read.casts["size"] == ("number_from_text",)
    assert case.column("size").type == ("int64" if whole else "float64")
    batch = next(iter(File(tmp_path / "rows.csv", case).batches()))
    assert batch.table["size"].to_pylist()[:2] == numbers and not batch.rejects


@pytest.mark.parametrize(
    "texts", [["1-2 Year", "< 1 Year", "> 2 Years"], ["190Nm@ 2000rpm", "74Nm@ 4000rpm"], ["Model 3", "Model 5"]]
)
def test_texts_that_hold_numbers_stay_text(tmp_path: Path, texts: list[str]) -> None:
    _, case = create(tmp_path, base().assign(size=[texts[i % len(texts)] for i in range(ROWS)]))
    assert case.column("size").type == "str" and not case.read.casts


def test_mixed_units_are_noted(tmp_path: Path) -> None:
    created, _ = create(tmp_path, base().assign(size=[f"{i} {'kg' if i % 4 else 'lb'}" for i in range(ROWS)]))
    assert "size: units differ, and `number_from_text` does not convert them: kg (300), lb (100)" in notes(created)


def test_dates_with_a_pattern_are_parsed_and_ambiguity_is_noted(tmp_path: Path) -> None:
    days = pd.date_range("2024-01-01", periods=ROWS)
    created, case = create(
        tmp_path,
        base().assign(day=days.strftime("%d.%m.%Y"), other=[f"0{1 + i % 9}/0{1 + i % 8}/2024" for i in range(ROWS)]),
    )
    assert case.read.dates == {"day": "%d.%m.%Y", "other": "%d/%m/%Y"}
    assert "other: dates match %d/%m/%Y and %m/%d/%Y; the first was chosen." in notes(created)
    batch = next(iter(File(tmp_path / "rows.csv", case).batches()))
    assert batch.table["day"].to_pylist()[:2] == [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02")]


def test_misfits_are_noted_and_raise_the_quarantine_budget(tmp_path: Path) -> None:
    frame = base()
    frame["age"] = frame["age"].astype(str).where(frame.index % 20 > 0, "90+")
    created, case = create(tmp_path, frame)
    assert "20 of 400 rows will be quarantined, because of age (20)." in notes(created)
    assert "age: no number in 20 rows ('90+'): they are quarantined." in notes(created)
    assert case.quarantine_budget == 0.08
    ingest(case, File(tmp_path / "rows.csv", case), tmp_path / "ingest")


def test_columns_without_a_name_or_a_value_are_left_out(tmp_path: Path) -> None:
    frame = base().assign(nothing=None)
    text = frame.to_csv(index=False).splitlines()
    (tmp_path / "rows.csv").write_text("\n".join([text[0] + ",,", *(line + ",," for line in text[1:])]))
    created = new("churn", tmp_path / "rows.csv", "churned", root=tmp_path)
    assert [column.name for column in load("churn", tmp_path).columns] == list(base())
    assert "2 columns without a name: left out." in notes(created) and "nothing: empty: left out." in notes(created)


@pytest.mark.parametrize(
    ("values", "options", "task"),
    [
        (lambda n: np.arange(n) % 2, {}, "binary"),
        (lambda n: np.arange(n) % 3, {}, "multiclass"),
        (lambda n: np.arange(n) % 3, {"task": "regression"}, "regression"),
        (lambda n: [("red", "green", "blue")[i % 3] for i in range(n)], {}, "multiclass"),
        (lambda n: np.arange(n) / 7, {}, "regression"),
        (lambda n: np.arange(n) % 50, {}, "regression"),
        (lambda n: [i % 4 == 0 for i in range(n)], {}, "binary"),
    ],
)
def test_the_task_is_guessed_from_the_target(tmp_path: Path, values: Any, options: dict[str, Any], task: str) -> None:
    frame = base().sample(frac=1, random_state=0).assign(churned=values(ROWS))
    _, case = create(tmp_path, frame, **options)
    assert case.task == task and check("churn", tmp_path) == []


@pytest.mark.usefixtures("takes_long")
def test_a_true_false_target_trains_and_the_rarer_one_is_positive(tmp_path: Path) -> None:
    frame = base()
    frame["churned"] = (frame["churned"] == "yes") & (frame["age"] > 40)
    created, case = create(tmp_path, frame)
    assert created.draft.spec.positive == int(frame["churned"].mean() < 0.5) and case.column("churned").type == "bool"
    assert run(case, tmp_path / "rows.csv", tmp_path / "run")["decision"] == "promote"


@pytest.mark.parametrize(
    ("column", "note", "role"),
    [
        (lambda f: f["churned"], "equals churned: left out.", "ignored"),
        (lambda f: f["churned"].map({"yes": "gone", "no": "here"}), "maps to churned one to one: left", "ignored"),
        (lambda f: f["churned"] + (f.index % 3).astype(str), "determines churned: each of its values", "ignored"),
        (lambda f: (f["churned"] == "yes") * 10 + base()["age"] / 100, "alone predicts churned", "feature"),
    ],
)  # fmt: skip
def test_columns_that_leak_the_target_are_noted(tmp_path: Path, column: Any, note: str, role: str) -> None:
    frame = base()
    created, _ = create(tmp_path, frame.assign(copy=column(frame)))
    assert f"copy: {note}" in notes(created)
    assert next(each for each in created.draft.columns if each.name == "copy").role == role


def test_a_target_that_is_a_sum_of_columns_is_noted(tmp_path: Path) -> None:
    frame = base()
    random = np.random.default_rng(1)
    frame = frame.assign(tip=random.random(ROWS) * 50, fee=random.random(ROWS) * 40)
    created, _ = create(tmp_path, frame.assign(total=frame["spend"] + frame["tip"] + frame["fee"]), "total")
    assert "total: is a sum of other columns, among them spend, tip, fee" in notes(created)


def test_imbalance_few_rows_and_duplicates_are_noted(tmp_path: Path) -> None:
    frame = base(150)
    frame["churned"] = np.where(frame.index < 5, "yes", "no")
    frame = pd.concat([frame, frame.head(30).assign(customer_id=range(30))])
    text = notes(create(tmp_path, frame)[0])
    assert "labels with fewer than 30 rows: 'yes' (10)" in text
    assert "180 rows are few" in text
    assert "16.7% of the rows repeat another one; `deduplicate: true` keeps one of each." in text


def test_delimiter_and_encoding_are_detected(tmp_path: Path) -> None:
    frame = base().assign(plan=lambda f: f["plan"].replace("pro", "prémium"))
    frame.to_csv(tmp_path / "rows.csv", sep=";", encoding="cp1252", index=False)
    created = new("churn", tmp_path / "rows.csv", "churned", root=tmp_path)
    case = load("churn", tmp_path)
    assert (case.read.encoding, case.read.delimiter) == ("cp1252", ";")
    assert "the file is not UTF-8; cp1252 is a guess" in notes(created)
    assert "prémium" in next(iter(File(tmp_path / "rows.csv", case).batches())).table["plan"].to_pylist()


@pytest.mark.parametrize("ending", [".csv.gz", ".tsv", ".parquet", ".jsonl"])
def test_other_formats_are_read(tmp_path: Path, ending: str) -> None:
    path, frame = tmp_path / f"rows{ending}", base().assign(day=pd.date_range("2024-01-01", periods=ROWS))
    if ending == ".parquet":
        frame.to_parquet(path)
    elif ending == ".jsonl":
        frame.assign(day=frame["day"].dt.strftime("%Y-%m-%d")).to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="\t" if ending == ".tsv" else ",")
    new("churn", path, "churned", root=tmp_path)
    case = load("churn", tmp_path)
    assert {column.name: column.type for column in case.columns} == {
        "customer_id": "int64", "plan": "str", "age": "int64", "spend": "float64", "churned": "str",
        "day": "datetime64[us]",
    }  # fmt: skip
    assert sum(batch.table.num_rows for batch in File(path, case).batches()) == ROWS


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([2**62 + 7 * i for i in range(ROWS)], "int64"),
        ([1.5 * i if i else float("inf") for i in range(ROWS)], "float64"),
        ([i % 3 == 0 if i % 7 else None for i in range(ROWS)], None),
        ([[i] for i in range(ROWS)], None),
        (pd.date_range("2024-01-01", periods=ROWS, tz="Europe/Berlin"), "datetime64[us]"),
        (pd.Categorical([("a", "b")[i % 2] for i in range(ROWS)]), "str"),
    ],
    ids=["large", "infinite", "true with nulls", "nested", "zoned", "categories"],
)
def test_parquet_types_are_mapped_or_left_out_with_a_note(tmp_path: Path, values: Any, type_: str | None) -> None:
    base().assign(other=values).to_parquet(tmp_path / "rows.parquet")
    created = new("churn", tmp_path / "rows.parquet", "churned", root=tmp_path)
    types = {column.name: column.type for column in load("churn", tmp_path).columns}
    assert types.get("other") == type_
    assert type_ or "other: mixed or nested values" in notes(created)


def test_names_that_mongodb_would_misread_are_renamed(tmp_path: Path) -> None:
    _, case = create(tmp_path, base().rename(columns={"age": "customer.age", "spend": " spend"}))
    assert case.read.rename == {"customer.age": "customer_age"}
    assert [column.name for column in case.columns][2:4] == ["customer_age", "spend"]


def test_values_that_yaml_would_misread_are_quoted(tmp_path: Path) -> None:
    frame = base().assign(plan=lambda f: f["plan"].map({"basic": "no", "plus": "on", "pro": "null"}))
    frame["churned"] = frame["churned"].map({"yes": "y", "no": "1e3"})
    _, case = create(tmp_path, frame.rename(columns={"age": "yes", "spend": "a: b # c"}))
    assert {label.value for label in case.labels} == {"y", "1e3"} and check("churn", tmp_path) == []


ODD = ["a, b", "[x]", "{y: 1}", "a: b", "# no", "it's", 'say "hi"', "two\nlines", "? x", "- z", "&a", "*a", "!t", "%"]
ODD += ["@", "null", "1e3", "é\u2028x\x85y", "\x07bell", " padded ", "~", "=", "<<", "|", "> q", "\U0001f600"]


@pytest.mark.usefixtures("takes_long")
def test_any_label_column_and_file_name_makes_a_use_case(tmp_path: Path) -> None:
    path = tmp_path / "rows\ntarget: hacked\r # {x: [1]} '\".csv"
    random = np.random.default_rng(0)
    columns = {f"{odd} {number}": random.random(1300) for number, odd in enumerate(ODD)}
    labels = [ODD[number % len(ODD)].strip() for number in range(1300)]
    codes = [f"{ODD[(number * 7) % len(ODD)]}!" for number in range(1300)]
    target, code = 'what, is: [it]? # "y"', "code {of}: 'x', #1"
    pd.DataFrame({**columns, code: codes, target: labels}).to_csv(path, index=False)
    created = new("churn", path, target, root=tmp_path)
    assert check("churn", tmp_path) == []
    case = load("churn", tmp_path)
    assert case.target == target and [label.value for label in case.labels] == sorted(set(labels))
    assert {column.name for column in case.columns} >= {code, "two\nlines 7", "{y: 1} 2"}
    assert case.title == f"Churn: what is {target}?"
    assert sum(batch.table.num_rows for batch in File(path, case).batches()) == 1300
    assert created.usecase.read_text().startswith("# Generated by `updraft new` from rows target: hacked")


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    created, _ = create(tmp_path, base())
    created.usecase.write_text("mine\n")
    before = created.suite.read_bytes()
    with pytest.raises(CannotCreate, match=r"churn\.yaml, expectations/churn\.json: already there; --force overwrites"):
        create(tmp_path, base(300))
    assert (created.usecase.read_text(), created.suite.read_bytes()) == ("mine\n", before)
    create(tmp_path, base(300), force=True)
    assert created.usecase.read_text() != "mine\n"
    assert sorted(path.name for path in created.usecase.parent.iterdir()) == ["churn.yaml"]


@pytest.mark.parametrize(
    ("name", "text", "target", "error", "message"),
    [
        ("Churn", "a,y\n1,2\n", "y", CannotCreate, "'Churn' is not a name of a use case: lower-case letters"),
        ("../churn", "a,y\n1,2\n", "y", CannotCreate, "is not a name of a use case"),
        ("churn", "a,why\n1,2\n", "y", CannotCreate, "no column 'y' with values; there are: a, why"),
        ("churn", "age,y\n1,2\n", "agee", CannotCreate, "no column 'agee' with values (did you mean 'age'?)"),
        ("churn", "a,y\n" + "1,2\n" * 99, "y", CannotCreate, "the target 'y' is always 2: there is nothing to learn"),
        ("churn", "a,y\n" + "".join(f"{i},w{i}\n" for i in range(99)), "y", CannotCreate, "too many for labels"),
        ("churn", "a,y\n" + "".join(f"{i % 7},2024-01-0{1 + i % 9}\n" for i in range(99)), "y", CannotCreate, "dates"),
        ("churn", "a,y\n" + "".join(f"x,{i % 2}\n" for i in range(99)), "y", CannotCreate, "no column is left"),
        ("churn", "a,y\n" + "".join(f"{i * i % 7},{i % 2}\n" for i in range(20)), "y", CannotCreate, "20 rows are too"),
        ("churn", "a,a,y\n1,2,3\n", "y", BadSource, "header names 'a' more than once"),
        ("churn", "a,y\n", "y", BadSource, "no rows"),
        ("churn", "a,y\n" + "1,2,3\n" * 9, "y", BadSource,
         "no rows: all 9 were refused: 3 fields where the header has 2 (9 rows, such as row 2)"),
        ("churn", "ham,hello there\nspam,buy now\n" * 40, "label", BadSource, "looks like data rather than a header"),
        ("churn", "5.1,3.5,setosa\n4.9,3.1,virginica\n" * 40, "species", BadSource, "with --header none"),
        ("churn", "", "y", BadSource, "the file is empty"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_learned_from_is_refused_and_nothing_written(
    tmp_path: Path, name: str, text: str, target: str, error: type[Exception], message: str
) -> None:
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(error) as refused:
        new(name, tmp_path / "rows.csv", target, root=tmp_path)
    assert message in str(refused.value) and "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize(
    ("file", "later", "target", "task", "identity", "message"),
    [
        ("vehicle_insurance/data.csv", None, "Response", "binary", "id", "positive is 1, 12.3%"),
        ("vehicle_price/uk_used_cars_all.csv.gz", None, "price", "regression", None, "year 2060"),
        ("vehicle_price/Car details v3.csv", None, "selling_price", "regression", None, "kmpl (366), km/kg (27)"),
        ("vehicle_price/CAR DETAILS FROM CAR DEKHO.csv", None, "selling_price", "regression", None, "1,491 categories"),
        ("vehicle_price/unclean_focus.csv", None, "price", "regression", None, "56 rows have no value and are left"),
        ("network_security/phisingData.csv", None, "Result", "binary", None, "positive is -1"),
        ("network_security/dirty_phishing_duplicated_ingest.csv.gz", None, "Result", "binary",
         None, "89.4% of the rows repeat"),
        ("california_housing/housing.csv", None, "median_house_value", "regression", None, "population 35,682"),
        ("california_housing/california_sklearn_format.csv", None, "MedHouseVal", "regression", None, "AveOccup"),
        ("sms_spam/spam.csv", None, "v1", "binary", None, "cp1252 is a guess"),
        ("sms_spam/dirty_spam_v1v2_mixed_bytes.csv", None, "v1", "binary", None, "454 lines contain U+FFFD"),
        ("text_sentiment/amazon.csv", None, "Positive", "binary", None, "23.8% of the rows"),
        ("text_sentiment/imdb_1000.csv", None, "sentiment", "binary", None, "48.3% of the rows"),
        ("drift/california_reference.csv", "drift/california_analysis.csv", "clf_target", "binary",
         "id", "y_pred_proba: by its name"),
        ("drift/yellow_tripdata_sample_2019-01.csv", None, "total_amount", "regression", None, "is a sum of other"),
    ],
)  # fmt: skip
def test_real_files_pass_the_use_case_made_from_them(
    tmp_path: Path, file: str, later: str | None, target: str, task: str, identity: str | None, message: str
) -> None:
    created = new("real", SHARED_DATA / file, target, root=tmp_path)
    case = load("real", tmp_path)
    assert (case.task, case.id) == (task, identity) and message in notes(created)
    assert check("real", tmp_path) == []
    validate(case, ingest(case, File(SHARED_DATA / (later or file), case), tmp_path / "ingest"), tmp_path / "validate")


def test_dates_with_an_offset_are_utc_wherever_the_machine_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        texts = pd.Series([f"2026-01-{day:02d}T03:00:00+02:00" for day in range(1, 29)], dtype="str")
        column = profile_column("when", texts, textual=True)
        assert column is not None and column.values.iloc[0] == pd.Timestamp("2026-01-01T01:00:00")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_decimal_commas_are_read_as_such_and_never_as_thousands(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    shares = [f"{value:.3f}".replace(".", ",") for value in random.normal(0, 0.5, ROWS)]
    money = [f"{value:,.2f}".translate(str.maketrans(",.", ".,")) for value in random.normal(12_000, 900, ROWS)]
    frame = pd.DataFrame({"share": shares, "money": money, "y": random.integers(0, 2, ROWS)})
    frame.to_csv(tmp_path / "rows.csv", sep=";", index=False)
    written = new("comma", tmp_path / "rows.csv", "y", root=tmp_path)
    case = load("comma", tmp_path)
    assert case.id is None and case.read.casts == {"share": ("decimal_comma",), "money": ("decimal_comma",)}
    (batch,) = File(tmp_path / "rows.csv", case).batches()
    assert batch.table["share"].to_pylist() == [float(text.replace(",", ".")) for text in shares]
    assert written.draft.quarantined_share == 0


def test_json_lines_may_leave_out_what_may_be_null(tmp_path: Path) -> None:
    rows = [{"x": n % 7 + 0.5, "y": n % 2} | ({"opt": n / 3} if n % 5 < 3 else {}) for n in range(ROWS)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    written = new("optional", tmp_path / "rows.jsonl", "y", root=tmp_path)
    assert written.draft.quarantined_share == 0
    (batch,) = File(tmp_path / "rows.jsonl", load("optional", tmp_path)).batches()
    assert batch.table["opt"].null_count == sum("opt" not in row for row in rows)


def test_a_file_that_would_lose_many_rows_is_refused_and_nothing_is_overwritten(tmp_path: Path) -> None:
    before, _ = create(tmp_path, base())
    texts = before.usecase.read_text(), before.suite.read_text()
    rows = pd.DataFrame({"a": range(ROWS), "b": range(ROWS), "y": [n % 2 for n in range(ROWS)]}).astype("object")
    rows.loc[rows.index % 6 == 0, "a"] = "9+"
    rows.loc[rows.index % 6 == 1, "b"] = "9+"
    rows.to_csv(tmp_path / "lossy.csv", index=False)
    with pytest.raises(CannotCreate, match=r"134 of 400 rows would be quarantined, because of a \(67\), b \(67\)"):
        new("churn", tmp_path / "lossy.csv", "y", root=tmp_path, force=True)
    assert (before.usecase.read_text(), before.suite.read_text()) == texts


@pytest.mark.parametrize(
    ("column", "values"),
    [("line\nend", range(ROWS)), ("huge", [1e300 * (n - 200) for n in range(ROWS)])],
    ids=["a line end in a name", "numbers beyond float32"],
)
def test_odd_columns_still_make_a_use_case_that_loads(tmp_path: Path, column: str, values: Any) -> None:
    frame = pd.DataFrame({column: [float(value) for value in values], "y": [n % 2 for n in range(ROWS)]})
    frame["z"] = np.random.default_rng(0).normal(size=ROWS)
    frame.to_parquet(tmp_path / "rows.parquet")
    new("odd", tmp_path / "rows.parquet", "y", root=tmp_path)
    assert load("odd", tmp_path).target == "y"
