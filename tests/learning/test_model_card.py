from __future__ import annotations

import base64
import math
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.support.axe import findings_in
from tests.support.trained import Trained
from updraft.learning.card_provenance import PLACE
from updraft.learning.figures import render
from updraft.learning.model_card import _confusion, _plots, threshold_rule
from updraft.learning.score import ScoringResult
from updraft.model.model import Model
from updraft.model.signature import Label
from updraft.stages.evaluate import evaluate
from updraft.stages.stage_folder import read_json, write_json
from updraft.usecase import UseCase
from updraft.usecase.blocks import Card, Threshold


def plots(card: Path) -> list[str]:
    return [base64.b64decode(svg).decode() for svg in re.findall(r"svg\+xml;base64,([^\"]+)", card.read_text())]


def test_a_card_is_self_contained(trained: Trained) -> None:
    page = (trained.evaluation / "card.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert len(plots(trained.evaluation / "card.html")) == 6


def test_axe_finds_nothing_serious(starts_servers: None, trained: Trained, peer_environments: Path) -> None:
    page = (trained.evaluation / "card.html").read_text()
    assert findings_in(peer_environments, {"card": page}) == []
    [finding, *_] = findings_in(peer_environments, {"card": page.replace(' lang="en"', "")})
    assert "html-has-lang" in finding


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


def test_a_card_says_what_the_model_is_for_and_how_it_was_chosen(
    case: UseCase, trained: Trained, tmp_path: Path
) -> None:
    page = (trained.evaluation / "card.html").read_text()
    chosen = read_json(trained.evaluation / "evaluation.json")["chosen"]
    training = read_json(next(folder for folder in trained.models if folder.name == chosen) / "training.json")
    for words in (
        "<h2>Intended use</h2>", "<h2>Limits</h2>", "To rank customers", "by rule best_f1: the highest F1",
        f"{training['validation']['pr_auc']:.4f}", "Floors: roc_auc at least 0.75, pr_auc at least 0.25.",
        "A challenger has to beat the champion by 0.02 of f1", "0 (No), 1 (Yes)", "Age of the customer",
        "not watched: it is private", "counts of 2 values", "Predicted against actual", "Calibration curve",
        "Confusion matrix", f"Trained on {training['rows']:,} rows", PLACE,
    ):  # fmt: skip
        assert words in page, words
    odd = case.model_copy(update={"card": Card(intended_use="<b>for</b> all", limits=()), "titles": {}})
    out = evaluate(odd, trained.models, trained.split, None, tmp_path / "out")
    page = (out / "card.html").read_text()
    assert "&lt;b&gt;for&lt;/b&gt; all" in page and "Limits" not in page


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        ({"rule": "best_f1"}, "the highest F1"),
        ({"rule": "precision", "at_least": 0.8}, "the highest recall where precision is at least 0.8"),
        ({"rule": "recall", "at_least": 0.9}, "the highest precision where recall is at least 0.9"),
        ({"rule": "cost", "false_positive": 1, "false_negative": 10},
         "the lowest total cost, a false positive costing 1, a false negative 10"),
    ],
)  # fmt: skip
def test_a_rule_is_said_in_words(threshold: dict[str, Any], words: str) -> None:
    assert threshold_rule(Threshold(**threshold)) == words


def test_a_card_of_more_than_two_labels_has_a_calibration_curve(case: UseCase, trained: Trained) -> None:
    labels = tuple(Label(value=n, name=f"class {n}") for n in range(3))
    many = case.model_copy(update={"task": "multiclass", "labels": labels, "positive": None})
    scores = np.random.default_rng(0).dirichlet([1, 1, 1], 300)
    result = ScoringResult(Model.load(trained.models[0]), np.arange(300) % 3, scores, scores.argmax(axis=1), {})
    drawn = dict(_plots(many, pd.DataFrame(), result, None))
    assert list(drawn) == ["Calibration curve", "Confusion matrix", "Feature importance"]
    assert "svg" in base64.b64decode(render(drawn["Calibration curve"])).decode()


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
