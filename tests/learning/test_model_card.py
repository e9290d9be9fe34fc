from __future__ import annotations

import base64
import math
import re
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.support.trained import Trained
from updraft.learning.model_card import _confusion
from updraft.learning.score import ScoringResult
from updraft.model.model import Model
from updraft.model.signature import Label
from updraft.stages.evaluate import evaluate
from updraft.stages.stage_folder import read_json, write_json
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


def test_long_names_of_labels_do_not_overlap(case: UseCase, trained: Trained) -> None:
    labels = tuple(Label(value=n, name=f"a rather long name of class number {n}") for n in range(8))
    many = case.model_copy(update={"task": "multiclass", "labels": labels, "positive": None})
    truth = np.arange(800) % 8
    result = ScoringResult(Model.load(trained.models[0]), truth, truth.astype(float), truth, {})
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    _confusion(axes, many, result)
    canvas.draw()
    below, beside = axes.get_xticklabels(), axes.get_yticklabels()
    line = below[0].get_fontsize() * figure.dpi / 72  # pixels
    assert line < axes.get_window_extent().width / 8 * math.sin(math.radians(below[0].get_rotation()))
    boxes = sorted((text.get_window_extent() for text in beside), key=lambda box: box.y0)
    assert all(lower.y1 <= upper.y0 for lower, upper in pairwise(boxes))
    assert all(len(text.get_text()) <= 18 for text in (*below, *beside))
    assert len({text.get_text() for text in below}) == 8


def test_a_candidate_that_is_better_on_the_held_out_rows_is_explained(
    case: UseCase, trained: Trained, tmp_path: Path
) -> None:
    candidates = read_json(trained.evaluation / "evaluation.json")["candidates"]
    best = max(candidates, key=lambda name: candidates[name][case.choose_by])
    for folder in trained.models:  # make each the chosen one in turn
        models = []
        for other in trained.models:
            copied = Path(shutil.copytree(other, tmp_path / folder.name / other.name))
            training = read_json(copied / "training.json")
            training["validation"][case.choose_by] = float(other == folder)
            write_json(copied / "training.json", training)
            models.append(copied)
        card = evaluate(case, models, trained.split, None, tmp_path / folder.name / "out") / "card.html"
        explained = f"On the held-out rows {best} would have been better" in card.read_text()
        assert explained == (read_json(folder / "training.json")["candidate"] != best)
        assert f"<th>{case.choose_by}, cross-validated</th>" in card.read_text()
