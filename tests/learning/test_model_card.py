from __future__ import annotations

import base64
import re
from pathlib import Path

from tests.support.trained import Trained
from updraft.model.signature import Label
from updraft.stages.evaluate import evaluate
from updraft.stages.stage_folder import read_json
from updraft.usecase import UseCase


def plots(card: Path) -> list[str]:
    return [base64.b64decode(svg).decode() for svg in re.findall(r"svg\+xml;base64,([^\"]+)", card.read_text())]


def test_a_card_is_self_contained(trained: Trained) -> None:
    page = (trained.evaluation / "card.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert len(plots(trained.evaluation / "card.html")) == 5


def test_names_are_drawn_literally_and_escaped(case: UseCase, trained: Trained, tmp_path: Path) -> None:
    odd = case.model_copy(
        update={
            "labels": (Label(value=0, name="$"), Label(value=1, name="$$ <b>")),
            "title": "<script>alert(1)</script>",
        }
    )
    out = evaluate(odd, trained.models, trained.split, None, tmp_path / "out")
    assert read_json(out / "evaluation.json")["decision"] == "promote"
    assert "<script>" not in (out / "card.html").read_text()
