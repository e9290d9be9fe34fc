"""A small ETL, right in all it says, for tests to edit: visits of a web site."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.shop import expectation
from updraft.addresses import Connections, from_environment
from updraft.etl.clean import clean
from updraft.etl.definitions import load
from updraft.etl.extract import extract
from updraft.etl.schema import Etl
from updraft.sources import open_source
from updraft.usecase import from_file

YAML = """\
title: Visits of a site
source: {file: {path: data/visits.csv}}
read: {casts: {kind: [strip, lower]}, nulls: ["?"]}
raw_columns: {seconds: float64, bought: str}
id: visit
clean:
  outliers:
    price: {rule: quantile, high: 0.9, then: clip}
  nulls:
    seconds: {fill: 0}
  derive:
    minutes: seconds / 60
  labels:
    bought: {"yes": 1, "no": 0}
load:
  - mongodb: {collection: visits}
"""
TYPES = {"visit": "int64", "kind": "str", "price": "float64", "minutes": "float64", "bought": "int64"}
HEADER = "visit,kind,price,seconds,bought"
NO_SERVER: Connections = from_environment({})
Write = Callable[..., Path]


def write_etl(root: Path, *edits: tuple[str, str], yaml: str = YAML, types: dict[str, str] = TYPES) -> Path:
    """Write the ETL's two files below `root`, its YAML edited (old, new), and return the root."""
    for old, new in edits:
        assert old in yaml, old
        yaml = yaml.replace(old, new, 1)
    suite: list[dict[str, Any]] = [expectation("table_columns_to_match_set", column_set=list(types), exact_match=True)]
    suite += [expectation("column_values_to_be_of_type", column=name, type_=type_) for name, type_ in types.items()]
    suite += [
        expectation("column_values_to_not_be_null", column=name) for name, type_ in types.items() if type_ == "int64"
    ]
    for folder in ("include/etl", "expectations", "data"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "include/etl/visits.yaml").write_text(yaml)
    lines = ",\n".join(json.dumps(each) for each in suite)
    text = f'{{"name": "etl_visits", "expectations": [\n{lines}\n]}}\n'
    (root / "expectations/etl_visits.json").write_text(text)
    return root


def write_rows(root: Path, *lines: str, header: str = HEADER) -> Path:
    """Write the ETL's file and return it."""
    file = root / "data" / "visits.csv"
    file.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return file


def cleaned(root: Path, file: Path | None = None) -> tuple[Etl, Path]:
    """Extract and clean the ETL's file, or another; return the ETL and the cleaned rows."""
    etl = load("visits", root)
    etl = from_file(etl, file) if file else etl
    with open_source(etl.extracted, NO_SERVER) as source:
        extracted = extract(etl, source, root / "run" / "extract")
    return etl, clean(etl, extracted, root / "run" / "clean")
