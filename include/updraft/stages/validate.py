"""`validate`: run the use case's Great Expectations suite on a dataset, write the report, and raise if it fails."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import pandas as pd

from updraft.errors import UserError
from updraft.model.columns import DATE, Column
from updraft.stages.missing_columns import describe_missing
from updraft.stages.stage_folder import other_columns, recreate_folder, write_json
from updraft.usecase.rows_definition import RowsDefinition

log = logging.getLogger(__name__)

COLUMN_SET = "expect_table_columns_to_match_set"
REPORT, DOCS = "report.json", "data_docs"


class BadSuite(UserError):
    """The suite itself is invalid: unknown expectations, or arguments that they do not accept."""


class ValidationFailed(UserError):
    """A critical expectation failed. `failures` are its entries in the report."""

    def __init__(self, message: str, failures: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.failures = failures


def validate(case: RowsDefinition, dataset: Path, out: Path) -> Path:
    """Validate the dataset against the suite; write `out/report.json` and HTML Data Docs to `out/data_docs/`.

    Failures of severity `warning` or `info`, and rows that `mostly` tolerates, are only reported. Returns `dataset`,
    unchanged. Raises ValidationFailed, naming the columns, when a critical one fails, and BadSuite when the suite is
    invalid.
    """
    recreate_folder(out)
    started = time.monotonic()
    frame = pd.read_parquet(dataset)
    result = _run(case, frame, out / DOCS)
    entries = [_entry(outcome) for outcome in result.results]
    _name_cause(case, frame, dataset, entries)
    failed = [entry for entry in entries if not entry["success"]]
    critical = [entry for entry in failed if entry["severity"] == "critical"]
    tolerated = [entry for entry in entries if entry["success"] and entry["result"].get("unexpected_count")]
    report = {
        "configuration_sha256": case.configuration_sha256,
        "success": not critical,
        "rows": len(frame),
        "expectations": len(entries),
        "failed": failed,
        "tolerated": tolerated,
        "all": entries,
    }
    write_json(out / REPORT, report)
    log.info("%d expectations on %s rows in %.1f s: %d failed, %d of them critical",
             len(entries), f"{len(frame):,}", time.monotonic() - started, len(failed), len(critical))  # fmt: skip
    for entry in failed:
        log.log(logging.ERROR if entry in critical else logging.WARNING, "%s: %s", entry["severity"], _sentence(entry))
    for entry in tolerated:
        log.warning("tolerated, as few enough: %s", _sentence(entry))
    log.info("report: %s", out / DOCS / "index.html")
    if critical:
        worst = "; ".join(_sentence(entry) for entry in critical[:5])
        more = f" (and {len(critical) - 5} more)" if len(critical) > 5 else ""
        raise ValidationFailed(
            f"{case.name}: {len(critical)} of {len(entries)} expectations failed: {worst}{more}", critical
        )
    return dataset


def _name_cause(case: RowsDefinition, frame: pd.DataFrame, dataset: Path, entries: list[dict[str, Any]]) -> None:
    """Say in the one expectation that fails for missing columns which are, and what they may be called now."""
    if missing := [column.name for column in case.columns if column.name not in frame]:
        cause = describe_missing(missing, other_columns(dataset))
        for entry in entries:
            if not entry["success"] and entry["expectation"] == COLUMN_SET:
                entry["error"] = cause


def load_suite(path: Path) -> Any:
    """Load a suite; raise BadSuite for unknown expectations, which Great Expectations silently drops."""
    import great_expectations as gx

    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)  # its findings are reported below

    raw = json.loads(path.read_text(encoding="utf-8"))
    _read_dates(raw["expectations"])
    try:
        suite = gx.ExpectationSuite(name=raw["name"], expectations=raw["expectations"])
    except Exception as error:  # its own errors have no common base
        raise BadSuite(f"{path}: {' '.join(str(error).split())}") from None
    known = {expectation.expectation_type for expectation in suite.expectations}
    if unknown := sorted({entry["type"] for entry in raw["expectations"]} - known):
        raise BadSuite(f"{path}: no expectation is called {', '.join(map(repr, unknown))}")
    if len(suite.expectations) != len(raw["expectations"]):
        raise BadSuite(f"{path}: {len(raw['expectations'])} expectations, {len(suite.expectations)} loaded")
    return suite


def _read_dates(expectations: list[dict[str, Any]]) -> None:
    """Parse the bounds of date columns, which JSON has as ISO 8601 text: Great Expectations parses only some of it."""
    typed = (entry["kwargs"] for entry in expectations if entry["type"] == "expect_column_values_to_be_of_type")
    dates = {kwargs.get("column") for kwargs in typed if kwargs.get("type_") == DATE}
    date = Column(name="", type=DATE)
    for kwargs in (entry["kwargs"] for entry in expectations if entry["kwargs"].get("column") in dates):
        for end in {"min_value", "max_value"} & kwargs.keys():
            kwargs[end] = date.convert(kwargs[end])


def _run(case: RowsDefinition, frame: Any, docs: Path) -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read once, when Great Expectations is imported
    import great_expectations as gx
    from great_expectations.checkpoint.actions import UpdateDataDocsAction
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    context.add_data_docs_site(
        case.name,
        {
            "class_name": "SiteBuilder",
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.absolute())},
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        },
    )
    batch = (
        context.data_sources
        .add_pandas("dataset")
        .add_dataframe_asset(case.name)
        .add_batch_definition_whole_dataframe("all")
    )
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(
            name=case.name, data=batch, suite=context.suites.add(_about(frame, load_suite(case.suite)))
        )
    )
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(
            name=case.name,
            validation_definitions=[definition],
            actions=[UpdateDataDocsAction(name="docs", site_names=[case.name])],
            result_format="SUMMARY",
        )
    )
    run = checkpoint.run(batch_parameters={"dataframe": frame})
    return next(iter(run.run_results.values()))


def _about(frame: Any, suite: Any) -> Any:
    """Leave out the expectations about columns that are not there: they would all fail by one cause, and say less."""

    def names(expectation: Any) -> list[str]:
        single = [getattr(expectation, name, None) for name in ("column", "column_A", "column_B")]
        return [name for name in (*single, *(getattr(expectation, "column_list", None) or ())) if isinstance(name, str)]

    suite.expectations = [each for each in suite.expectations if all(name in frame for name in names(each))]
    return suite


def _entry(result: Any) -> dict[str, Any]:
    outcome: dict[str, Any] = result.to_json_dict()
    config = outcome["expectation_config"]
    kwargs = {k: v for k, v in config["kwargs"].items() if k != "batch_id"}
    severity = config.get("severity")
    entry = {
        "expectation": config["type"],
        "column": kwargs.pop("column", None),
        "severity": severity if severity in ("warning", "info") else "critical",
        "success": outcome["success"],
    }
    return (
        entry
        | {"kwargs": kwargs, "result": json.loads(json.dumps(outcome["result"]), parse_constant=str)}
        | _error(outcome)
    )


def _error(outcome: dict[str, Any]) -> dict[str, str]:
    """Return why an expectation could not be evaluated at all, for example because its column is missing."""
    info = outcome.get("exception_info") or {}
    exceptions = [info] if "raised_exception" in info else [part for part in info.values() if isinstance(part, dict)]
    messages = [part["exception_message"] for part in exceptions if part.get("raised_exception")]
    return {"error": " ".join(messages[0].split())} if messages else {}


def _sentence(entry: dict[str, Any]) -> str:
    """Describe a failed expectation in one line: the column, the rule, how many rows, examples."""
    kind = entry["expectation"].removeprefix("expect_")
    kwargs = {key: value for key, value in entry["kwargs"].items() if key not in ("column_set", "exact_match")}
    rule = ", ".join(
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in kwargs.items()
    )
    if kind == COLUMN_SET.removeprefix("expect_") and "error" in entry:
        return str(entry["error"])
    observed = entry.get("error") or _observed(entry["result"])
    return f"{entry['column'] or 'table'}: {kind}({rule}): {observed}"


def _observed(result: dict[str, Any]) -> str:
    mismatched = (result.get("details") or {}).get("mismatched") or {}
    if mismatched:
        return "; ".join(f"{kind} {', '.join(map(str, names))}" for kind, names in mismatched.items() if names)
    if "unexpected_count" in result:
        examples = ", ".join(map(repr, result.get("partial_unexpected_list", [])[:3]))
        return f"{result['unexpected_count']:,} of {result['element_count']:,} rows" + (
            f", such as {examples}" if examples else ""
        )
    return f"found {result.get('observed_value')!r}"
