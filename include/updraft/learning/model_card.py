"""The model card: one self-contained HTML page with a model's metrics, plots and inputs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from updraft.learning.figures import Draw, render
from updraft.learning.metrics import METRICS, Truth, gain, measure
from updraft.learning.score import ScoringResult
from updraft.model.number_format import format_metric
from updraft.model.version_files import CARD as CARD
from updraft.usecase import UseCase
from updraft.usecase.blocks import Threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes


IMPORTANCE_ROWS, IMPORTANCE_REPEATS = 1000, 3  # each column of each repeat is one more prediction of these rows
MAX_FEATURES = 15  # bars of the importance plot
MAX_POINTS = 2000  # of the scatter plot, each an element of the SVG
MIN_BARS = 6  # room for so many bars: fewer would be drawn very thick

BINS = 25  # of predicted probabilities
MAX_NAME = 18  # characters of a label's name beside the confusion matrix
MAX_SIDE_BY_SIDE = 30  # characters of all names below it
MAX_COUNTED = 12  # labels up to which its cells show their counts


def write(
    case: UseCase,
    evaluation: dict[str, Any],
    watched: Mapping[str, str],
    frame: pd.DataFrame,
    chosen: ScoringResult,
    champion: ScoringResult | None,
    path: Path,
) -> None:
    """Write the card of the chosen model: `frame` holds the held-out rows, `champion` its scores on the same rows.

    `watched` says how the drift of each column is measured. `push` fills in what is known of the version by then.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["metric"] = format_metric
    template = environment.from_string(
        files("updraft.learning").joinpath("model_card.html.j2").read_text(encoding="utf-8")
    )
    page = template.render(
        case=case,
        evaluation=evaluation,
        signature=chosen.model.signature,
        metrics=list(case.metrics),
        lower=[name for name in case.metrics if METRICS[name].better == "lower"],
        watched=watched,
        threshold_rule=threshold_rule(case.threshold),
        better=_better_on_held_out(case, evaluation),
        plots=[(title, render(draw)) for title, draw in _plots(case, frame, chosen, champion)],
    )
    path.write_text(page, encoding="utf-8")


def threshold_rule(threshold: Threshold) -> str:
    """Say in words how a decision threshold is chosen."""
    if threshold.rule == "cost":
        costs = f"a false positive costing {threshold.false_positive:g}, a false negative {threshold.false_negative:g}"
        return f"the lowest total cost, {costs}"
    if threshold.rule == "best_f1":
        return "the highest F1"
    other = "recall" if threshold.rule == "precision" else "precision"
    return f"the highest {other} where {threshold.rule} is at least {threshold.at_least:g}"


def _better_on_held_out(case: UseCase, evaluation: dict[str, Any]) -> list[str]:
    """List the candidates that are better on the held-out rows than the one that was chosen without them."""
    values = {name: metrics[case.choose_by] for name, metrics in evaluation["candidates"].items()}
    return [name for name, value in values.items() if gain(case.choose_by, value, values[evaluation["chosen"]]) > 0]


def _plots(
    case: UseCase, frame: pd.DataFrame, chosen: ScoringResult, champion: ScoringResult | None
) -> list[tuple[str, Draw]]:
    """List the plots of a task: titles and functions that draw on axes."""
    importance = ("Feature importance", partial(_importance, case=case, frame=frame, chosen=chosen))
    confusion = ("Confusion matrix", partial(_confusion, case=case, chosen=chosen))
    if case.task == "regression":
        scatter = ("Predicted against actual", partial(_predicted_against_actual, chosen=chosen))
        return [scatter, ("Prediction errors", partial(_errors, chosen=chosen)), importance]
    actual = ("Predicted against actual", partial(_probability_by_label, case=case, chosen=chosen))
    if case.task == "multiclass":
        return [("Calibration curve", partial(_calibration_of_labels, chosen=chosen)), confusion, importance]
    return [
        ("ROC curve", partial(_roc, chosen=chosen, champion=champion)),
        ("Precision-recall curve", partial(_precision_recall, chosen=chosen, champion=champion)),
        ("Calibration curve", partial(_calibration, chosen=chosen)),
        actual,
        confusion,
        importance,
    ]


def _roc(axes: Axes, chosen: ScoringResult, champion: ScoringResult | None) -> None:
    from sklearn.metrics import RocCurveDisplay

    for name, scored in _both(chosen, champion):
        RocCurveDisplay.from_predictions(scored.truth, scored.scores, ax=axes, name=name)
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")


def _precision_recall(axes: Axes, chosen: ScoringResult, champion: ScoringResult | None) -> None:
    from sklearn.metrics import PrecisionRecallDisplay

    for name, scored in _both(chosen, champion):
        PrecisionRecallDisplay.from_predictions(scored.truth, scored.scores, ax=axes, name=name, drop_intermediate=True)
    axes.axhline(chosen.truth.mean(), linestyle=":", color="grey")
    axes.plot(chosen.metrics["recall"], chosen.metrics["precision"], "o", label="at the decision threshold")
    axes.legend(loc="lower left")
    axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02))


def _calibration(axes: Axes, chosen: ScoringResult) -> None:
    from sklearn.calibration import CalibrationDisplay

    CalibrationDisplay.from_predictions(
        chosen.truth, chosen.scores, n_bins=10, strategy="quantile", ax=axes, name="challenger"
    )
    axes.set(xlabel="mean predicted probability, by deciles of the rows", ylabel="fraction of positives")


