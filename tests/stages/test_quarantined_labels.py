"""A quarantine that falls on one label more than on another is said: in the log, in the facts and on the card."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.small_cases import integer, real, small_case, text
from updraft.sources.files import File
from updraft.stages.evaluate import evaluate
from updraft.stages.ingest import ingest
from updraft.stages.stage_folder import read_json
from updraft.stages.train import train
from updraft.stages.transform import transform
from updraft.usecase import UseCase

COLUMNS = [integer("x"), real("z"), text("y", nullable=False, allowed=("ham", "spam"))]
LABELS = [{"value": "ham", "name": "ham"}, {"value": "spam", "name": "spam"}]


def case(folder: Path, **yaml: Any) -> UseCase:
    return small_case(COLUMNS, folder=folder, labels=LABELS, positive="spam", quarantine_budget=0.5, **yaml)


def rows(path: Path, lost: dict[str, int], name: str = "y") -> Path:
    """Write 400 rows, 100 of them spam, of which some have no number."""
    random = np.random.default_rng(0)
    labels = ["spam" if number % 4 == 0 else "ham" for number in range(400)]
    left = dict(lost)
    lines = [f"x,z,{name}"]
    for label in labels:
        left[label] = left.get(label, 0) - 1
        x = "many" if left[label] >= 0 else str(random.integers(0, 9) + 5 * (label == "spam"))
        lines.append(f"{x},{random.random():.3f},{label}")
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize(
    ("lost", "is_said"),
    [
        ({"spam": 34, "ham": 15}, True),
        ({"spam": 30}, True),
        ({"spam": 5}, False),  # a handful
        ({"spam": 34, "ham": 100}, False),  # as many of both
    ],
)
@pytest.mark.parametrize("renamed", [False, True])
def test_an_uneven_quarantine_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, lost: dict[str, int], is_said: bool, renamed: bool
) -> None:
    small = case(tmp_path, **({"read": {"rename": {"v1": "y"}}} if renamed else {}))
    file = rows(tmp_path / "rows.csv", lost, "v1" if renamed else "y")
    with caplog.at_level(logging.WARNING):
        ingest(small, File(file, small), tmp_path / "ingest")
    assert ("quarantined unevenly by y" in caplog.text) == is_said
    facts = read_json(tmp_path / "ingest" / "ingest.json")
    assert facts["quarantined_by_label"]["spam"] == {
        "rows": 100, "quarantined": lost["spam"], "share": lost["spam"] / 100
    }  # fmt: skip
    assert bool(facts["uneven_quarantine"]) == is_said


def test_the_card_says_it(tmp_path: Path) -> None:
    small = case(tmp_path)
    file = rows(tmp_path / "rows.csv", {"spam": 34, "ham": 15})
    split = transform(small, ingest(small, File(file, small), tmp_path / "ingest"), tmp_path / "split")
    model = train(small, "simple", split, tmp_path / "model")
    out = evaluate(small, [model], split, None, tmp_path / "evaluation")
    sentence = "34.0% of &#39;spam&#39; (34 of 100), 5.0% of &#39;ham&#39; (15 of 300)"
    assert sentence in (out / "card.html").read_text()
