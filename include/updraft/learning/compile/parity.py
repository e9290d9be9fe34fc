"""The certificate of parity: a compiled model against its pipeline, on held-out and on drawn rows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from updraft.learning.compile.errors import NotCompiled
from updraft.learning.compile.strange_texts import LONG_TEXTS, strange_texts
from updraft.model.columns import DATE, LARGEST, Column, Type
from updraft.model.compiled.compiled_model import CompiledModel
from updraft.model.compiled.layout import COMPILED, FILES, TREES, Compiled, Number, Parity, Text, Trees, width_of
from updraft.model.compiled.nodes import parse
from updraft.model.model import Model
from updraft.model.prediction import decide
from updraft.model.signature import Rows, Signature

if TYPE_CHECKING:
    pass

ROWS, ONE_BY_ONE = 20_000, 50
BATCH = 5_000
SEEN = 10_000  # rows whose values are drawn from
MAX_BOUNDS = 2_000
RTOL, ATOL = 1e-12, 1e-15  # of sums whose order differs
STRANGE = ["", " ", "\ue000", "ß", "İstanbul", "e\u0301", "日本語", "a" * 300, "NULL", "0", "\t\n", "🌞 sun"]
NUMBERS = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-35, 1e-36, -1e-36, 1e-46, 5e-324, 1e-10, 16777217.0, 1e15, 1e30, -1e30]


def certify(
    model: Model, compiled: CompiledModel, files: Mapping[str, bytes], frame: pd.DataFrame, seed: int, rows: int = ROWS
) -> Parity:
    """Compare the scores and decisions of held-out rows and of drawn ones, `rows` in all or more, also one by one.

    A model of trees is to give the same scores to the bit. Raises NotCompiled where the two differ.
    """
    count = max(rows - len(frame), rows // 4)
    drawn = _drawn(model.signature, frame, files, count, seed)
    batches = range(0, len(frame), BATCH), range(0, count, BATCH)
    share = -(-ONE_BY_ONE // sum(map(len, batches)))
    held_out = (rows_of(model.signature, frame.iloc[start : start + BATCH]) for start in batches[0])
    largest, one_by_one = 0.0, 0
    for batch in chain(held_out, (_slice(drawn, start, start + BATCH) for start in batches[1])):
        ones = [_slice(batch, n, n + 1) for n in range(min(share, len(batch)))]
        for each in (batch, *ones):  # the pipeline's own last bits may hang on the number of rows
            largest = max(largest, _difference(model, compiled, each))
        one_by_one += len(ones)
    return Parity(
        rows=len(frame) + count,
        held_out=len(frame),
        one_by_one=one_by_one,
        exact=not compiled.sums,
        largest_difference=largest,
        files={name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items()) if name in FILES},
    )


def rows_of(signature: Signature, frame: pd.DataFrame) -> Rows:
    """Convert rows in the suite's types to what a request becomes."""
    return signature.rows([_values(column, frame[column.name]) for column in signature.columns])


def _values(column: Column, values: pd.Series[Any]) -> list[Any]:
    plain = [value.to_pydatetime() for value in values] if column.type == DATE else values.tolist()
    return [None if missing else value for value, missing in zip(plain, values.isna(), strict=True)]


def _difference(model: Model, compiled: CompiledModel, rows: Rows) -> float:
    """Return the largest difference, relative to scores beyond 1; NotCompiled where it, or a decision, may not be."""
    signature, exact = model.signature, not compiled.sums
    with np.errstate(over="ignore", invalid="ignore"):  # scikit-learn's own check of extremes adds them up
        expected, found = model.scores_of(rows), compiled.scores_of(rows)
    if expected.shape != found.shape:
        raise NotCompiled(f"its scores have shape {found.shape}, the pipeline's {expected.shape}")
    same = expected == found if exact else np.isclose(found, expected, RTOL, ATOL)
    threshold = signature.threshold
    differing = decide(signature.task, expected, threshold) != decide(signature.task, found, threshold)
    wrong = int((~same).reshape(len(same), -1).any(axis=1).sum())
    answers = 0 if signature.task == "regression" else int(differing.sum())
    if wrong or answers:
        raise NotCompiled(f"of {len(expected):,} rows {wrong:,} have another score, {answers:,} another answer")
    different = expected != found  # infinities may be equal, and their difference is no number
    expected, found = expected[different], found[different]
    return float((np.abs(expected - found) / np.maximum(np.abs(expected), 1.0)).max(initial=0.0))


