"""An ETL's YAML: every fault with its line, and what the shipped ones say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.etl_cases import TYPES, YAML, write_etl
from updraft.etl.check import check
from updraft.etl.definitions import load, parse, paths
from updraft.stages.check import unread_files
from updraft.usecase import BadUseCase

OUTLIERS = "{rule: quantile, high: 0.9, then: clip}"


def faults(root: Path) -> list[str]:
    return [fault.format(root) for fault in parse("visits", root).faults]


@pytest.mark.parametrize("path", paths(), ids=lambda path: path.stem)
def test_nothing_is_wrong_with_a_shipped_etl(path: Path) -> None:
    assert check(path.stem) == []


def test_the_raw_columns_are_read_and_the_derived_are_not(tmp_path: Path) -> None:
    etl = load("visits", write_etl(tmp_path))
    read = {column.name: column.type for column in etl.extracted.columns}
    assert read == {"visit": "int64", "kind": "str", "price": "float64", "seconds": "float64", "bought": "str"}
    assert etl.extracted.name == "etl_visits" and etl.source.settings.path == str(tmp_path / "data/visits.csv")


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("source: {file", "source: {fil", 2, "source: 'fil' is unknown (did you mean 'file'?)"),
        (
            "{file: {path: data/visits.csv}}",
            "{mongodb: {collection: x, watermark: {column: y}}}",
            2,
            "source.watermark: an ETL reads all rows",
        ),
        ("title: Visits of a site\n", "", None, "title: missing"),
        ("seconds: float64", "seconds: float", 4, "raw_columns.seconds: 'float' is unknown"),
        ("seconds: float64, ", "", 10, "clean.nulls: no column 'seconds'"),
        ("id: visit", "id: visitt", 5, "id: no column 'visitt' in the suite (did you mean 'visit'?)"),
        ("id: visit", "id: price", 5, "id: the suite lets column 'price' be null or a float64"),
        (OUTLIERS, "{rule: quantile, then: clip}", 8, "clean.outliers.price: rule 'quantile' takes low, high or both"),
        (OUTLIERS, "{rule: iqr, high: 0.5, then: clip}", 8, "clean.outliers.price: rule 'iqr' takes factor"),
        (OUTLIERS, "{low: 0.9, high: 0.1, rule: quantile, then: clip}", 8, "clean.outliers.price: expected low < high"),
        (OUTLIERS, "{rule: iqr}", 8, "clean.outliers.price.then: missing"),
        ("price: {rule", "prise: {rule", 8, "clean.outliers: no column 'prise' (did you mean 'price'?)"),
        ("price: {rule", "kind: {rule", 8, "clean.outliers.kind: the column is str, expected a number"),
        ("{fill: 0}", "drop", 10, "clean.nulls.seconds: "),
        ("minutes: seconds / 60", "minutes: secnds / 60", 12, "clean.derive.minutes: no column 'secnds'"),
        ("minutes: seconds / 60", "minutes: os.system('x')", 12, "clean.derive.minutes: "),
        ("minutes: seconds", "hours: seconds", 12, "clean.derive.hours: the suite has no such column"),
        ('"yes": 1', '"yes": one', 14, "clean.labels.bought.yes: 'one' (str) is not a whole number"),
        ("bought: {", "sold: {", 14, "clean.labels.sold: the suite has no such column"),
        (
            "casts: {kind:",
            "casts: {kid:",
            3,
            "read.casts.kid: no column 'kid' in the suite or raw_columns (did you mean 'kind'?)",
        ),
        ("casts: {kind:", "rename: {Kind: kid}, casts: {kind:", 3, "read.rename.Kind: no column 'kid' in the suite or"),
        (
            "casts: {kind:",
            "dates: {minutes: '%d'}, casts: {kind:",
            3,
            "read.dates.minutes: column 'minutes' is derived",
        ),
        ("clean:\n", "clean:\n  duplicate: drop\n", 7, "unknown key 'clean.duplicate' (did you mean 'duplicates'?)"),
        ("mongodb:", "mongo:", 16, "unknown key 'load.0.mongo'"),
        ("load:\n  - mongodb: {collection: visits}\n", "", None, "load: missing"),
        ("collection: visits", "collection: a$b", 16, "load.0.mongodb.collection: "),
        ("id: visit", "id: visit\nschedule: {after: 3}", 6, "schedule.after: "),
        ("id: visit", "id: visit\ncolumns: {}", 6, "columns: not set here, columns are in the suite"),
    ],
)
def test_a_fault_has_its_line(tmp_path: Path, old: str, new: str, line: int | None, message: str) -> None:
    found = faults(write_etl(tmp_path, (old, new)))
    start = f"include/etl/visits.yaml:{line}: {message}" if line else f"include/etl/visits.yaml: {message}"
    assert any(fault.startswith(start) for fault in found), found


def test_types_that_an_expression_cannot_take_are_found_before_a_run(tmp_path: Path) -> None:
    root = write_etl(tmp_path, ("seconds / 60", "seconds + kind"))
    assert faults(root) == []
    (fault,) = check("visits", root)
    assert fault.line == 12 and "no kernel" in fault.message
    (fault,) = check("visits", write_etl(tmp_path, ("seconds / 60", "kind + '!'")))
    assert "gives string, and the column is float64 in the suite" in fault.message


def test_a_fault_of_the_suite_is_reported_once_and_hides_no_other(tmp_path: Path) -> None:
    yaml = YAML.replace("minutes: seconds / 60", 'minutes: length("a") + 1\n    hours: seconds + "!"')
    types = TYPES | {"minutes": "int64", "hours": "str"}
    root = write_etl(tmp_path, ("title:", "titel:"), yaml=yaml, types=types)
    suite = root / "expectations/etl_visits.json"
    text = json.loads(suite.read_text())
    text["expectations"] = [
        each
        for each in text["expectations"]
        if each["type"] != "expect_column_values_to_not_be_null" or each["kwargs"]["column"] != "minutes"
    ]
    suite.write_text(json.dumps(text))
    found = [fault.format(root) for fault in check("visits", root)]
    for message in ("unknown key 'titel'", "clean.derive.hours: ", "'minutes' is int64 and may be null"):
        assert sum(message in fault for fault in found) == 1, found
    assert len(found) == 3, found


@pytest.mark.parametrize("expression", ["length('a') + 1", "seconds + kind", "no.grammar"])
def test_a_derived_column_without_a_type_is_no_crash(tmp_path: Path, expression: str) -> None:
    root = write_etl(tmp_path, ("seconds / 60", expression), types=TYPES | {"minutes": "integer"})
    found = [fault.message for fault in check("visits", root)]
    assert sum("column 'minutes' needs a critical type" in message for message in found) == 1, found


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ([(", bought: str", "")], "clean.labels.bought: 'yes' is no int64, as the column is read: needs raw_columns: "),
        ([("bought: str", "bought: bool")], "clean.labels.bought: 'sure' is no bool, as the column is read: needs "),
        ([('"yes": 1', "true: 1")], "clean.labels.bought: true is no text: put it in quotes"),
        (
            [(", bought: str", ""), ("minutes: ", "bought: seconds > 1\n    minutes: ")],
            "clean.labels.bought: 'yes' is no bool",
        ),
    ],
)  # fmt: skip
def test_a_label_that_no_value_of_the_column_can_be_is_found(
    tmp_path: Path, edits: list[tuple[str, str]], message: str
) -> None:
    yaml = YAML.replace('"yes": 1', '"sure": 1') if "sure" in message else YAML
    root = write_etl(tmp_path, *edits, yaml=yaml)
    (fault,) = check("visits", root)
    lines = (root / "include/etl/visits.yaml").read_text().splitlines()
    assert fault.message.startswith(message) and fault.line and "bought: {" in lines[fault.line - 1]


def test_an_etl_that_does_not_exist_and_a_file_that_is_none(tmp_path: Path) -> None:
    root = write_etl(tmp_path)
    with pytest.raises(BadUseCase, match=r"no ETL 'visit' .did you mean 'visits'"):
        load("visit", root)
    (root / "include/etl/other.yml").write_text(YAML)
    assert [fault.format(root) for fault in unread_files(root)] == [
        "include/etl/other.yml: not read: the name must end in .yaml"
    ]
    (root / "include/etl/visits.yaml").write_text("")
    assert faults(root) == ["include/etl/visits.yaml: expected keys and values, found nothing"]


@pytest.mark.parametrize("store", ["mongodb: {collection: x}", "sql: {table: x}"])
def test_a_column_with_a_name_of_the_stores_own_is_refused(tmp_path: Path, store: str) -> None:
    root = write_etl(tmp_path, ("mongodb: {collection: visits}", store), ("minutes: seconds", "_sha256: seconds"))
    suite = root / "expectations" / "etl_visits.json"
    suite.write_text(suite.read_text().replace("minutes", "_sha256"))
    (fault,) = check("visits", root)
    kind = store.partition(":")[0]
    assert fault.message == f"load.0.{kind}: keeps the name '_sha256' for itself; rename the column"
