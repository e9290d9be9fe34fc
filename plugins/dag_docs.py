"""The docs of a training's DAG in Airflow: what is learned from which columns, by what rules, and where to look."""

from __future__ import annotations

from collections.abc import Iterator

from evidence import Table, escape
from links import models_url, service_url
from updraft.airflow_client import DAG_PREFIX
from updraft.model.columns import Column
from updraft.model.number_format import format_hours, format_value
from updraft.usecase import UseCase
from updraft.usecase.schema import FOLDS_UP_TO

MAX_VALUES = 8  # of a column that are listed


def describe(case: UseCase, stages: str) -> str:
    """Return the docs of a use case as Markdown; `stages` says what the tasks do."""
    parts = [
        f"### {escape(case.title)}",
        *_about(case),
        _columns(case).markdown(),
        "#### Candidates",
        _candidates(case),
    ]
    return "\n\n".join([*parts, "#### Rules", "\n".join(f"- {rule}" for rule in _rules(case)), stages])


def _about(case: UseCase) -> Iterator[str]:
    labels = " or ".join(escape(label.name) for label in case.labels) or "a number"
    schedule = case.schedule.model_dump(exclude_none=True, exclude_defaults=True) if case.schedule else {}
    yield (
        f"Predicts **{escape(case.target)}** ({labels}) from {len(case.feature_columns)} columns. Its rows come from a "
        f"source of type {escape(case.source.kind)}. Schedule: {escape(_pairs(schedule)) or 'none, it is triggered'}."
    )
    links = [f"[Versions, metrics and history]({url})"] if (url := models_url(f"{DAG_PREFIX}{case.name}")) else []
    links += [f"[The service]({url})"] if (url := service_url(case.name)) else []
    links += [f"`include/usecases/{case.name}.yaml`", f"`expectations/{case.name}.json`"]
    links += [f"`updraft registry list {case.name}`"]
    yield " · ".join(links)


def _columns(case: UseCase) -> Table:
    roles = {case.target: "target", case.id: "id"}
    roles |= {name: role for role in ("ignored", "text", "categorical") for name in getattr(case, role)}
    rows = [[column.name, column.type, roles.get(column.name, "feature"), _allowed(column)] for column in case.columns]
    return Table(["column", "type", "role", "allowed"], rows)


def _allowed(column: Column) -> str:
    if column.allowed is not None:
        more = "…" if len(column.allowed) > MAX_VALUES else ""
        return ", ".join(map(str, column.allowed[:MAX_VALUES])) + more
    low, high = (column.earliest or column.minimum), (column.latest or column.maximum)
    return f"{_end(low)} to {_end(high)}" if (low, high) != (None, None) else ""


def _end(value: object) -> str:
    return "…" if value is None else format_value(value)


def _candidates(case: UseCase) -> str:
    lines = []
    for name, candidate in case.candidates.items():
        searched = f"; searched: {escape(_pairs(candidate.search.grid))}" if candidate.search else ""
        params = escape(_pairs(candidate.params)) or "scikit-learn's defaults"
        lines.append(f"- **{escape(name)}**: {candidate.estimator}, {params}{searched}")
    return "\n".join(lines)


def _rules(case: UseCase) -> Iterator[str]:
    yield f"split by {case.split.by}; chosen by {case.choose_by} {_validated(case)}"
    if case.task == "binary":
        yield f"decision threshold: {escape(_pairs(case.threshold.model_dump(exclude_none=True)))}"
    if case.floors:
        yield f"floors: {escape(_pairs(case.floors))}"
    if case.slices:
        yield f"slices: {escape(', '.join(case.slices))}"
    gate = case.gate
    yield f"to win: {gate.metric} {gate.rule.replace('_', ' ')} by {gate.margin:g}, interval {gate.interval}"
    waits = f", for {format_hours(case.approve.hours)} at most" if case.promote == "approve" else ""
    yield f"a winner: promote is {case.promote}{waits}"
    yield f"at most {case.quarantine_budget:.2%} of the rows may be quarantined"


def _validated(case: UseCase) -> str:
    if case.validation:
        return f"on a holdout of {case.validation.holdout:.0%} of the training rows"
    automatic = case.holdout(FOLDS_UP_TO + 1)
    more = f" (of more than {FOLDS_UP_TO:,} rows: on a holdout of {automatic:.0%})" if automatic else ""
    return f"in {case.folds}-fold cross-validation{more}"


def _pairs(values: object) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items()) if isinstance(values, dict) else str(values)
