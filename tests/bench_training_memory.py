"""Measure what one fit takes of memory, by estimator and kind of columns, beside what is stated: `make bench-memory`.

Each fit is a process of its own. Bytes of a row are the difference of two sizes, without what does not grow with rows.
Labels are noise and vocabularies grow with each row, which is the worst case. ROWS=50000,150000; ONLY=Ridge,LinearSVC.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from tests.support.small_cases import date, integer, real, small_case, text
from updraft.learning.estimators import ESTIMATORS, build
from updraft.learning.memory_need import SAMPLE, measure_fit
from updraft.learning.search import combinations
from updraft.model.columns import Column
from updraft.usecase.blocks import NO_TEXT, EstimatorName, Regressor

COLUMNS = 12
Made = tuple[dict[str, Any], list[Column]]


def _numbers(rows: int, random: np.random.Generator) -> Made:
    names = [f"n{number}" for number in range(COLUMNS)]
    return {name: random.random(rows) for name in names}, [real(name) for name in names]


def _categories(rows: int, random: np.random.Generator) -> Made:
    values, names = [f"value {number}" for number in range(20)], [f"k{number}" for number in range(COLUMNS)]
    columns = {name: pd.Categorical.from_codes(random.integers(0, 20, rows), values) for name in names}
    return columns, [text(name) for name in names]


def _mixed(rows: int, random: np.random.Generator) -> Made:
    (numbers, real_columns), (categories, texts) = _numbers(rows, random), _categories(rows, random)
    integers = {f"i{number}": random.integers(0, 100, rows).astype("int8") for number in range(4)}
    some = dict(list(numbers.items())[:4]) | dict(list(categories.items())[:4]) | integers
    return some, [*real_columns[:4], *texts[:4], *map(integer, integers)]


def _dates(rows: int, random: np.random.Generator) -> Made:
    names = [f"d{number}" for number in range(4)]
    start = pd.Timestamp("2026-01-01")
    columns = {name: start + pd.to_timedelta(random.integers(0, 2**24, rows), unit="s") for name in names}
    return columns, [date(name) for name in names]


def _words(rows: int, random: np.random.Generator) -> Made:
    words = np.array([f"word{number}" for number in range(5000)])[random.integers(0, 5000, (rows, COLUMNS))]
    return {"words": pd.array([" ".join(row) for row in words], dtype="str")}, [text("words")]


KINDS: dict[str, Callable[[int, np.random.Generator], Made]] = {
    "12 numbers": _numbers,
    "12 categories": _categories,
    "4 + 4 + 4 integers": _mixed,
    "4 dates": _dates,
    "12 words": _words,
}
FEW = {"n_estimators": 4, "max_depth": 6, "max_iter": 5}  # more of these take seconds, not memory


def main() -> None:
    """Print a table, a line for each estimator and kind of columns."""
    sizes = [int(rows) for rows in os.environ.get("ROWS", "50000,150000").split(",")]
    only = os.environ.get("ONLY", "").split(",") if os.environ.get("ONLY") else list(ESTIMATORS)
    print("| estimator | columns | bytes of a row, measured | stated | stated / measured |\n|---|---|---|---|---|")
    for name in ESTIMATORS:
        for kind in KINDS:
            if name not in only or (kind == "12 words" and name in NO_TEXT):
                continue
            found = [_in_a_process(name, kind, rows) for rows in sizes]
            taken, stated = ((found[1][key] - found[0][key]) / (sizes[1] - sizes[0]) for key in ("taken", "stated"))
            print(f"| {name} | {kind} | {taken:,.0f} | {stated:,.0f} | {stated / taken:.2f} |", flush=True)


def _in_a_process(name: EstimatorName, kind: str, rows: int) -> dict[str, float]:
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.write(writing, json.dumps(measure(name, kind, rows)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        found: dict[str, float] = json.loads(file.read() or "null")
    os.waitpid(child, 0)
    return found or sys.exit(f"{name}, {kind}: the fit of {rows} rows failed")


def measure(name: EstimatorName, kind: str, rows: int) -> dict[str, float]:
    random = np.random.default_rng(1)
    values, columns = KINDS[kind](rows, random)
    regression = name in get_args(Regressor)
    frame = pd.DataFrame(values).assign(y=random.random(rows) if regression else random.integers(0, 2, rows))
    params = {key: value for key, value in FEW.items() if key in ESTIMATORS[name].parameters}
    case = small_case(
        [*columns, real("y") if regression else integer("y")],
        task="regression" if regression else "binary",
        text=["words"] if kind == "12 words" else [],
        candidates={"one": {"estimator": name, "params": params}},
    )
    stated = measure_fit(case, name, combinations(case, "one")[0], frame.head(SAMPLE)).bytes(rows)
    pipeline, before = build(case, name, params), _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # begins VmHWM anew
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline.fit(frame[case.feature_names], frame["y"])
    return {"taken": _memory("VmHWM") - before, "stated": stated}


def _memory(key: str) -> int:
    return int(Path("/proc/self/status").read_text(encoding="utf-8").partition(f"{key}:")[2].split()[0]) * 1024


if __name__ == "__main__":
    main()
