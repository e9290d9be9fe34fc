"""`validate`: run the use case's Great Expectations suite on a dataset, write the report, and raise if it fails."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from updraft.errors import UserError
from updraft.model.number_format import format_value
from updraft.stages.failed_rows import quarantine
from updraft.stages.missing_columns import describe_missing
from updraft.stages.stage_folder import other_columns, recreate_folder, write_json
from updraft.stages.suite_run import run_suite
from updraft.usecase.rows_definition import RowsDefinition

log = logging.getLogger(__name__)

COLUMN_SET = "expect_table_columns_to_match_set"
REPORT, DOCS = "report.json", "data_docs"


class ValidationFailed(UserError):
    """A critical expectation failed. `failures` are its entries in the report."""

    def __init__(self, message: str, failures: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.failures = failures


def validate(case: RowsDefinition, dataset: Path, out: Path) -> Path:
    """Validate the dataset against the suite; write `out/report.json` and HTML Data Docs to `out/data_docs/`.

    Rows that break a failed critical expectation are copied to `out/quarantine.jsonl`, with their reasons. Failures of
    severity `warning` or `info`, and rows that `mostly` tolerates, are only reported. Returns `dataset`, unchanged.
    Raises ValidationFailed, naming the columns, when a critical one fails, and BadSuite when the suite is invalid.
    """
    recreate_folder(out)
    started = time.monotonic()
    rows = pq.read_metadata(dataset).num_rows
    outcomes = run_suite(case, dataset, out / DOCS)
    entries = [_entry(outcome.result) for outcome in outcomes]
    _name_cause(case, dataset, entries)
    failed = [entry for entry in entries if not entry["success"]]
    critical = [entry for entry in failed if entry["severity"] == "critical"]
    tolerated = [entry for entry in entries if entry["success"] and entry["result"].get("unexpected_count")]
    report = {
        "configuration_sha256": case.configuration_sha256,
        "success": not critical,
        "rows": rows,
        "expectations": len(entries),
        "failed": failed,
        "tolerated": tolerated,
        "all": entries,
    }
    write_json(out / REPORT, report)
    log.info("%d expectations on %s rows in %.1f s: %d failed, %d of them critical",
             len(entries), f"{rows:,}", time.monotonic() - started, len(failed), len(critical))  # fmt: skip
    for entry in failed:
        log.log(logging.ERROR if entry in critical else logging.WARNING, "%s: %s", entry["severity"], _sentence(entry))
    for entry in tolerated:
        log.warning("tolerated, as few enough: %s", _sentence(entry))
    log.info("report: %s", out / DOCS / "index.html")
    if critical:
        reasons = [(_rule(entry), outcome.bad) for entry, outcome in zip(entries, outcomes, strict=True)]
        quarantine(dataset, [(rule, bad) for rule, bad in reasons if bad is not None], out)
        worst = "; ".join(_sentence(entry) for entry in critical[:5])
        more = f" (and {len(critical) - 5} more)" if len(critical) > 5 else ""
        raise ValidationFailed(
            f"{case.name}: {len(critical)} of {len(entries)} expectations failed: {worst}{more}", critical
        )
    return dataset


def _name_cause(case: RowsDefinition, dataset: Path, entries: list[dict[str, Any]]) -> None:
    """Say in the one expectation that fails for missing columns which are, and what they may be called now."""
    names = pq.read_schema(dataset).names
    if missing := [column.name for column in case.columns if column.name not in names]:
        cause = describe_missing(missing, other_columns(dataset))
        for entry in entries:
            if not entry["success"] and entry["expectation"] == COLUMN_SET:
                entry["error"] = cause


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
    if entry["expectation"] == COLUMN_SET and "error" in entry:
        return str(entry["error"])
    return f"{_rule(entry)}: {entry.get('error') or _observed(entry['result'])}"


def _rule(entry: dict[str, Any]) -> str:
    """Name the column and what is expected of it."""
    kind = entry["expectation"].removeprefix("expect_")
    kwargs = {key: value for key, value in entry["kwargs"].items() if key not in ("column_set", "exact_match")}
    arguments = ", ".join(f"{key}={format_value(value)}" for key, value in kwargs.items())
    return f"{entry['column'] or 'table'}: {kind}({arguments})"


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
