"""Golden rows: inputs and scores recorded at evaluation, so that the service can check that it reproduces them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from updraft.model.prediction import ServedModel
from updraft.model.signature import BadRow

GOLDEN = "golden.json"
RTOL, ATOL = 1e-6, 1e-9  # another processor, or another build of a library, may differ in a sum's last bits


class NotReproduced(ValueError):
    """A model does not reproduce the scores of its golden rows."""


def write(model: ServedModel, rows: list[dict[str, Any]], out: Path) -> None:
    """Write `out/golden.json`: the rows and the model's scores of them, which JSON's floats reproduce to the bit."""
    scores = model.scores_of(model.signature.check(rows, plain=True)).tolist() if rows else []
    text = json.dumps({"rows": rows, "scores": scores}, indent=2, allow_nan=False, ensure_ascii=False)
    (out / GOLDEN).write_text(text + "\n", encoding="utf-8")


def replay(model: ServedModel, golden: bytes) -> None:
    """Score the golden rows, the content of a version's `golden.json`, and compare; without rows it passes.

    Raises NotReproduced, naming the row, when a score differs by more than RTOL and ATOL.
    """
    recorded = json.loads(golden)
    if not recorded["rows"]:
        return
    try:
        scores = model.scores_of(model.signature.check(recorded["rows"], plain=True))
    except BadRow as error:
        raise NotReproduced(f"the signature rejects golden row {error.errors[0]['pointer']}") from None
    expected = np.asarray(recorded["scores"], dtype="float64")
    if scores.shape != expected.shape:
        raise NotReproduced(f"golden rows: expected scores of shape {expected.shape}, found {scores.shape}")
    differing = np.argwhere(~np.isclose(scores, expected, RTOL, ATOL))
    if len(differing):
        index = tuple(differing[0])
        label = f", label {model.signature.labels[index[1]].name!r}" if len(index) > 1 else ""
        message = f"expected {float(expected[index])!r}, found {float(scores[index])!r}"
        raise NotReproduced(f"golden row {index[0]}{label}: {message}")
