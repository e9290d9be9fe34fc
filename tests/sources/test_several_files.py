"""A folder or a pattern is read as one source: by name, with one schema, each row with its file."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support.small_cases import integer, small_case, text
from updraft.addresses import from_environment
from updraft.sources import open_source
from updraft.sources.source import BadSource, Batch
from updraft.usecase import UseCase

COLUMNS = [integer("a"), text("t")]


def case_of(path: Path | str, **reading: Any) -> UseCase:
    return small_case(COLUMNS, source={"file": {"path": str(path)}}, read=reading)


def batches_of(path: Path | str, limit: int | None = None) -> list[Batch]:
    with open_source(case_of(path), from_environment({}), limit) as source:
        return list(source.batches())


def numbers(path: Path | str, limit: int | None = None) -> list[int]:
    return [number for batch in batches_of(path, limit) for number in batch.table["a"].to_pylist()]


def refusal(path: Path | str) -> str:
    with pytest.raises(BadSource) as refused:
        batches_of(path)
    return str(refused.value)


def write(path: Path, *rows: object, header: str = "a,t") -> Path:
    data = "\n".join([header, *map(str, rows)]).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def days(tmp_path: Path) -> Path:
    folder = tmp_path / "days [x]"  # is there as it is, and no pattern
    folder.mkdir()
    write(folder / "2026-10.csv", "10,ä")
    write(folder / "2026-02.csv.gz", "2,b", "x,b", "3,b")
    write(folder / "2026-01.tsv", "t\t1", header="t\ta")
    write(folder / ".2026-00.csv", "99,c")
    write(folder / "_SUCCESS")
    (folder / "2026-05.csv").touch()
    (folder / "more").mkdir()
    return folder


def test_a_folders_files_are_read_by_name_without_hidden_and_empty_ones(days: Path) -> None:
    assert numbers(days) == numbers(f"{days}/") == numbers(days.as_uri()) == [1, 2, 3, 10]
    with open_source(case_of(days), from_environment({})) as source:
        assert str(source) == f"files {str(days)!r}" and source.total is None
        batches = list(source.batches())
        files = source.provenance()["files"]
    assert [batch.file for batch in batches] == ["2026-01.tsv", "2026-02.csv.gz", "2026-10.csv"]
    (reject,) = [reject for batch in batches for reject in batch.rejects]
    assert reject.place == "2026-02.csv.gz, row 3" and reject.reason.startswith("a: 'x'")
    assert [file["sha256"] for file in files] == [
        hashlib.sha256((days / name).read_bytes()).hexdigest()
        for name in ("2026-01.tsv", "2026-02.csv.gz", "2026-10.csv")
    ]


def test_packed_files_without_a_byte_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("1.csv.gz", "3.csv.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b""))
    assert "all are empty" in refusal(tmp_path)
    write(tmp_path / "2.csv.gz", "2,b")
    write(tmp_path / "4.csv", "4,b")
    assert numbers(tmp_path) == [2, 4]
    assert "3.csv.gz' is empty" in caplog.text


def test_a_limit_ends_in_the_midst_of_the_files_and_names_those_that_were_read(days: Path) -> None:
    assert numbers(days, 3) == [1, 2]  # the third row does not fit
    with open_source(case_of(days), from_environment({}), 1) as source:
        list(source.batches())
        assert [Path(file["path"]).name for file in source.provenance()["files"]] == ["2026-01.tsv"]


def test_a_pattern_matches_names_and_those_of_folders(tmp_path: Path) -> None:
    for number, name in enumerate(["b/2026-2.csv", "b/2026-10.csv", "a/2026-1.csv", "a/2025-1.csv"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, f"{number},x")
    assert numbers(tmp_path / "b" / "2026-*.csv") == [1, 0]  # by name: 10 before 2
    assert numbers(tmp_path / "b" / "2026-?.csv") == [0]
    assert [batch.file for batch in batches_of(tmp_path / "*" / "2026-[12].csv")] == ["a/2026-1.csv", "b/2026-2.csv"]


def test_what_names_no_file_says_so(tmp_path: Path) -> None:
    write(tmp_path / ".hidden.csv", "1,a")
    assert refusal(tmp_path / "2026-*.csv") == f"files '{tmp_path}/2026-*.csv': no file matches"
    assert refusal(tmp_path) == f"files '{tmp_path}': no files in it, but hidden ones"
    assert refusal(tmp_path / "absent.csv") == f"file '{tmp_path}/absent.csv': no such file"
    (tmp_path / "one.csv").touch()
    (tmp_path / "two.csv").touch()
    assert refusal(tmp_path) == f"files '{tmp_path}': all 2 are empty"
    os.mkfifo(tmp_path / "pipe.csv")
    assert refusal(tmp_path / "pipe.csv") == f"file '{tmp_path}/pipe.csv': neither a file nor a folder"


def test_a_file_of_another_kind_in_a_folder_is_named(days: Path) -> None:
    (days / "notes.md").write_text("x")
    assert refusal(days).startswith(f"file '{days}/notes.md': expected a name that ends in .csv, ")


@pytest.mark.parametrize(
    ("second", "message"),
    [("t,b", "no column 'a', unlike '1.csv'"), ("t,a,b", "a column 'b', unlike '1.csv'"), ("t", "no column 'a'")],
)
def test_other_columns_than_the_first_file_has_are_refused(tmp_path: Path, second: str, message: str) -> None:
    write(tmp_path / "1.csv", "1,x")
    write(tmp_path / "2.csv", ",".join("1" * len(second.split(","))), header=second)
    assert refusal(tmp_path).startswith(f"file '{tmp_path}/2.csv': {message}")
    write(tmp_path / "2.csv", "x,2", header=" t ,a")
    assert numbers(tmp_path) == [1, 2]


def test_other_types_in_parquet_are_refused_but_for_nulls_and_fractions(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1], "t": ["x"]}).to_parquet(tmp_path / "1.parquet")
    pd.DataFrame({"a": [2.0], "t": [None]}).to_parquet(tmp_path / "2.parquet")
    assert numbers(tmp_path) == [1, 2]
    pd.DataFrame({"a": ["3"], "t": ["x"]}).to_parquet(tmp_path / "3.parquet")
    assert refusal(tmp_path) == f"file '{tmp_path}/3.parquet': column 'a' holds texts, not numbers, unlike '1.parquet'"


def test_json_lines_may_leave_out_what_may_be_null(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_text(json.dumps({"a": 1, "t": "x"}))
    (tmp_path / "2.jsonl").write_text(json.dumps({"a": 2, "more": 1}))
    rows = [row for batch in batches_of(tmp_path) for row in batch.table.to_pylist()]
    assert rows == [{"a": 1, "t": "x"}, {"a": 2, "t": None}]
    (tmp_path / "3.jsonl").write_text(json.dumps({"t": "x"}))
    assert "no column 'a'" in refusal(tmp_path)
    (tmp_path / "3.jsonl").unlink()
    (tmp_path / "0.jsonl").write_text(json.dumps({"a": 0}))
    assert "a column 't'" in refusal(tmp_path)


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", "1,x")
    with open_source(case_of(path), from_environment({})) as source:
        with pytest.raises(BadSource, match=r"rows\.csv': changed while it was read; start again"):
            for _ in source.batches():
                write(path, "2,x", "3,x")
    with open_source(case_of(path), from_environment({})) as source:
        list(source.batches())
        write(path, "4,x")
        with pytest.raises(BadSource, match="changed while it was read"):
            source.provenance()
