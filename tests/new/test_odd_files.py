"""What `updraft new` reads out of files as people and programs write them: the setting, its reason, and every row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.support.churn_rows import ROWS, base
from updraft.new.new import NewUseCase, new
from updraft.new.null_markers import find_null_markers
from updraft.sources.files import File
from updraft.stages.check import check
from updraft.usecase import UseCase, load


def create(
    path: Path, content: str | pd.DataFrame, target: str = "churned", **options: Any
) -> tuple[NewUseCase, UseCase]:
    """Write a file and create a use case from it, which passes its checks; the file is read without a loss."""
    if isinstance(content, str):
        path.write_text(content, newline="")
    else:
        content.to_csv(path, index=False)
    created = new("churn", path, target, root=path.parent, **options)
    assert check("churn", path.parent) == []
    return created, load("churn", path.parent)


def rows_of(path: Path, case: UseCase) -> int:
    return sum(batch.table.num_rows for batch in File(path, case).batches())


def notes(created: NewUseCase) -> str:
    return "\n".join(created.draft.notes)


def sms(count: int = 240, delimiter: str = "\t", **odd: str) -> str:
    lines = [
        f"{'spam' if n % 3 == 0 else 'ham'}{delimiter}{odd.get(f'm{n}', f'hello you see you at {n} there')}"
        for n in range(count)
    ]
    return "\n".join([f"label{delimiter}message", *lines, ""])


def test_quotes_that_are_characters_are_read_as_such_and_the_reason_is_said(tmp_path: Path) -> None:
    created, case = create(tmp_path / "rows.tsv", sms(m200='"win now'), "label")
    assert case.read.quote == "none" and rows_of(tmp_path / "rows.tsv", case) == 240
    assert "read: quote: quotes are characters as others: open ones would lose 40 rows." in notes(created)
    assert "quote: none # quotes are" in created.usecase.read_text()


@pytest.mark.usefixtures("takes_long")
def test_a_quote_that_is_open_for_megabytes_is_read_as_a_character(tmp_path: Path) -> None:
    _, case = create(tmp_path / "rows.tsv", sms(400_000, m200='"win now'), "label")
    assert case.read.quote == "none"


def test_backslashes_before_quotes_are_escapes(tmp_path: Path) -> None:
    odd = {f"m{n}": f'"please do say \\"{n}\\", now then"' for n in range(0, 240, 5)}
    _, case = create(tmp_path / "rows.csv", sms(240, ",", **odd), "label")
    assert case.read.escape == "\\" and rows_of(tmp_path / "rows.csv", case) == 240


def test_quoted_fields_stay_quoted_where_one_quote_is_open(tmp_path: Path) -> None:
    text = sms(240, ",", **{f"m{n}": f'"hello, you there see {n} now"' for n in range(240) if n != 230}, m230='"hello')
    created, case = create(tmp_path / "rows.csv", text, "label")
    assert case.read.quote == '"' and "2 of 240 rows will be quarantined, because of open quote" in notes(created)


def test_excels_line_names_the_delimiter(tmp_path: Path) -> None:
    _, case = create(tmp_path / "rows.csv", "sep=;\r\n" + base().to_csv(index=False, sep=";", lineterminator="\r\n"))
    assert case.read.delimiter == ";" and rows_of(tmp_path / "rows.csv", case) == ROWS


def test_a_file_without_a_header_keeps_its_first_row(tmp_path: Path) -> None:
    text = base().to_csv(index=False, header=False)
    _, case = create(tmp_path / "rows.csv", text, "column_5", header="none")
    assert case.read.header == "none" and case.target == "column_5"
    assert rows_of(tmp_path / "rows.csv", case) == ROWS
    numbers = np.random.default_rng(0).integers(0, 9, (80, 3))
    wide = "1990,1991,churned\n" + "".join(f"{a}.5,{b}.5,{c % 2}\n" for a, b, c in numbers)
    _, case = create(tmp_path / "rows.csv", wide, header="first", force=True)
    assert [column.name for column in case.columns] == ["1990", "1991", "churned"]


@pytest.mark.parametrize("marker", ["NA", "N/A", "n/a", "NULL", "?", "-", "--", "NaN", "None", "#N/A", "keine Angabe"])
@pytest.mark.parametrize("every", [3, 12])
def test_the_one_text_among_numbers_means_null(marker: str, every: int) -> None:
    numbers = pd.Series([str(n % 90) if n % every else marker for n in range(ROWS)], dtype="str")
    frame = pd.DataFrame({"age": numbers, "plan": "a", "y": "0"})
    assert find_null_markers(frame, True, "y") == {marker: ["age"]}
    mixed = frame.assign(age=[int(text) if text != marker else text for text in numbers])
    assert find_null_markers(mixed, False, "y") == {marker: ["age"]}


@pytest.mark.parametrize(
    "values",
    [
        [str(n % 90) if n % 9 else "10+" for n in range(ROWS)],  # a number, too
        [str(n % 90) if n % 9 else ("low", "high")[n % 2] for n in range(ROWS)],  # two texts mean two things
        [str(n % 90) if n else "abc" for n in range(ROWS)],  # a word that occurs once is a slip
        [("1", "2", "A")[n % 3] for n in range(ROWS)],  # codes
        [("NA", "EU", "AS")[n % 3] for n in range(ROWS)],  # a word among words
    ],
)
def test_a_text_that_may_mean_something_else_is_no_null(values: list[str]) -> None:
    assert find_null_markers(pd.DataFrame({"age": values, "y": "0"}, dtype="str"), True, "y") == {}


def test_markers_are_written_with_their_reason_and_their_effect_on_other_columns(tmp_path: Path) -> None:
    """As in Kaggle's House Prices: NA in columns of numbers and of words."""
    random = np.random.default_rng(0)
    frame = base().assign(
        frontage=np.where(random.random(ROWS) < 0.3, "NA", random.integers(20, 90, ROWS).astype(str)),
        year=np.where(random.random(ROWS) < 0.05, "NA", random.integers(1900, 1999, ROWS).astype(str)),
        alley=np.where(random.random(ROWS) < 0.9, "NA", "Grvl"),
        sold=np.where(random.random(ROWS) < 0.1, "NA", "2024-01-31"),
        nan=np.where(random.random(ROWS) < 0.1, "NaN", "Gd"),
    )
    created, case = create(tmp_path / "rows.csv", frame)
    assert case.read.nulls == ("NA", "NaN") and case.quarantine_budget == 0.01
    types = {column.name: (column.type, column.nullable) for column in case.columns}
    assert types["frontage"] == types["year"] == ("float64", True) and types["alley"] == types["nan"] == ("str", True)
    assert "'NA' stands for a missing value in frontage, year" in notes(created)
    assert "and so it is null in alley" in notes(created)
    assert "nulls: [NA, NaN] # 'NA' stands for a missing value in frontage" in created.usecase.read_text()
    assert rows_of(tmp_path / "rows.csv", case) == ROWS


