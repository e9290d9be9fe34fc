"""Two versions of a model side by side: where they come from, their metrics, and what differs of their inputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from serving.openapi import schemas
from updraft.model.signature import Signature
from updraft.model.version_files import EVALUATION, SIGNATURE
from updraft.registry.overview.known_versions import VersionFacts, describe
from updraft.registry.registry import Version
from updraft.registry.states import States

ReadFile = Callable[[int, str], bytes | None]


@dataclass(frozen=True)
class Side:
    """A version, its evaluation ({} without one), and its signature, if this Updraft can read it."""

    version: Version
    evaluation: Mapping[str, Any]
    signature: Signature | None

    @property
    def facts(self) -> VersionFacts:
        """What is shown of the version elsewhere, too."""
        return describe(self.version.number, self.version.manifest, self.version.model_sha256)


@dataclass(frozen=True)
class Line:
    """A line of the comparison; `differs` where it is to be looked at."""

    title: str
    left: str
    right: str
    differs: bool


@dataclass(frozen=True)
class MetricLine:
    """A metric of both versions, and by how much the second one's is greater."""

    name: str
    left: float | None
    right: float | None

    @property
    def difference(self) -> float | None:
        return None if self.left is None or self.right is None else self.right - self.left


def side(version: Version, files: ReadFile) -> Side:
    """Read what is compared of a version."""
    content = files(version.number, EVALUATION) if EVALUATION in version.files else None
    try:
        evaluation = json.loads(content) if content else {}
    except ValueError:
        evaluation = {}
    try:
        signature = Signature.model_validate_json(files(version.number, SIGNATURE) or b"")
    except ValidationError:
        signature = None
    return Side(version, evaluation if isinstance(evaluation, dict) else {}, signature)


def values(left: Side, right: Side, *, states: States) -> dict[str, Any]:
    """Return the template's values."""
    metrics, same_rows = _metrics(left, right)
    choose_by = right.facts.choose_by or left.facts.choose_by
    facts = _lines(_facts(left, states), _facts(right, states))
    inputs = [line for line in _lines(_inputs(left), _inputs(right)) if line.differs]
    ordered = sorted(metrics, key=lambda name: name != choose_by)
    return {
        "left": left,
        "right": right,
        "choose_by": choose_by,
        "metrics": [MetricLine(name, *metrics[name]) for name in ordered],
        "same_rows": same_rows,
        "facts": facts,
        "inputs": inputs,
        "readable": left.signature is not None and right.signature is not None,
    }


def _metrics(left: Side, right: Side) -> tuple[dict[str, tuple[float | None, float | None]], int | None]:
    """Return each metric of both, and of how many rows where these were the same for both.

    They were when one was evaluated against the other; else each has the metrics of its own held-out rows.
    """
    pair = [left.facts.metrics, right.facts.metrics]
    rows = None
    for this, other in ((0, 1), (1, 0)):
        evaluation, rival = (left, right)[this].evaluation, (left, right)[other].version.number
        against = evaluation.get("champion")
        if isinstance(against, dict) and against.get("version") == rival and isinstance(against.get("metrics"), dict):
            pair[other], rows = describe(0, against, None).metrics, evaluation.get("rows")
            break
    names = dict.fromkeys([*pair[1], *pair[0]])
    return {name: (pair[0].get(name), pair[1].get(name)) for name in names}, rows


def _facts(side: Side, states: States) -> dict[str, str]:
    """Return where a version comes from, in words."""
    version, manifest = side.version, side.version.manifest
    dataset = manifest.get("dataset")
    rows = dataset.get("rows") if isinstance(dataset, dict) else None
    serving = manifest.get("serving")
    threshold = manifest.get("threshold")
    return {
        "State": states.of(version.number, version.model_sha256),
        "Made": _minute(manifest.get("created_at")),
        "Model": str(manifest.get("candidate", "")).replace("_", " "),
        "Parameters": _members(manifest.get("params")) or "scikit-learn's defaults",
        "Threshold": f"{threshold:.4f}" if isinstance(threshold, int | float) else "",
        "Rows of the dataset": f"{rows:,}" if isinstance(rows, int) else "",
        "Dataset, sha256": _short(manifest.get("data_sha256")),
        "Suite, sha256": _short(manifest.get("suite_sha256")),
        "Configuration, sha256": _short(manifest.get("configuration_sha256")),
        "Seed": str(manifest.get("seed", "")),
        "Commit": _short(manifest.get("code_commit")),
        "Run": str(manifest.get("run_id", "")).partition("~")[0],
        "Libraries": _members(manifest.get("libraries")),
        "Served": str(serving.get("form", "")) if isinstance(serving, dict) else "",
        "Model, sha256": _short(version.model_sha256),
        "Decision": f"{side.evaluation.get('decision', '')}: {side.evaluation.get('reason', '')}".strip(": "),
    }


def _inputs(side: Side) -> dict[str, str]:
    """Return what each column accepts."""
    signature = side.signature
    return {column.name: schemas.describe(column, signature) for column in signature.columns} if signature else {}


def _lines(left: Mapping[str, str], right: Mapping[str, str]) -> list[Line]:
    """Pair what both sides say under each title; what neither says is left out."""
    titles = dict.fromkeys([*left, *right])
    pairs = ((title, left.get(title, ""), right.get(title, "")) for title in titles)
    return [Line(title, one, other, one != other) for title, one, other in pairs if one or other]


def _members(value: Any) -> str:
    return ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, dict) else ""


def _minute(value: Any) -> str:
    return f"{str(value)[:16].replace('T', ' ')} UTC" if value else ""


def _short(value: Any) -> str:
    """Return the first digits of a hash, which are enough to tell two apart."""
    return str(value)[:12] if value else ""
