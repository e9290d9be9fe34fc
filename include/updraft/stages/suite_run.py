"""Run a suite of Great Expectations on a dataset, a few columns in memory at a time.

Each expectation sees the whole of the columns that it names: counts, means and uniqueness are exact, and the results
are those of the whole dataset in memory. What only the table's shape decides is asked of a frame without values.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from updraft.stages.suite import load_suite
from updraft.usecase.rows_definition import RowsDefinition

CELLS = 4_000_000  # values in memory at a time, unless a single column, or one expectation's columns, have more
PARTIAL = 20  # the values and row numbers that a result names


@dataclass(frozen=True)
class Outcome:
    """What Great Expectations says of one expectation, and the rows that a failed critical one is about, as bits."""

    result: Any
    bad: npt.NDArray[np.uint8] | None = None


def run_suite(case: RowsDefinition, dataset: Path, docs: Path) -> list[Outcome]:
    """Hold a dataset against the suite, leave HTML Data Docs in `docs`, and return the outcomes.

    Expectations about columns that the dataset does not have are left out.
    """
    suite = load_suite(case.suite)
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    frames = _Frames(dataset)
    suite = context.suites.add(_about(frames.columns, suite))
    outcomes: list[Outcome] = []
    for names, expectations in _parts(suite.expectations, frames):
        with _no_fingerprint(unless=names == frames.columns):
            part, found = _run_part(context, case.name, suite.name, expectations, frames.read(names))
        outcomes += part
        gc.collect()  # the columns and what was computed of them are in circles of references
        pa.default_memory_pool().release_unused()
    outcomes.sort(key=_reported_order(suite.expectations))
    _write_docs(context, case.name, found, [outcome.result for outcome in outcomes], docs)
    return outcomes


def _run_part(
    context: Any, asset: str, suite: str, expectations: list[Any], frame: pd.DataFrame
) -> tuple[list[Outcome], Any]:
    """Run some expectations on their columns; return the outcomes, and the result that is about all of them."""
    import great_expectations as gx

    source = context.data_sources.add_pandas("dataset")
    batch = (
        source.add_dataframe_asset(asset).add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    )
    part = gx.ExpectationSuite(name=suite)
    part.expectations = expectations  # its constructor refuses those that belong to a suite
    found = batch.validate(part, result_format="BASIC")
    outcomes = [_completed(result, source.get_execution_engine(), frame) for result in found.results]
    context.data_sources.delete("dataset")  # it keeps the columns, and what it has computed of each row
    return outcomes, found


@contextmanager
def _no_fingerprint(*, unless: bool) -> Iterator[None]:
    """Have Great Expectations hash no frame, as it hashes none above this threshold.

    For the hash it takes several times the frame's memory, and that of some columns would say nothing of the dataset.
    """
    from great_expectations.execution_engine import pandas_execution_engine

    threshold = pandas_execution_engine.HASH_THRESHOLD
    pandas_execution_engine.HASH_THRESHOLD = threshold if unless else 0
    try:
        yield
    finally:
        pandas_execution_engine.HASH_THRESHOLD = threshold


class _Frames:
    """A dataset's columns, read when they are asked for."""

    def __init__(self, dataset: Path) -> None:
        self._dataset = dataset
        self.rows = pq.read_metadata(dataset).num_rows
        self.columns = list(pq.read_schema(dataset).empty_table().to_pandas().columns)

    def read(self, names: Sequence[str] | None) -> pd.DataFrame:
        """Read columns; without names, make a frame of the dataset's shape whose values take no memory."""
        if names is None:
            one = np.broadcast_to(np.zeros((1, 1), np.int8), (self.rows, len(self.columns)))
            return pd.DataFrame(one, columns=self.columns, copy=False)
        with pq.ParquetFile(self._dataset) as parquet:
            table = parquet.read(list(names))
        frame: pd.DataFrame = table.to_pandas(self_destruct=True)
        del table
        pa.default_memory_pool().release_unused()  # what reading took beside the columns, as much again
        return frame


def _parts(expectations: Sequence[Any], frames: _Frames) -> Iterator[tuple[Sequence[str] | None, list[Any]]]:
    """Yield expectations that are run together with the columns to read for them; None: they need no values."""
    if frames.rows * len(frames.columns) <= CELLS:
        yield frames.columns, list(expectations)
        return
    yield None, [each for each in expectations if _is_about_shape(each)]
    by_columns: dict[tuple[str, ...], list[Any]] = {}
    for each in expectations:
        if not _is_about_shape(each):
            by_columns.setdefault(_needed(each, frames.columns), []).append(each)
    together: list[str] = []
    some: list[Any] = []
    for names, on_them in by_columns.items():
        union = list(dict.fromkeys((*together, *names)))
        if some and frames.rows * len(union) > CELLS:
            yield together, some
            union, some = list(names), []
        together, some = union, some + on_them
    if some:
        yield together, some


