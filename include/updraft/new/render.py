"""A guessed use case, and the text of its two files."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from ruamel.yaml import YAML

from updraft.model.columns import DATE
from updraft.model.signature import Task
from updraft.new.column_roles import TargetSpec, duplicates
from updraft.new.column_types import ColumnProfile
from updraft.new.guess_demo import guess_demo, name_of
from updraft.new.guess_suite import guess_expectations
from updraft.new.read_file import FileSample
from updraft.usecase.blocks import Reading

TEMPLATE = Path(__file__).with_name("usecase.yaml.j2")
DEFAULTS: dict[Task, dict[str, str]] = {
    "binary": {"choose_by": "pr_auc", "gate": "f1", "floors": "{roc_auc: 0.7}", "max_gap": "{roc_auc: 0.1}"},
    "multiclass": {
        "choose_by": "f1_macro",
        "gate": "f1_macro",
        "floors": "{accuracy: 0.8}",
        "max_gap": "{accuracy: 0.1}",
    },
    "regression": {"choose_by": "r2", "gate": "r2", "floors": "{r2: 0.5}", "max_gap": "{r2: 0.1}"},
}


@dataclass
class Draft:
    """A guessed use case: the file's sample, its columns, the target's task, and notes for a person to check."""

    name: str
    sample: FileSample
    columns: list[ColumnProfile]
    spec: TargetSpec
    rename: dict[str, str]
    task_given: bool  # by the user, so it is not a guess
    notes: list[str] = field(default_factory=list)
    quarantined_share: float = 0.0

    def of(self, role: str) -> list[ColumnProfile]:
        return [column for column in self.columns if column.role == role]

    @property
    def target(self) -> ColumnProfile:
        return self.of("target")[0]


def suite_text(draft: Draft) -> str:
    """Return the suite, an expectation per line."""
    lines = (
        json.dumps(each, ensure_ascii=False, allow_nan=False) for each in guess_expectations(draft.columns, draft.spec)
    )
    name, entries = json.dumps(draft.name), ",\n    ".join(lines)
    return f'{{\n  "name": {name},\n  "expectations": [\n    {entries}\n  ]\n}}\n'


def yaml_text(draft: Draft) -> str:
    """Render the YAML; comments say what is a guess."""
    reading, target = draft.sample.reading, draft.target
    environment = Environment(  # noqa: S701  (YAML, not HTML)
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.globals |= {"y": _scalar, "comment": _comment}
    dates = [column.name for column in draft.columns if column.type == DATE]
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        **DEFAULTS[draft.spec.task],
        name=draft.name,
        file=draft.sample.path.name,
        rows=f"{len(draft.sample.frame):,}",
        title=f"{draft.name.replace('_', ' ').capitalize()}: what is {target.name}?",
        encoding=None if reading.encoding == Reading().encoding else reading.encoding,
        delimiter=None if reading.delimiter == Reading().delimiter else reading.delimiter,
        rename=[(theirs, ours) for theirs, ours in draft.rename.items() if ours in {c.name for c in draft.columns}],
        casts=[column for column in draft.columns if column.casts],
        dates=[column for column in draft.columns if column.dates],
        task=draft.spec.task,
        task_given=draft.task_given,
        target=target.name,
        id=next(iter(draft.of("id")), None),
        text=[column.name for column in draft.of("text")],
        categorical=[column.name for column in draft.of("categorical")],
        ignored=draft.of("ignored"),
        labels=[(label, name_of(label, target)) for label in draft.spec.labels],
        positive=draft.spec.positive,
        date=dates[0] if dates else None,
        repeated=duplicates(draft.columns),
        budget=_quarantine_budget(draft.quarantined_share),
        quarantined_share=draft.quarantined_share,
        candidates=_candidates(draft),
        demo=guess_demo(draft.columns, target, draft.spec),
    )


def _quarantine_budget(share: float) -> float:
    """Leave room for half as many quarantined rows again as this file has, so that an ordinary month passes."""
    return min(1.0, round(max(0.01, 1.5 * share + 0.005), 2)) if share else 0.01


def _candidates(draft: Draft) -> dict[str, Any]:
    """Return suitable estimators: two of trees and a linear one; with text, those that take sparse matrices."""
    leaf = max(2, len(draft.sample.frame) // 5000)  # keeps a forest below 100 MB
    if draft.spec.task == "regression":
        ridge = {"ridge": {"estimator": "Ridge"}}
        forest = {"estimator": "RandomForestRegressor", "params": {"n_estimators": 100, "min_samples_leaf": leaf}}
        boosting = {"estimator": "HistGradientBoostingRegressor"}
        return ridge if draft.of("text") else {"random_forest": forest, "hist_gradient_boosting": boosting} | ridge
    logistic = {"logistic_regression": {"estimator": "LogisticRegression"}}
    if draft.of("text"):
        return logistic | {"linear_svc": {"estimator": "LinearSVC"}}
    forest = {"estimator": "RandomForestClassifier", "params": {"n_estimators": 100, "min_samples_leaf": leaf}}
    boosting = {"estimator": "HistGradientBoostingClassifier"}
    return {"random_forest": forest, "hist_gradient_boosting": boosting} | logistic


def _scalar(value: Any) -> str:
    """Format a value as one line of YAML, quoted where YAML would read something else."""
    if isinstance(value, str) and not value.isprintable():
        return json.dumps(value)  # YAML's own quoting would fold line ends
    yaml, text = YAML(typ="safe", pure=True), StringIO()
    yaml.default_flow_style, yaml.width = True, sys.maxsize
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(value, text)
    return text.getvalue().strip().removesuffix("...").strip()


def _comment(text: str) -> str:
    return f"  # {' '.join(text.split())}" if text else ""