def test_a_label_is_no_marker(tmp_path: Path) -> None:
    frame = base().assign(churned=lambda f: f["churned"].replace("no", "NA"))
    frame["age"] = frame["age"].astype(str).where(frame.index % 20 > 0, "NA")
    created, case = create(tmp_path / "rows.csv", frame)
    assert not case.read.nulls and [label.value for label in case.labels if label.value == "NA"]
    assert "age: no number in 20 rows ('NA')" in notes(created)


@pytest.mark.parametrize("name", ["Unnamed: 0", "Unnamed: 0.1", "__index_level_0__"])
@pytest.mark.parametrize("step", [1, 7, 400])
def test_saved_row_numbers_are_left_out(tmp_path: Path, name: str, step: int) -> None:
    numbers = (np.arange(ROWS) * step) % (ROWS + 3) if step < 400 else np.arange(ROWS) % 100
    frame = base().drop(columns="customer_id").assign(**{name: numbers})
    created, case = create(tmp_path / "rows.csv", frame)
    (column,) = created.draft.of("ignored")
    assert column.why == "row numbers that pandas saved" and case.id is None and column.name in case.ignored
    assert f"{column.name}: row numbers that pandas saved with the file: left out." in notes(created)


def test_row_numbers_in_any_order_are_an_id(tmp_path: Path) -> None:
    shuffled = np.random.default_rng(0).permutation(ROWS)
    _, case = create(tmp_path / "rows.csv", base().drop(columns="customer_id").assign(line=shuffled))
    assert case.id == "line"


