"""Versions with metrics and an evaluation, made a week apart: what pages show of a use case over time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from updraft.registry.registry import Registry
from updraft.registry.s3 import json_bytes, key_for

FIRST = datetime(2026, 8, 3, 3, 15, tzinfo=UTC)


def push_measured(
    registry: Registry, name: str, folder: Path, values: Sequence[float], champions: Sequence[int | None] = ()
) -> None:
    """Push a version for each value of pr_auc, evaluated against the champion that stands beside it, if any."""
    for number, value in enumerate(values, 1):
        champion = champions[number - 1] if champions else None
        _push(registry, name, folder / f"{name} {number}", number, value, _against(champion, values, value))


def _against(champion: int | None, values: Sequence[float], value: float) -> dict[str, Any] | None:
    if champion is None:
        return None
    old = values[champion - 1] - 0.004  # on the challenger's rows it is not what it was on its own
    return {
        "version": champion,
        "metrics": _metrics(old),
        "challenger": value,
        "champion": old,
        "gain": value - old,
        "interval": [value - old - 0.006, value - old + 0.006],
        "same_split": True,
    }


def _push(
    registry: Registry, name: str, folder: Path, number: int, value: float, champion: dict[str, Any] | None
) -> None:
    folder.mkdir(parents=True)
    (folder / "model.joblib").write_bytes(f"{name} {number}".encode())
    evaluation = {
        "rows": 4000,
        "metrics": _metrics(value),
        "champion": champion,
        "gate": {"metric": "pr_auc"},
        "decision": "promote",
        "reason": "pr_auc beats the champion's by 0.002" if champion else "there is no champion yet",
    }
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    registry.bucket.create_if_missing()
    # The number is claimed before the push, so that the version is as old as it should look.
    claimed = {"run_id": f"run {number}", "claimed_at": (FIRST + timedelta(weeks=number)).isoformat()}
    registry.bucket.create(key_for(name, f"versions/{number:04d}/claim.json"), json_bytes(claimed))
    registry.bucket.create(key_for(name, f"runs/run%20{number}.json"), json_bytes({"version": number}))
    metadata = {"candidate": "gradient_boosting" if number % 2 else "logistic", "metrics": _metrics(value)}
    assert registry.push(name, folder, metadata, f"run {number}").number == number


def _metrics(value: float) -> dict[str, float]:
    return {"pr_auc": value, "roc_auc": value + 0.21, "f1": value - 0.02, "precision": value - 0.08, "recall": 0.81}
