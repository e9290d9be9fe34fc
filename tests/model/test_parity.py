"""The service and Great Expectations hold rows to the same suite: made-up rows, cell by cell."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from tests.support.small_cases import date, expectations, integer, real, text
from updraft.model.columns import Column
from updraft.model.reading import Reading
from updraft.model.signature import BadRow, Signature
from updraft.model.suite import read_columns
from updraft.regex_texts import matching_texts
from updraft.sources.rows import RowConverter
from updraft.stages.suite import load_suite
from updraft.usecase import paths

ROWS = 1500
ROWWISE = {  # what speaks of each row by itself; that an id is unique is said of all rows together
    "expect_column_values_to_not_be_null",
    "expect_column_values_to_be_in_set",
    "expect_column_values_to_be_between",
    "expect_column_values_to_match_regex",
    "expect_column_value_lengths_to_be_between",
}
TYPE = "expect_column_values_to_be_of_type"
Cells = set[tuple[int, str]]
Cell = tuple[Any, Any]  # a value as JSON has it, and as a frame has it

MADE_UP = [
    integer("count", minimum=0, maximum=10),
    integer("code", allowed=(1, 2, 30)),
    integer("whole", allowed=(1.0, 2.0)),
    integer("big", minimum=1 - 2.0**53, maximum=2.0**53 - 1),
    real("share", minimum=0, maximum=1),
    real("level", allowed=(0.1, 0.30000000000000004, 5)),
    real("grade", nullable=False, allowed=(-1, 0, 1)),
    real("least", minimum=-273.15),
    real("most", maximum=1e15),
    real("free"),
    Column(name="flag", type="bool", nullable=False, allowed=(True,)),
    Column(name="binary", type="bool", nullable=False, allowed=(0, 1)),
    Column(name="either", type="bool", nullable=False),
    text("colour", nullable=False, allowed=("red", "grün", "Straße", "")),
    text("maybe", allowed=("nan", "None", "0")),
    text("note", shortest=2, longest=6),
    text("long", nullable=False, shortest=1, longest=300),
    text("tag", pattern=r"^[A-Z]{2}-\d+$"),
    text("anywhere", nullable=False, pattern=r"b\b"),
    text("trimmed", pattern=r"^\S(?:.*\S)?$", longest=8),
    date("day", earliest=datetime(2026, 1, 1), latest=datetime(2026, 12, 31)),
    date("since", nullable=False, earliest=datetime(1969, 12, 31, 23, 59, 59, 999999)),
    date("until", latest=datetime(2262, 4, 11, 23, 47, 16)),
    date("ever"),
]


def bound(kind: str, column: str, severity: str = "critical", **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_column_{kind}", "kwargs": {"column": column, **kwargs}, "severity": severity}


MORE = [  # of several all hold; what is no more than a warning, or asked of most rows, binds no row
    bound("values_to_be_between", "count", min_value=2),
    bound("values_to_be_in_set", "code", value_set=[2, 30, 400]),
    bound("values_to_be_between", "code", max_value=29),
    bound("values_to_be_between", "free", "warning", min_value=0, max_value=1),
    bound("values_to_not_be_null", "free", mostly=0.5),
    bound("values_to_be_in_set", "note", "info", value_set=["ab"]),
]


def write_suite(folder: Path, entries: list[dict[str, Any]]) -> Path:
    path = folder / "suite.json"
    path.write_text(json.dumps({"name": "made_up", "expectations": entries}, default=str))
    return path


@pytest.fixture
def made_up(tmp_path: Path) -> Path:
    """Give a suite that has every kind of expectation that bounds a column."""
    return write_suite(tmp_path, expectations(MADE_UP) + MORE)


def told_by_great_expectations(suite: Path, frame: pd.DataFrame) -> Cells:
    """Name the cells that fail a critical expectation that every row must meet."""
    return {
        (row, config["kwargs"]["column"])
        for config, result in great_expectations(suite, frame)
        if config["type"] in ROWWISE and binds(config)
        for row in result["unexpected_index_list"] or ()
    }


def great_expectations(suite: Path, frame: pd.DataFrame) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("rows").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    for each in batch.validate(load_suite(suite), result_format="COMPLETE").results:
        raised = [info for info in (each.exception_info or {}).values() if isinstance(info, dict)]
        assert not any(info["raised_exception"] for info in raised), raised
        config = each.expectation_config.to_json_dict()
        assert each.success or config["type"] != TYPE, config
        yield config, each.result


def binds(config: dict[str, Any]) -> bool:
    return config["severity"] == "critical" and config["kwargs"].get("mostly", 1) == 1


def told_by_the_service(signature: Signature, rows: list[dict[str, Any]]) -> Cells:
    """Name the cells that the signature refuses, each row by itself as the service may get it."""
    found: Cells = set()
    for index, row in enumerate(rows):
        try:
            signature.check([row])
        except BadRow as error:
            found |= {(index, fault["pointer"].removeprefix("/rows/0/")) for fault in error.errors}
    return found


def signature_of(suite: Path) -> Signature:
    """Make a signature that takes every column of a suite, the id and the target too."""
    return Signature(
        use_case="made",
        title="made",
        task="regression",
        candidate="one",
        columns=tuple(read_columns(suite)),
        id=None,
        target="-",
        split={},
        versions={},
        example={},
    )


def rows_of(columns: tuple[Column, ...], seed: int) -> list[dict[str, Cell]]:
    """Make rows that mostly fit; in each, one column in eight at least is given a value that a bound may be about."""
    random = Random(seed)
    plain = {column.name: plain_values(column, random) for column in columns}
    odd = {column.name: odd_values(column, random) for column in columns}
    rows = []
    for number in range(ROWS):
        row = {name: random.choice(values) for name, values in plain.items()}
        spoilt = random.sample(columns, random.randint(1, 1 + len(columns) // 8)) if number % 3 else []
        rows.append(row | {column.name: random.choice(odd[column.name]) for column in spoilt})
    return rows


def plain_values(column: Column, random: Random) -> list[Cell]:
    """Give values in the middle of what a column allows."""
    if column.allowed is not None:
        return both([typed(column, value) for value in column.allowed])
    if column.type == "bool":
        return both([True, False])
    if column.type == "str":
        texts = matching_texts(column.pattern, 20, random) if column.pattern else ["some", "Text", "ein Ö"]
        return both([each.ljust(column.shortest or 0, ".")[: column.longest] for each in texts])
    if column.type == "datetime64[us]":
        start = column.earliest or (column.latest or datetime(2026, 1, 1)) - timedelta(days=90)
        return [cell for day in range(9) for cell in moments(start + timedelta(days=day, seconds=day), random)]
    low = column.minimum if column.minimum is not None else min(0.0, (column.maximum or 0.0) - 9)
    high = column.maximum if column.maximum is not None else low + 9
    return both([typed(column, low + (high - low) * share / 8) for share in range(9)])


def odd_values(column: Column, random: Random) -> list[Cell]:
    """Give values at the bounds, one beyond, and those that are often read wrongly; all are of the column's type."""
    found = list(dict.fromkeys(ODD[column.type](column)))
    cells = (
        [cell for each in found for cell in moments(each, random)] if column.type.startswith("date") else both(found)
    )
    may_be_null = column.type in ("float64", "str", "datetime64[us]")
    return cells + [(None, None)] * (1 + len(cells) // 8) * may_be_null


def odd_integers(column: Column) -> Iterator[int]:
    yield from (0, 1, -1, 2**31, -(2**31) - 1, 2**53, -(2**53), 10**15, 2**63 - 1, -(2**63))
    for end in (column.minimum, column.maximum, *(column.allowed or ())):
        if end is not None:
            yield from (int(end) - 1, int(end), int(end) + 1)


def odd_numbers(column: Column) -> Iterator[float]:
    yield from (0.0, -0.5, 5e-324, 1e15, -1e15, 1e38, 0.1 + 0.2, 0.3, 1e-9)
    for end in (column.minimum, column.maximum, *(column.allowed or ())):
        if end is not None:
            value = float(end)
            yield from (math.nextafter(value, -math.inf), value, math.nextafter(value, math.inf), value + 1)


def odd_texts(column: Column) -> Iterator[str]:
    yield from ("", " ", "nan", "None", "null", "0", "\x00", "\u00a0", "\u200b", "é", "e\u0301", "٣", "a\nb", "x" * 400)
    yield from ("AB-٣", "AB-1\n", "ab-1", "AB-1", "a b", "b", "xb\u0301", "b_", "\nb", " b ", "grun", "gru\u0308n")
    for value in column.allowed or ():
        known = str(value)
        yield from (known, known.upper(), known.lower(), known.casefold(), f" {known}", f"{known}\n", known[:-1])
    for length in (column.shortest, column.longest):
        if length is not None:
            yield from (sign * more for sign in ("x", "é", "😀") for more in (length - 1, length, length + 1))


def odd_dates(column: Column) -> Iterator[datetime]:
    yield from (datetime(1, 1, 2), datetime(1677, 1, 1), datetime(1969, 12, 31, 23, 59, 59), datetime(2300, 1, 1))
    yield from (datetime(2026, 2, 28, 23, 59, 59, 999999), datetime(9999, 12, 31, 20))
    for end in (column.earliest, column.latest):
        if end is not None:
            step = timedelta(microseconds=1)
            yield from (end - step, end, end + step, end + timedelta(hours=2), end - timedelta(hours=2))


ODD: dict[str, Callable[[Column], Iterator[Any]]] = {
    "int64": odd_integers,
    "float64": odd_numbers,
    "str": odd_texts,
    "bool": lambda _: iter((True, False)),
    "datetime64[us]": odd_dates,
}


def moments(moment: datetime, random: Random) -> list[Cell]:
    """Write a moment in UTC as JSON may have it."""
    away = timezone(timedelta(hours=random.choice((-2, 2))))
    told = (moment, moment.replace(tzinfo=UTC), moment.replace(tzinfo=UTC).astimezone(away))
    return [(each.isoformat(random.choice("T ")), moment) for each in told]


def typed(column: Column, value: Any) -> Any:
    made: dict[str, Callable[[Any], Any]] = {"int64": int, "float64": float, "bool": bool}
    return made.get(column.type, str)(value)


def both(values: list[Any]) -> list[Cell]:
    return [(value, value) for value in values]


def compare(suite: Path, seed: int) -> tuple[Cells, Cells, int]:
    signature = signature_of(suite)
    rows = rows_of(signature.columns, seed)
    frame = pd.DataFrame([{name: there for name, (_, there) in row.items()} for row in rows], dtype=object)
    for column in signature.columns:
        if column.type == "str":  # as ingestion stores it
            values = RowConverter([column], Reading()).convert_column(
                column, pa.chunked_array([frame[column.name].tolist()], pa.string())
            )
            frame[column.name] = values.to_pylist()
    frame = frame.astype({column.name: column.type for column in signature.columns})
    ours = told_by_the_service(signature, [{name: sent for name, (sent, _) in row.items()} for row in rows])
    return ours, told_by_great_expectations(suite, frame), len(rows)


def assert_alike(ours: Cells, theirs: Cells, rows: int) -> None:
    assert ours - theirs == set(), "the service alone refuses these"
    assert theirs - ours == set(), "Great Expectations alone refuses these"
    refused = len({row for row, _ in ours})
    assert rows / 5 < refused < rows * 4 / 5, "one of the verdicts is rare"


@pytest.mark.usefixtures("takes_long")
@pytest.mark.parametrize("path", paths(), ids=lambda path: path.stem)
def test_a_shipped_suite_refuses_the_same_cells_in_the_service_as_in_training(path: Path) -> None:
    suite = path.parents[2] / "expectations" / f"{path.stem}.json"
    ours, theirs, rows = compare(suite, seed=11)
    assert_alike(ours, theirs, rows)
    bounded = {column.name for column in read_columns(suite) if column != Column(name=column.name, type=column.type)}
    assert {name for _, name in ours} == bounded, "not every column was refused something"


@pytest.mark.usefixtures("takes_long")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_kind_of_expectation_refuses_the_same_cells(made_up: Path, seed: int) -> None:
    ours, theirs, rows = compare(made_up, seed)
    assert_alike(ours, theirs, rows)
    boundless = {"free", "ever", "either", "binary"}
    assert {name for _, name in ours} == {column.name for column in MADE_UP} - boundless


@pytest.mark.parametrize("column", [integer("n"), Column(name="f", type="bool", nullable=False)], ids=["int", "bool"])
def test_a_null_where_pandas_has_none_is_refused_by_both(column: Column, tmp_path: Path) -> None:
    """In a frame the null changes the type of the whole column, and it is the type that Great Expectations refuses."""
    suite = write_suite(tmp_path, expectations([column]))
    frame = pd.DataFrame({column.name: pd.Series([1, None])})
    with pytest.raises(AssertionError, match=TYPE):
        list(great_expectations(suite, frame))
    assert told_by_the_service(signature_of(suite), [{column.name: None}]) == {(0, column.name)}


def test_an_integer_that_is_no_float_is_compared_exactly_by_the_service_alone(tmp_path: Path) -> None:
    """Great Expectations compares as float64, in which 2**53 + 1 is 2**53; the service is right to refuse it."""
    suite = write_suite(tmp_path, expectations([integer("n", maximum=2.0**53)]))
    frame = pd.DataFrame({"n": [2**53, 2**53 + 1, 2**53 + 2]})
    assert told_by_great_expectations(suite, frame) == {(2, "n")}
    ours = told_by_the_service(signature_of(suite), frame.to_dict(orient="records"))
    assert ours == {(1, "n"), (2, "n")}