def _is_about_shape(expectation: Any) -> bool:
    """Whether only the number of rows and the columns' names and places decide."""
    kind = expectation.expectation_type
    return not _condition(expectation) and (kind.startswith("expect_table_") or kind == "expect_column_to_exist")


def _needed(expectation: Any, columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that an expectation and its row condition name; all, where it names none."""
    condition = _condition(expectation)
    names = {*_named(expectation), *(name for name in columns if name in condition)}
    return tuple(name for name in columns if name in names) or tuple(columns)


def _condition(expectation: Any) -> str:
    return str(getattr(expectation, "row_condition", None) or "")


def _named(expectation: Any) -> list[str]:
    single = [getattr(expectation, name, None) for name in ("column", "column_A", "column_B")]
    return [name for name in (*single, *(getattr(expectation, "column_list", None) or ())) if isinstance(name, str)]


def _about(columns: Sequence[str], suite: Any) -> Any:
    """Leave out the expectations about columns that are not there: they would all fail by one cause, and say less."""
    suite.expectations = [each for each in suite.expectations if all(name in columns for name in _named(each))]
    return suite


def _reported_order(expectations: Sequence[Any]) -> Any:
    """Return the key of the order that Great Expectations gives results: what raised first, then by column."""
    columns: dict[Any, int] = {}
    places = {}
    for index, each in enumerate(expectations):
        column = getattr(each, "column", None)
        places[each.id] = columns.setdefault(column if isinstance(column, str) else None, len(columns)), index

    def key(outcome: Outcome) -> tuple[bool, int, int]:
        raised = bool(outcome.result.exception_info) and "raised_exception" not in outcome.result.exception_info
        return not raised, *places[outcome.result.expectation_config.id]

    return key


def _completed(result: Any, engine: Any, frame: pd.DataFrame) -> Outcome:
    """Add to a result what the format SUMMARY has beyond BASIC.

    SUMMARY itself would list the index of every row that fails, millions of them, to report the first few.
    """
    found = result.result
    if "partial_unexpected_list" not in found:
        return Outcome(result)
    values = found["partial_unexpected_list"]
    found |= _counts(values)
    failing = _failing(result, engine) if values else frame.index[:0]
    found["partial_unexpected_index_list"] = list(failing[:PARTIAL])
    critical = result.expectation_config.severity not in ("warning", "info")
    if result.success or not critical or failing.empty:
        return Outcome(result)
    bad = np.zeros(len(frame), np.bool_)
    bad[failing if isinstance(frame.index, pd.RangeIndex) else np.flatnonzero(frame.index.isin(failing))] = True
    return Outcome(result, np.packbits(bad))


def _counts(values: Sequence[Any]) -> dict[str, Any]:
    """Count a result's values as Great Expectations does; nothing, where they cannot be counted or sorted."""
    hashable = [tuple(value.values()) for value in values] if values and isinstance(values[0], dict) else values
    try:
        most = sorted(Counter(hashable).most_common(PARTIAL), key=lambda item: (-item[1], item[0]))
    except TypeError:
        return {}
    return {"partial_unexpected_counts": [{"value": value, "count": count} for value, count in most]}


def _failing(result: Any, engine: Any) -> Any:
    """Return the index of the rows that fail."""
    from great_expectations.expectations.registry import get_metric_kwargs
    from great_expectations.validator.metric_configuration import MetricConfiguration
    from great_expectations.validator.metrics_calculator import MetricsCalculator

    config = result.expectation_config
    name = f"{config.to_domain_obj().map_metric}.condition"
    kwargs = get_metric_kwargs(name, config)
    wanted = MetricConfiguration(name, kwargs["metric_domain_kwargs"], kwargs["metric_value_kwargs"])
    mask = MetricsCalculator(engine, show_progress_bars=False).get_metric(wanted)[0]
    return mask.index[mask.to_numpy(dtype=bool)]


def _write_docs(context: Any, name: str, found: Any, results: list[Any], docs: Path) -> None:
    """Write the pages that a checkpoint's run writes, of all results together."""
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )
    from great_expectations.validator.validation_statistics import calc_validation_statistics

    context.add_data_docs_site(
        name,
        {
            "class_name": "SiteBuilder",
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.absolute())},
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        },
    )
    statistics = calc_validation_statistics(results)
    run = RunIdentifier(run_time=datetime.now(UTC))
    whole = ExpectationSuiteValidationResult(
        results=results,
        success=statistics.success,
        suite_name=found.suite_name,
        statistics={key: value for key, value in statistics._asdict().items() if key != "success"},
        meta=found.meta | {"run_id": run, "validation_time": run.run_time},
        batch_id=found.batch_id,
    )
    suite_id = ExpectationSuiteIdentifier(found.suite_name)
    result_id = ValidationResultIdentifier(suite_id, run, found.batch_id)
    context.validation_results_store.store_validation_results(whole, result_id, suite_id)
    context.build_data_docs(site_names=[name], resource_identifiers=[result_id, suite_id])
