"""A task's log as a person reads it: what a stage has found stands outside of the folded part, in few lines."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import evidence

log = logging.getLogger("airflow.task")

MAX_WARNINGS = 10  # that are repeated
Facts = Mapping[str, Any]


@contextmanager
def folded(title: str) -> Iterator[list[str]]:
    """Fold what is logged meanwhile into one line of the task's log; yield a list of lines to log after it.

    Warnings, of ours and of libraries, are repeated after the folded part; an error is what the task ends with anyway.
    """
    warnings, lines = _Warnings(), list[str]()
    loggers = logging.getLogger(), log
    log.info("::group::%s", title)
    for logger in loggers:
        logger.addHandler(warnings)
    try:
        yield lines
    finally:
        for logger in loggers:
            logger.removeHandler(warnings)
        log.info("::endgroup::")
        for line in list(warnings.lines)[:MAX_WARNINGS]:
            log.warning("%s", line)
        if len(warnings.lines) > MAX_WARNINGS:
            log.warning("%d more warnings are in the folded part above", len(warnings.lines) - MAX_WARNINGS)
        for line in lines:
            log.info("%s", line)


class _Warnings(logging.Handler):
    """Keeps warnings, each once, in their order."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.ERROR:
            self.lines.setdefault(record.getMessage())


def summary(verb: str, out: Path) -> Iterator[str]:
    """Say what a stage has found, by the facts that it left in `out`, also where it failed on them."""
    name, lines = SUMMARIES.get(verb, (None, None))
    if name is None or lines is None:
        return
    try:
        facts = json.loads((out / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not written, or not to its end: what went wrong is an error of its own
        return
    yield from lines(facts)


def _ingested(facts: Facts) -> Iterator[str]:
    read, kept, quarantined = facts["rows_read"], facts["rows"], facts["quarantined"]
    yield f"{facts['source']}: {read:,} rows read, {kept:,} fit, {quarantined:,} quarantined"
    if quarantined:
        yield f"worst columns: {', '.join(f'{name} ({count:,})' for name, count in [*facts['reasons'].items()][:5])}"
    yield from (f"  {name}: such as {example}" for name, example in [*facts["examples"].items()][:5])


def _validated(facts: Facts) -> Iterator[str]:
    failed = facts["failed"]
    critical = sum(entry["severity"] == "critical" for entry in failed)
    yield f"{facts['expectations']} expectations on {facts['rows']:,} rows: {len(failed)} failed, {critical} critical"
    if failed:
        worst = dict.fromkeys(str(entry["column"] or "table") for entry in failed)
        yield f"worst columns: {', '.join([*worst][:5])}"


def _split(facts: Facts) -> Iterator[str]:
    yield f"{facts['rows']:,} rows, {facts['distinct_rows']:,} of them distinct in their features"
    for side in ("train", "test"):
        counts = facts[side]
        share = f", {counts['positive']:,} positive ({counts['positive_share']:.1%})" if "positive" in counts else ""
        yield f"{side}: {counts['rows']:,} rows{share}"


def _trained(facts: Facts) -> Iterator[str]:
    yield from evidence.validation(facts).lines()
    if facts["threshold"] is not None:
        yield f"threshold {facts['threshold']:.4f}"


def _evaluated(facts: Facts) -> Iterator[str]:
    yield from evidence.models(facts).lines()
    if facts["champion"]:
        yield evidence.comparison(facts)
    yield f"decision: {facts['decision']}, because {facts['reason']}"


# A stage → the file of its facts, and what it says of them.
SUMMARIES: dict[str, tuple[str, Callable[[Facts], Iterator[str]]]] = {
    "ingest": ("ingest.json", _ingested),
    "validate": ("report.json", _validated),
    "transform": ("split.json", _split),
    "train": ("training.json", _trained),
    "evaluate": ("evaluation.json", _evaluated),
}
