"""The model card: one HTML page that needs nothing else, with the pictures people ask for first."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from updraft.metrics import METRICS, Bools, measure
from updraft.model import Model
from updraft.usecase import UseCase

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from updraft.training import Scored

CARD = "card.html"
IMPORTANCE_ROWS, IMPORTANCE_REPEATS = 1000, 3

Draw = Callable[["Axes"], object]


def write(
    case: UseCase,
    evaluation: dict[str, Any],
    frame: pd.DataFrame,
    truth: Bools,
    chosen: Scored,
    rival: Scored | None,
    path: Path,
) -> None:
    """Write the card of the chosen model: `frame` and `truth` are held-out rows, `rival` the champion on them."""
    import jinja2

    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        files("updraft").joinpath("card.html.j2").read_text(encoding="utf-8")
    )
    page = template.render(
        case=case,
        evaluation=evaluation,
        signature=chosen.model.signature,
        metrics=list(METRICS),
        pictures=[
            ("Receiver operating characteristic", _picture(lambda axes: _roc(axes, truth, chosen, rival))),
            ("Precision and recall", _picture(lambda axes: _precision_recall(axes, truth, chosen, rival))),
            ("Calibration", _picture(lambda axes: _calibration(axes, truth, chosen))),
            ("Confusion at the threshold", _picture(lambda axes: _confusion(axes, case, truth, chosen))),
            ("Importance of the features", _picture(lambda axes: _importance(axes, case, frame, truth, chosen.model))),
        ],
    )
    path.write_text(page, encoding="utf-8")


def _picture(draw: Draw) -> str:
    """Draw on a fresh figure and return it as the base64 of an SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({
        "svg.hashsalt": "updraft",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }):
        figure = Figure(figsize=(4.6, 3.6), layout="constrained")
        draw(figure.subplots())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return base64.b64encode(buffer.getvalue()).decode()


def _roc(axes: Axes, truth: Bools, chosen: Scored, rival: Scored | None) -> None:
    from sklearn.metrics import RocCurveDisplay

    for name, scored in _both(chosen, rival):
        RocCurveDisplay.from_predictions(truth, scored.scores, ax=axes, name=name)
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")


def _precision_recall(axes: Axes, truth: Bools, chosen: Scored, rival: Scored | None) -> None:
    from sklearn.metrics import PrecisionRecallDisplay

    for name, scored in _both(chosen, rival):
        PrecisionRecallDisplay.from_predictions(truth, scored.scores, ax=axes, name=name, drop_intermediate=True)
    axes.axhline(truth.mean(), linestyle=":", color="grey")
    axes.plot(chosen.metrics["recall"], chosen.metrics["precision"], "o", label="at the threshold")
    axes.legend(loc="upper right")
    axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02))


def _calibration(axes: Axes, truth: Bools, chosen: Scored) -> None:
    from sklearn.calibration import CalibrationDisplay

    CalibrationDisplay.from_predictions(
        truth, chosen.scores, n_bins=10, strategy="quantile", ax=axes, name="challenger"
    )
    axes.set(xlabel="mean predicted probability, by tenths of the rows", ylabel="share of positives")


def _confusion(axes: Axes, case: UseCase, truth: Bools, chosen: Scored) -> None:
    from sklearn.metrics import ConfusionMatrixDisplay

    names = [
        next(label.name for label in case.labels if (label.value == case.positive) is side) for side in (False, True)
    ]
    ConfusionMatrixDisplay.from_predictions(
        truth, chosen.decided, display_labels=names, ax=axes, values_format=",d", cmap="Blues", colorbar=False
    )


def _importance(axes: Axes, case: UseCase, frame: pd.DataFrame, truth: Bools, model: Model) -> None:
    """Draw by how much the choosing metric falls when a column is shuffled (permutation importance, Breiman 2001)."""
    from sklearn.inspection import permutation_importance

    rows = pd.Series(truth).sample(min(IMPORTANCE_ROWS, len(truth)), random_state=case.seed).index
    features = frame.iloc[rows][[column.name for column in model.signature.columns]]

    def score(_: Any, shuffled: pd.DataFrame, positive: Bools) -> float:
        scores = model.scores(shuffled)
        sign = 1 if METRICS[case.choose_by].better == "higher" else -1
        return sign * measure(case.choose_by, positive, scores, scores >= model.signature.threshold)

    found = permutation_importance(
        model.pipeline,
        features,
        truth[rows],
        scoring=score,
        n_repeats=IMPORTANCE_REPEATS,
        random_state=case.seed,
        n_jobs=1,
    )
    ranked = pd.DataFrame({"mean": found.importances_mean, "std": found.importances_std}, index=features.columns)
    ranked = ranked.sort_values("mean").tail(15)
    axes.barh(ranked.index, ranked["mean"], xerr=ranked["std"])
    axes.set(xlabel=f"fall of {case.choose_by} when shuffled, {len(rows):,} rows")


def _both(chosen: Scored, rival: Scored | None) -> list[tuple[str, Scored]]:
    return [("challenger", chosen)] + ([("champion", rival)] if rival else [])