def test_parquets_row_numbers_are_left_out(tmp_path: Path) -> None:
    frame = base().drop(columns="customer_id").sample(frac=1, random_state=0)
    frame[frame["age"] > 20].to_parquet(tmp_path / "rows.parquet")
    new("churn", tmp_path / "rows.parquet", "churned", root=tmp_path)
    assert load("churn", tmp_path).ignored == ("index_level_0__",)


@pytest.mark.parametrize(
    ("texts", "type_", "first"),
    [
        (
            [f"2024-01-{1 + n % 28:02d} 10:00:00 UTC" for n in range(ROWS)],
            "datetime64[us]",
            pd.Timestamp(2024, 1, 1, 10),
        ),
        ([f"2024-01-{1 + n % 28:02d} 10:00 GMT" for n in range(ROWS)], "datetime64[us]", pd.Timestamp(2024, 1, 1, 10)),
        ([f"{1 + n % 28:02d}.01.2024 10:00 UTC" for n in range(ROWS)], "datetime64[us]", pd.Timestamp(2024, 1, 1, 10)),
        ([f"14'{100 + n}.08" for n in range(ROWS)], "float64", 14100.08),
        ([f"CHF 1\u2019{100 + n}" for n in range(ROWS)], "int64", 1100),
    ],
)
def test_dates_and_numbers_are_read_as_what_they_are(tmp_path: Path, texts: list[str], type_: str, first: Any) -> None:
    _, case = create(tmp_path / "rows.csv", base().assign(odd=texts))
    assert case.column("odd").type == type_
    (batch,) = File(tmp_path / "rows.csv", case).batches()
    assert batch.table["odd"][0].as_py() == first and batch.table.num_rows == ROWS


@pytest.mark.parametrize(
    "texts",
    [
        [f"2024-02-{1 + n % 28:02d}" if n % 3 else f"{1 + n % 28:02d}/02/2024" for n in range(ROWS)],
        [f"2024-01-01 10:{n // 60:02d}:{n % 60:02d} EST" for n in range(ROWS)],
        [f"{1 + n} {100 + n},5 0" for n in range(ROWS)],
    ],
)
def test_what_looks_like_numbers_or_dates_and_is_not_understood_is_said_and_no_id(
    tmp_path: Path, texts: list[str]
) -> None:
    created, case = create(tmp_path / "rows.csv", base().drop(columns="customer_id").assign(odd=texts))
    assert f"odd: values such as {texts[0]!r} look like numbers or dates and were not understood" in notes(created)
    assert case.column("odd").type == "str" and case.id is None


def test_ids_too_long_for_a_number_are_text(tmp_path: Path) -> None:
    frame = base().assign(
        customer_id=[f"{10**19 + n}" for n in range(ROWS)], parent=[f"{10**18 + n % 50}" for n in range(ROWS)]
    )
    frame.loc[3, "parent"] = None
    _, case = create(tmp_path / "rows.csv", frame)
    assert (case.column("customer_id").type, case.column("parent").type) == ("str", "str")
    assert case.id == "customer_id"


def test_whole_numbers_that_a_float_would_round_are_quarantined_from_csv_and_json(tmp_path: Path) -> None:
    frame = base().assign(amount=[n + 0.5 for n in range(ROWS)]).astype({"amount": object})
    frame.loc[5, "amount"] = 2**53 + 1
    created, case = create(tmp_path / "rows.csv", frame)
    assert case.column("amount").type == "float64" and "1 of 400 rows will be quarantined" in notes(created)
    lines = [json.dumps(row) for row in frame.to_dict("records")]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    assert "too large for a 64-bit float" in next(File(tmp_path / "rows.jsonl", case).batches()).rejects[0].reason
    created = new("churn", tmp_path / "rows.jsonl", "churned", root=tmp_path, force=True)
    assert "1 of 400 rows will be quarantined" in notes(created)


def test_a_renamed_column_gets_a_name_that_is_free(tmp_path: Path) -> None:
    frame = (
        base()
        .rename(columns={"age": "a.b", "spend": "a_b"})
        .assign(column_1=np.arange(ROWS) / 7, a_b_2=1.5 + np.arange(ROWS))
    )
    _, case = create(tmp_path / "rows.csv", frame)
    assert case.read.rename == {"a.b": "a_b_3"}
    (batch,) = File(tmp_path / "rows.csv", case).batches()
    for name in ("a_b", "column_1", "a_b_2"):
        assert batch.table[name].to_pylist() == pytest.approx(frame[name].tolist())
