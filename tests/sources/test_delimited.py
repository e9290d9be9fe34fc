"""Delimited text: no row is lost behind a quote, and what is no text of rows is called what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_cases import integer, real, small_case, text
from updraft.errors import BadData
from updraft.sources.decoded import BLOCK
from updraft.sources.files import File
from updraft.sources.source import BadSource, Reject
from updraft.stages.ingest import ingest

SMS = [text("label", nullable=False), text("message")]
ITEMS = [integer("id"), text("title"), real("price")]


def read(
    path: Path, data: str | bytes, columns: Any = SMS, **reading: Any
) -> tuple[list[dict[str, Any]], list[Reject]]:
    """Write and read a file; return its rows, and those that are quarantined."""
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    batches = list(File(path, small_case(columns, read=reading)).batches())
    return (
        [row for batch in batches for row in batch.table.to_pylist()],
        [reject for batch in batches for reject in batch.rejects],
    )


def messages(count: int, delimiter: str = "\t", **odd: str) -> str:
    """Write `count` messages with a header, some of them (m7=…) odd."""
    lines = [f"{'spam' if n % 3 == 0 else 'ham'}{delimiter}{odd.get(f'm{n}', f'see you at {n}')}" for n in range(count)]
    return "\n".join([f"label{delimiter}message", *lines]) + "\n"


def items(count: int, delimiter: str = ",", **odd: str) -> str:
    lines = [odd.get(f"i{n}", f"{n},title {n},{n}.5") for n in range(count)]
    return "\n".join(["id,title,price", *lines, ""]).replace(",", delimiter)


HEADERLESS = [integer("id"), text("label", allowed=("ham", "spam")), text("message")]


@pytest.mark.parametrize("first", ["17,see you,soon", "a,ham,see you", "2026-01-31,b,c", '"1.234,50",b,c'])
def test_a_file_without_a_header_says_how_to_read_it(tmp_path: Path, first: str) -> None:
    with pytest.raises(BadSource, match=r"looks like a row of data: `read: \{header: none\}`"):
        read(tmp_path / "rows.csv", f"{first}\n", HEADERLESS)
    names = {"column_1": "id", "column_2": "label", "column_3": "message"}
    (row,), _ = read(tmp_path / "rows.csv", "17,ham,see you\n", HEADERLESS, header="none", rename=names)
    assert row == {"id": 17, "label": "ham", "message": "see you"}


@pytest.mark.parametrize("first", ["number,kind,sms", "v1,v2,Unnamed: 2", "année,größe,x²"])
def test_a_header_of_other_names_is_no_row_of_data(tmp_path: Path, first: str) -> None:
    with pytest.raises(BadSource, match="no column of the suite in it") as refusal:
        read(tmp_path / "rows.csv", f"{first}\n1,2,3\n", HEADERLESS)
    assert "header: none" not in str(refusal.value)


MYSQL = r"""id	label	message
1	ham	\N
2	\N	see \N you
3	N	N
4	spam	\\N
\N	spam	tab\	\N
6	ham	line\
\N
7	ham	\N"""


def test_an_escaped_n_of_mysql_is_null_as_a_whole_field_only(tmp_path: Path) -> None:
    """What `SELECT … INTO OUTFILE` writes: a null is \\N, a backslash is doubled, a tab or line end escaped."""
    columns = [integer("id"), text("label"), text("message")]
    rows, rejects = read(tmp_path / "rows.tsv", MYSQL, columns, escape="\\", nulls=["\\N"], quote="none")
    assert not rejects
    assert [tuple(row.values()) for row in rows] == [
        (1, "ham", None),
        (2, None, "see N you"),
        (3, "N", "N"),
        (4, "spam", None),  # the text \N, which `nulls` names
        (None, "spam", "tab\tN"),
        (6, "ham", "line\nN"),
        (7, "ham", None),
    ]


def test_an_escaped_n_is_found_where_parts_of_a_file_end(tmp_path: Path) -> None:
    lines = [f"{n},\\N,{'x' * (n % 1000)}" for n in range(9000)]
    columns = [integer("id"), text("label"), text("message", nullable=False)]
    rows, rejects = read(
        tmp_path / "rows.csv", "\r\n".join(["id,label,message", *lines]), columns, escape="\\", nulls=["\\N"]
    )
    assert len(rows) == 9000 and not rejects and not any(row["label"] for row in rows)


EVERY_EIGHTH = {f"m{n}": '"win now' if n % 8 == 7 else 'win" soon' for n in range(7, 207) if n % 8 in (7, 0)}
QUOTED = {f"i{n}": f'{n},"title, {n}","1.5"' for n in range(300)}
LETTERS = {f"m{n}": f'"dear {n}\nbye"' for n in range(100)}


@pytest.mark.parametrize(
    ("data", "columns", "first", "lost"),
    [
        (messages(240, m200='"win now'), SMS, 202, 40),
        (messages(240, m239='"win now').rstrip("\n"), SMS, 241, 1),
        (items(100, i90='90,"title,1.5'), ITEMS, 92, 10),
        (items(100, i90='"90,title,1.5'), ITEMS, 92, 10),
        (messages(240, m9='"win now', m10='win" soon'), SMS, 11, 2),
        (messages(240, **EVERY_EIGHTH), SMS, 9, 50),
        (messages(2000, m9='"win now', m28='win" soon'), SMS, 11, 20),
        (items(300, i9='9,"title,1.5', i11='11,tit"le,1.5'), ITEMS, 11, 3),
        (items(300, i9='9,"title,1.5', i11='11,title,"1.5"'), ITEMS, 11, 3),
        (messages(240, m200='"win now', m202='win" soon').replace("\n", "\r\n"), SMS, 202, 3),
        (messages(240, m200='"win now', m202='win" soon').replace("\n", "\r"), SMS, 202, 3),
        (messages(240, **LETTERS, m200='"win now'), SMS, 202, 40),
        (messages(240, **{f"m{n}": f'"see, {n}"' for n in range(240)} | {"m230": '"see, 230'}), SMS, 232, 2),
        (items(300, **QUOTED | {"i230": '230,"title,1.5'}), ITEMS, 232, 2),
    ],
    ids=["to the end", "in the last row", "middle column", "first column", "two lines", "two lines in many rows",
         "twenty lines", "three lines", "closed in another column", "CR LF", "CR", "beside texts of several lines",
         "among quoted texts", "among quoted fields"],
)  # fmt: skip
def test_no_row_is_lost_behind_an_open_quote(tmp_path: Path, data: str, columns: Any, first: int, lost: int) -> None:
    path = tmp_path / ("rows.tsv" if columns is SMS else "rows.csv")
    rows, rejects = read(path, data, columns)
    assert len(rejects) == lost and rejects[0].place == f"row {first}"
    assert all("read: {quote: none}" in reject.reason for reject in rejects)
    if "dear" not in data and "see, " not in data and "title, " not in data:
        as_they_are, left = read(path, data, [text(column.name) for column in columns], quote="none")
        assert len(as_they_are) == len(rows) + lost and not left


@pytest.mark.parametrize(
    "texts",
    [
        {f"m{n}": f'"a review of {n}\nthat goes on, and on\nas they do, in fact"' for n in range(0, 500, 3)},
        {f"m{n}": f'"{n} High Street\nSpringfield, IL"' for n in range(500)},
        {"m7": '"one letter\nwith a line, and more"'},
        {"m7": '"one letter\nof many lines\n\nwith, commas, here\nand there, too"', "m8": '"ham, or\nnot"'},
        {f"m{n}": '"she said ""yes"", or\nso"' for n in range(0, 500, 9)},
    ],
)
def test_texts_of_several_lines_are_read(tmp_path: Path, texts: dict[str, str]) -> None:
    rows, rejects = read(tmp_path / "rows.csv", messages(500, ",", **texts))
    assert len(rows) == 500 and not rejects
    expected = next(iter(texts.values()))[1:-1].replace('""', '"')
    assert rows[int(next(iter(texts))[1:])]["message"] == expected


def test_an_open_quote_counts_against_the_budget_by_all_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text(messages(240, m200='"win now'))
    with pytest.raises(BadData, match=r"16\.67% of 240 rows.*open quote.*row 202: .*quote: none"):
        ingest(small_case(SMS, "label"), File(path, small_case(SMS)), tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert [line["place"] for line in lines[:2]] == ["row 202", "row 202, line 2 of 40"] and len(lines) == 40


def test_an_open_quote_before_megabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text(messages(10_000, m9000='"win') + "ham\tand so on and on and on\n" * (3 * BLOCK // 27))
    with pytest.raises(BadSource, match=r"a value after row \d+ goes on for more than 4 MB.*quote: none") as refusal:
        list(File(path, small_case(SMS)).batches())
    assert "\n" not in str(refusal.value)


def test_quotes_and_escapes_are_read_as_the_yaml_says(tmp_path: Path) -> None:
    data = 'label,message\nham,"say \\"win\\", now"\nspam,"a \\\\ b"\nham,plain\n'
    rows, rejects = read(tmp_path / "rows.csv", data)
    assert len(rows) == 2 and 'read: {escape: "\\\\"}' in rejects[0].reason
    rows, rejects = read(tmp_path / "rows.csv", data, escape="\\")
    assert [row["message"] for row in rows] == ['say "win", now', "a \\ b", "plain"] and not rejects
    single, _ = read(tmp_path / "rows.csv", "label,message\nham,'a, \"b\"'\n", quote="'")
    assert single == [{"label": "ham", "message": 'a, "b"'}]


def test_a_file_without_a_header_has_numbered_columns_and_its_first_row(tmp_path: Path) -> None:
    names = {"rename": {"column_1": "label", "column_2": "message"}}
    rows, rejects = read(tmp_path / "rows.csv", "\ufeffham,a\nspam\nham,c\n", header="none", **names)
    assert [row["message"] for row in rows] == ["a", "c"]
    assert [reject.place for reject in rejects] == ["row 2"]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_line_by_which_excel_names_the_delimiter_is_understood(tmp_path: Path, mark: str) -> None:
    rows, rejects = read(tmp_path / "rows.csv", f"{mark}sep=;\r\nlabel;message\r\nham;a,b\r\nham\r\nspam;c\r\n")
    assert [row["message"] for row in rows] == ["a,b", "c"]
    assert [reject.place for reject in rejects] == ["row 4"]  # as an editor counts the lines


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("rows.csv", "label,message\nham,a\n".encode("utf-16-le"), "line 1 holds NUL bytes.*UTF-16"),
        ("rows.csv", "label,message\nham,a\n".encode("utf-16-be"), "line 1 holds NUL bytes.*UTF-16"),
        ("rows.jsonl", '{"label": "ham"}\n'.encode("utf-16-le"), "line 1 holds NUL bytes.*UTF-16"),
        ("rows.csv", b"label,message\nham,a\0b\n", "line 2 holds NUL bytes"),
        ("rows.csv", b"\n<!DOCTYPE html>\n<html><body>Please log in, first</body></html>\n", "is an HTML page"),
        ("rows.tsv", b'<html lang="en">\n<head>', "is an HTML page"),
        ("rows.csv", b'<?xml version="1.0"?>\n<rows/>', "is an XML document"),
        ("rows.csv", b"PK\x03\x04\x14\x00\x06\x00", "is a ZIP archive or an Excel workbook"),
        ("rows.csv", b"PAR1\x15\x04\x15", "is a Parquet file"),
        ("rows.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "is a pointer of Git LFS"),
    ],
)
def test_what_is_no_text_of_rows_is_called_what_it_is(
    tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    with pytest.raises(BadSource, match=complaint) as refusal:
        read(tmp_path / name, content)
    assert str(tmp_path / name) in str(refusal.value) and "\n" not in str(refusal.value)
