"""The model card: one HTML page that needs nothing else, with the pictures people ask for first."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from updraft.learning.metrics import Truth, gain, measure
from updraft.learning.score import ScoringResult
from updraft.usecase import UseCase

if TYPE_CHECKING:
    from matplotlib.axes import Axes


CARD = "card.html"
IMPORTANCE_ROWS, IMPORTANCE_REPEATS = 1000, 3
POINTS, LEAST_BARS = 2000, 6

Draw = Callable[["Axes"], object]


def write(
    case: UseCase,
    evaluation: dict[str, Any],
    frame: pd.DataFrame,
    chosen: ScoringResult,
    rival: ScoringResult | None,
    path: Path,
) -> None:
    """Write the card of the chosen model: `frame` holds the held-out rows, `rival` is the champion on the same."""
    import jinja2

    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        files("updraft.learning").joinpath("model_card.html.j2").read_text(encoding="utf-8")
    )
    page = template.render(
        case=case,
        evaluation=evaluation,
        signature=chosen.model.signature,
        metrics=list(case.metrics),
        pictures=[(title, _picture(draw)) for title, draw in _pictures(case, frame, chosen, rival)],
    )
    path.write_text(page, encoding="utf-8")


def _pictures(
    case: UseCase, frame: pd.DataFrame, chosen: ScoringResult, rival: ScoringResult | None
) -> list[tuple[str, Draw]]:
    """List the pictures of a task, each with what draws it."""
    importance = ("Importance of the features", partial(_importance, case=case, frame=frame, chosen=chosen))
    confusion = ("Confusion", partial(_confusion, case=case, chosen=chosen))
    if case.task == "regression":
        found = ("Found against true", partial(_found_against_true, chosen=chosen))
        return [found, ("Errors", partial(_errors, chosen=chosen)), importance]
    if case.task == "multiclass":
        return [confusion, importance]
    return [
        ("Receiver operating characteristic", partial(_roc, chosen=chosen, rival=rival)),
        ("Precision and recall", partial(_precision_recall, chosen=chosen, rival=rival)),
        ("Calibration", partial(_calibration, chosen=chosen)),
        confusion,
        importance,
    ]


def _picture(draw: Draw) -> str:
    """Draw on a fresh figure and return it as the base64 of an SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({
        "svg.hashsalt": "updraft",
        "text.parse_math": False,
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }):
        figure = Figure(figsize=(4.6, 3.6), layout="constrained")
        draw(figure.subplots())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return base64.b64encode(buffer.getvalue()).decode()


def _roc(axes: Axes, chosen: ScoringResult, rival: ScoringResult | None) -> None:
    from sklearn.metrics import RocCurveDisplay

    for name, scored in _both(chosen, rival):
        RocCurveDisplay.from_predictions(scored.truth, scored.scores, ax=axes, name=name)
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")


def _precision_recall(axes: Axes, chosen: ScoringResult, rival: ScoringResult | None) -> None:
    from sklearn.metrics import PrecisionRecallDisplay

    for name, scored in _both(chosen, rival):
        PrecisionRecallDisplay.from_predictions(scored.truth, scored.scores, ax=axes, name=name, drop_intermediate=True)
    axes.axhline(chosen.truth.mean(), linestyle=":", color="grey")
    axes.plot(chosen.metrics["recall"], chosen.metrics["precision"], "o", label="at the threshold")
    axes.legend(loc="lower left")
    axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02))


def _calibration(axes: Axes, chosen: ScoringResult) -> None:
    from sklearn.calibration import CalibrationDisplay

    CalibrationDisplay.from_predictions(
        chosen.truth, chosen.scores, n_bins=10, strategy="quantile", ax=axes, name="challenger"
    )
    axes.set(xlabel="mean predicted probability, by tenths of the rows", ylabel="share of positives")


def _confusion(axes: Axes, case: UseCase, chosen: ScoringResult) -> None:
    from sklearn.metrics import ConfusionMatrixDisplay

    labels = sorted(case.labels, key=lambda label: label.value == case.positive)  # as `truth` counts: false, true
    ConfusionMatrixDisplay.from_predictions(
        chosen.truth,
        chosen.decisions,
        labels=list(range(len(labels))),
        display_labels=[label.name for label in labels],
        ax=axes,
        values_format=",d",
        cmap="Blues",
        colorbar=False,
        xticks_rotation=0 if len(labels) < 4 else 45,
    )


def _found_against_true(axes: Axes, chosen: ScoringResult) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    rows = pd.Series(chosen.truth).sample(min(POINTS, len(chosen.truth)), random_state=0).index
    axes.scatter(chosen.truth[rows], chosen.scores[rows], s=6, alpha=0.35, linewidths=0)
    ends = [float(chosen.truth.min()), float(chosen.truth.max())]
    axes.plot(ends, ends, linestyle=":", color="grey")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(EngFormatter(sep=""))
    axes.set(xlabel="true", ylabel=f"found, {len(rows):,} rows")


def _errors(axes: Axes, chosen: ScoringResult) -> None:
    errors = pd.Series(chosen.scores - chosen.truth)
    low, high = errors.quantile([0.005, 0.995])
    axes.hist(errors.clip(low, high), bins=60)
    axes.axvline(0, linestyle=":", color="grey")
    axes.set(xlabel="found minus true, the outermost 0.5 % at the edges", ylabel="rows")


def _importance(axes: Axes, case: UseCase, frame: pd.DataFrame, chosen: ScoringResult) -> None:
    """Draw by how much the choosing metric falls when a column is shuffled (permutation importance, Breiman 2001)."""
    from sklearn.inspection import permutation_importance

    rows = pd.Series(chosen.truth).sample(min(IMPORTANCE_ROWS, len(frame)), random_state=case.seed).index
    features = frame.iloc[rows][[column.name for column in chosen.model.signature.columns]]

    def score(_: Any, shuffled: pd.DataFrame, truth: Truth) -> float:
        scores = chosen.model.scores(shuffled)
        return gain(case.choose_by, measure(case.choose_by, truth, scores, chosen.model.decide(scores)), 0.0)

    found = permutation_importance(
        chosen.model.pipeline,
        features,
        chosen.truth[rows],
        scoring=score,
        n_repeats=IMPORTANCE_REPEATS,
        random_state=case.seed,
        n_jobs=1,
    )
    ranked = pd.DataFrame({"mean": found.importances_mean, "std": found.importances_std}, index=features.columns)
    ranked = ranked.sort_values("mean").tail(15)
    axes.barh(ranked.index, ranked["mean"], xerr=ranked["std"], height=0.8)
    axes.set_ylim(-0.5, max(len(ranked), LEAST_BARS) - 0.5)
    axes.set(xlabel=f"{case.choose_by} lost when shuffled, {len(rows):,} rows")


def _both(chosen: ScoringResult, rival: ScoringResult | None) -> list[tuple[str, ScoringResult]]:
    return [("challenger", chosen)] + ([("champion", rival)] if rival else [])
