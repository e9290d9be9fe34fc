"""What a tracker records of a training run: from a version in the registry, or from the files of a run without one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from updraft.model.version_files import CARD, EVALUATION
from updraft.registry.registry import Registry, Version

Metrics = dict[str, float]
Params = dict[str, str]


@dataclass(frozen=True)
class Candidate:
    """A candidate of a run: how its estimator was set, and its metrics, held out and validated."""

    name: str
    params: Params
    metrics: Metrics


@dataclass(frozen=True)
class RunRecord:
    """A training run. `key` is unique: the run's id and the first digits of its model's sha256.

    `at` is when it ended, in milliseconds; `facts` are texts by which people find it again.
    """

    key: str
    at: int
    params: Params
    metrics: Metrics
    facts: dict[str, str]
    url: str | None = None
    commit: str | None = None
    note: str = ""
    candidates: list[Candidate] = field(default_factory=list)
    card: bytes | None = None

    @property
    def run_id(self) -> str:
        """The id of the run in Airflow, or of the shell's."""
        return self.key.rpartition("~")[0] or self.key


def read_version(registry: Registry, name: str, number: int) -> tuple[Version, RunRecord]:
    """Read a version and its run out of the registry, verified. Raises VerificationError."""
    version, _, _ = registry.read_verified(name, number)
    files = registry.read(name, number, [file for file in (EVALUATION, CARD) if file in version.files])
    return version, of_version(version, files)


def of_version(version: Version, files: Mapping[str, bytes]) -> RunRecord:
    """Describe the run that made a version; an earlier Updraft, or another program, may have stored less of it."""
    manifest = version.manifest
    facts = {key: manifest.get(key) for key in ("data_sha256", "suite_sha256", "configuration_sha256")}
    dataset = manifest.get("dataset")
    return of_run(
        str(manifest["run_id"]),
        datetime.fromisoformat(str(manifest["created_at"])),
        json.loads(files[EVALUATION]) if EVALUATION in files else {},
        facts | {"rows": dataset.get("rows") if isinstance(dataset, dict) else None, "version": version.number},
        card=files.get(CARD),
        url=manifest.get("run_url"),
        commit=manifest.get("code_commit"),
        chosen={key: manifest[key] for key in ("params", "metrics", "threshold") if key in manifest},
    )


def of_run(
    key: str,
    ended: datetime,
    evaluation: Mapping[str, Any],
    facts: Mapping[str, object],
    *,
    card: bytes | None,
    url: str | None,
    commit: str | None,
    chosen: Mapping[str, Any] | None = None,
) -> RunRecord:
    """Describe a run by its evaluation; `chosen` has what a manifest says of the chosen model."""
    chosen = {**evaluation, **(chosen or {})}
    comparison = evaluation.get("champion") or {}
    decision = {key: evaluation.get(key) for key in ("decision", "chosen", "task")}
    return RunRecord(
        key=key,
        at=int(ended.timestamp() * 1000),
        params=_params(chosen.get("params")) | _params({"threshold": chosen.get("threshold")}),
        metrics=_metrics(chosen.get("metrics"))
        | _metrics(evaluation.get("validation", {}).get(evaluation.get("chosen")), "validation/")
        | _metrics(comparison.get("metrics"), "champion/"),
        facts={name: str(value) for name, value in (decision | dict(facts)).items() if value is not None},
        url=url,
        commit=commit,
        note=str(evaluation.get("reason", "")),
        candidates=[_candidate(evaluation, name) for name in evaluation.get("candidates", {})],
        card=card,
    )


def _candidate(evaluation: Mapping[str, Any], name: str) -> Candidate:
    params = evaluation.get("candidate_params", {}).get(name)
    if params is None and name == evaluation["chosen"]:  # of an earlier Updraft
        params = evaluation.get("params")
    metrics = _metrics(evaluation["candidates"][name])
    return Candidate(name, _params(params), metrics | _metrics(evaluation["validation"].get(name), "validation/"))


def _params(values: object) -> Params:
    pairs = values.items() if isinstance(values, dict) else ()
    return {str(name): as_text(value) for name, value in pairs if value is not None}


def as_text(value: object) -> str:
    """Return a value as people read it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _metrics(values: object, prefix: str = "") -> Metrics:
    """Return the numbers among the metrics: one that is undefined on these rows is none."""
    pairs = values.items() if isinstance(values, dict) else ()
    numbers = {prefix + str(name): value for name, value in pairs if isinstance(value, int | float)}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}