def _calibration_of_labels(axes: Axes, chosen: ScoringResult) -> None:
    from sklearn.calibration import CalibrationDisplay

    right = chosen.decisions == chosen.truth
    CalibrationDisplay.from_predictions(
        right, chosen.scores.max(axis=1), n_bins=10, strategy="quantile", ax=axes, name="challenger"
    )
    axes.set(xlabel="mean probability of the predicted label, by deciles of the rows", ylabel="fraction that is right")


def _probability_by_label(axes: Axes, case: UseCase, chosen: ScoringResult) -> None:
    """Draw how the predicted probabilities of the rows of each label are spread, each label's bars adding up to 1."""
    for value, label in enumerate(sorted(case.labels, key=lambda label: label.value == case.positive)):
        scores = chosen.scores[chosen.truth == value]
        weights = np.full(len(scores), 1 / max(len(scores), 1))
        name = f"actual: {_short(label.name)}, {len(scores):,} rows"
        axes.hist(scores, bins=BINS, range=(0, 1), weights=weights, alpha=0.6, label=name)
    axes.axvline(chosen.model.signature.threshold or 0.0, linestyle=":", color="grey", label="decision threshold")
    axes.legend()
    axes.set(xlabel="predicted probability", ylabel="share of the label's rows")


def _confusion(axes: Axes, case: UseCase, chosen: ScoringResult) -> None:
    from sklearn.metrics import ConfusionMatrixDisplay

    labels = sorted(case.labels, key=lambda label: label.value == case.positive)  # as `truth` counts: false, true
    names = [_short(label.name) for label in labels]
    ConfusionMatrixDisplay.from_predictions(
        chosen.truth,
        chosen.decisions,
        labels=list(range(len(labels))),
        display_labels=names,
        ax=axes,
        values_format=",d",
        cmap="Blues",
        colorbar=False,
        include_values=len(labels) <= MAX_COUNTED,
    )
    # Names next to each other share the width of the plot; slanted, each needs the height of a line only.
    if sum(map(len, names)) > MAX_SIDE_BY_SIDE:
        axes.tick_params("x", labelsize=8 if len(labels) <= MAX_COUNTED else 5)
        axes.tick_params("y", labelsize=8 if len(labels) <= MAX_COUNTED else 5)
        for text in axes.get_xticklabels():
            text.set(rotation=45, ha="right", rotation_mode="anchor")


def _short(name: str) -> str:
    """Leave out the middle of a long name: names of a kind often differ at their ends."""
    half = (MAX_NAME - 1) // 2
    return name if len(name) <= MAX_NAME else f"{name[:half]}…{name[-half:]}"


def _predicted_against_actual(axes: Axes, chosen: ScoringResult) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    rows = pd.Series(chosen.truth).sample(min(MAX_POINTS, len(chosen.truth)), random_state=0).index
    axes.scatter(chosen.truth[rows], chosen.scores[rows], s=6, alpha=0.35, linewidths=0)
    ends = [float(chosen.truth.min()), float(chosen.truth.max())]
    axes.plot(ends, ends, linestyle=":", color="grey")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(EngFormatter(sep=""))
    axes.set(xlabel="actual", ylabel=f"predicted, {len(rows):,} rows")


def _errors(axes: Axes, chosen: ScoringResult) -> None:
    errors = pd.Series(chosen.scores - chosen.truth)
    low, high = errors.quantile([0.005, 0.995])  # a single gross error would squeeze the rest into one bar
    axes.hist(errors.clip(low, high), bins=60)
    axes.axvline(0, linestyle=":", color="grey")
    axes.set(xlabel="predicted minus actual, the outermost 0.5 % at the edges", ylabel="rows")


def _importance(axes: Axes, case: UseCase, frame: pd.DataFrame, chosen: ScoringResult) -> None:
    """Draw by how much the metric `choose_by` gets worse when a column is shuffled (Breiman 2001)."""
    from sklearn.inspection import permutation_importance

    rows = pd.Series(chosen.truth).sample(min(IMPORTANCE_ROWS, len(frame)), random_state=case.seed).index
    features = frame.iloc[rows][[column.name for column in chosen.model.signature.columns]]

    def score(_: Any, shuffled: pd.DataFrame, truth: Truth) -> float:
        scores = chosen.model.scores(shuffled)
        return gain(case.choose_by, measure(case.choose_by, truth, scores, chosen.model.decide(scores)), 0.0)

    importance = permutation_importance(
        chosen.model.pipeline,
        features,
        chosen.truth[rows],
        scoring=score,
        n_repeats=IMPORTANCE_REPEATS,
        random_state=case.seed,
        n_jobs=1,
    )
    ranked = pd.DataFrame(
        {"mean": importance.importances_mean, "std": importance.importances_std}, index=features.columns
    )
    ranked = ranked.sort_values("mean").tail(MAX_FEATURES)
    axes.barh(ranked.index, ranked["mean"], xerr=ranked["std"], height=0.8)
    axes.set_ylim(-0.5, max(len(ranked), MIN_BARS) - 0.5)
    axes.set(xlabel=f"loss of {case.choose_by} when shuffled, {len(rows):,} rows")


def _both(chosen: ScoringResult, champion: ScoringResult | None) -> list[tuple[str, ScoringResult]]:
    return [("challenger", chosen)] + ([("champion", champion)] if champion else [])