def _thresholds(about: Compiled, files: Mapping[str, bytes]) -> dict[int, list[float]]:
    """Return the trees' thresholds on numbers that come to them as they are, by the place of their column."""
    if not isinstance(about.model, Trees):
        return {}
    nodes = parse(files[TREES], about.model, about.width, about.outputs).nodes
    nodes = nodes[nodes["bitset"] < 0]
    features = zip(accumulate(map(width_of, about.inputs), initial=0), about.inputs, strict=False)
    numbers = [(place, part.column) for place, part in features if isinstance(part, Number) and part.part == "number"]
    return {column: np.unique(nodes["threshold"][nodes["feature"] == place]).tolist() for place, column in numbers}


def _drawn(signature: Signature, frame: pd.DataFrame, files: Mapping[str, bytes], count: int, seed: int) -> Rows:
    """Draw rows, each column by itself: what was seen, null, what nobody saw, bounds, and what lies beside them."""
    random = np.random.default_rng(seed)
    about = Compiled.model_validate_json(files[COMPILED])
    bounds = _thresholds(about, files)
    terms = {part.column: part.terms for part in about.inputs if isinstance(part, Text)}
    known = rows_of(signature, frame.sample(min(len(frame), SEEN), random_state=seed))
    columns = []
    for place, column in enumerate(signature.columns):
        pool = [value for value in known.columns[place] if value is not None] or _fallback(column)
        odd = _odd(column, bounds.get(place, []), random)
        if place in terms:
            odd += strange_texts(pool, terms[place], random)
        values = [pool[n] for n in random.integers(len(pool), size=count)]
        for n in np.flatnonzero(random.random(count) < 0.4):
            values[n] = odd[random.integers(len(odd))]
        if column.type not in ("int64", "bool"):
            for n in np.flatnonzero(random.random(count) < 0.1):
                values[n] = None
        if place in terms:
            values[: len(LONG_TEXTS)] = LONG_TEXTS[:count]
        columns.append(values)
    return signature.rows(columns)


def _fallback(column: Column) -> list[Any]:
    """Return values for a column that has none."""
    nothing: dict[Type, Any] = {"str": "", "bool": False, DATE: datetime(1970, 1, 1), "int64": 0, "float64": 0.0}
    return list(column.allowed or ()) or [nothing[column.type]]


def _odd(column: Column, bounds: Sequence[float], random: np.random.Generator) -> list[Any]:
    if column.type == "str":
        return [*STRANGE, *(column.allowed or ())]
    if column.type == "bool":
        return [False, True]
    if column.type == DATE:
        days = [*random.integers(-30_000, 60_000, 40).tolist(), 0, 365, 59]
        return [pd.Timestamp(day * 86_400 + day % 997, unit="s").to_pydatetime() for day in days]
    ends = [bound for bound in (column.minimum, column.maximum) if bound is not None]
    numbers = [*NUMBERS, *ends, *(float(value) for value in column.allowed or ()), LARGEST, -LARGEST]
    bounds = [bound for bound in bounds if abs(bound) <= LARGEST]
    if len(bounds) > MAX_BOUNDS:
        bounds = random.choice(bounds, MAX_BOUNDS).tolist()
    for bound in bounds:
        single = np.float32(bound)
        beside = [bound, math.nextafter(bound, math.inf), math.nextafter(bound, -math.inf), float(single)]
        numbers += [*beside, *(float(np.nextafter(single, np.float32(end))) for end in (np.inf, -np.inf))]
    numbers = [number for number in numbers if abs(number) <= LARGEST]
    if column.type == "float64":
        return numbers
    return [int(number) + step for number in numbers if abs(number) < 2**53 for step in (-1, 0, 1)]


def _slice(rows: Rows, start: int, end: int) -> Rows:
    return Rows(rows.names, [column[start:end] for column in rows.columns], rows.types, [])
