"""The blocks of a use case's YAML, and the words that they accept."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from updraft.model.reading import NONE as NONE
from updraft.model.reading import Reading as Reading
from updraft.model.signature import Task

Classifier = Literal[
    "RandomForestClassifier",
    "HistGradientBoostingClassifier",
    "DecisionTreeClassifier",
    "GradientBoostingClassifier",
    "AdaBoostClassifier",
    "LogisticRegression",
    "LinearSVC",
    "MultinomialNB",
]
Regressor = Literal[
    "RandomForestRegressor", "HistGradientBoostingRegressor", "DecisionTreeRegressor", "LinearRegression", "Ridge"
]
EstimatorName = Classifier | Regressor
NO_TEXT = {
    "HistGradientBoostingClassifier",
    "GradientBoostingClassifier",
    "HistGradientBoostingRegressor",
}  # dense
BinaryMetric = Literal["roc_auc", "pr_auc", "f1", "precision", "recall", "brier", "accuracy"]
MulticlassMetric = Literal["accuracy", "f1_macro", "log_loss"]
RegressionMetric = Literal["r2", "rmse", "mae", "mape"]
MetricName = BinaryMetric | MulticlassMetric | RegressionMetric
METRICS_OF: dict[Task, tuple[MetricName, ...]] = {
    "binary": get_args(BinaryMetric),
    "multiclass": get_args(MulticlassMetric),
    "regression": get_args(RegressionMetric),
}
Policy = Literal["reject", "warn"]
Scalar = int | float | str | bool
Share = Annotated[float, Field(gt=0, lt=1)]
Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]


def as_list(value: Any) -> Any:
    """Make a text that stands alone a list of one."""
    return [value] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(as_list)]


class Part(BaseModel):
    """A block of the YAML: unknown keys are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HashSplit(Part):
    """By a seeded hash of the features: identical rows stay together, and new rows do not move existing ones."""

    by: Literal["hash"] = "hash"
    share: Share = 0.2


class RandomSplit(Part):
    """By scikit-learn's `train_test_split`; identical rows may be on both sides."""

    by: Literal["random"]
    share: Share = 0.2
    stratify: bool = False


class TimeSplit(Part):
    """The latest rows are the test rows: those from `since` on, or the latest `share`."""

    by: Literal["time"]
    column: str
    share: Share = 0.2
    since: date | None = None


class GroupSplit(Part):
    """By a seeded hash of a column: rows of one group (a customer, a device) stay together."""

    by: Literal["group"]
    column: str
    share: Share = 0.2


class Validation(Part):
    """In place of folds: a share of the training rows, by the split's rule, on which models of the others are tried."""

    holdout: Share


class Impute(Part):
    """How missing numbers are imputed. Without this block trees keep them, other estimators use the median."""

    by: Literal["median", "mean", "most_frequent", "knn"] = "median"
    neighbors: Annotated[int, Field(ge=1)] = 3


class Tfidf(Part):
    """TF-IDF of text columns: minimum and maximum length of n-grams; the other parameters are scikit-learn's."""

    ngrams: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (1, 2)
    min_df: Annotated[int, Field(ge=1)] = 1
    max_features: Annotated[int, Field(ge=1)] | None = None
    sublinear_tf: bool = True


class Search(Part):
    """Parameters to search by cross-validation on the training rows: all combinations, or `budget` random ones."""

    grid: Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(min_length=1)]
    budget: Annotated[int, Field(ge=1)] | None = None


class Candidate(Part):
    """A scikit-learn estimator, its parameters, and those to search."""

    estimator: EstimatorName
    params: dict[str, Any] = Field(default_factory=dict)
    search: Search | None = None


class Threshold(Part):
    """How the decision threshold of a binary model is chosen, on out-of-fold scores.

    `best_f1`: the highest F1. `precision` or `recall`: the highest value of the other one where this one is `at_least`.
    `cost`: the lowest total cost of false positives and false negatives.
    """

    rule: Literal["best_f1", "precision", "recall", "cost"] = "best_f1"
    at_least: Share | None = None
    false_positive: Annotated[float, Field(gt=0)] | None = None
    false_negative: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _complete(self) -> Threshold:
        needed = {"precision": {"at_least"}, "recall": {"at_least"}, "cost": {"false_positive", "false_negative"}}
        present = {name for name in ("at_least", "false_positive", "false_negative") if getattr(self, name) is not None}
        if present != needed.get(self.rule, set()):
            expected = ", ".join(sorted(needed.get(self.rule, set()))) or "nothing more"
            raise ValueError(f"rule {self.rule!r} takes {expected}")
        return self


class Slice(Part):
    """Metrics for each value of a column; floors apply to each value with 30 rows or more."""

    floors: dict[MetricName, float] = Field(default_factory=dict)


class Gate(Part):
    """The challenger must beat the champion by `margin` on `metric`, both at their stored thresholds.

    `interval: required` also asks that the lower end of the gain's 95 % interval is above zero; `reported` does not.
    By the rule `not_worse` a loss of less than `margin` is enough, and the interval must lie above `-margin`.
    """

    metric: MetricName
    rule: Literal["better", "not_worse"] = "better"
    margin: Annotated[float, Field(ge=0)] = 0.02
    interval: Literal["required", "reported"] = "required"


class Rollout(Part):
    """How a winner is tried beside production by `promote: canary` or `shadow`.

    A canary answers `percent` of the requests. What ends the rollout looks at no less than `min_rows` rows of the new
    version, and does not put it into production before `minutes`.
    """

    percent: Annotated[float, Field(gt=0, le=100)] = 10
    minutes: Annotated[float, Field(gt=0)] = 60
    min_rows: Annotated[int, Field(ge=1)] = 500


class Approve(Part):
    """How long `promote: approve` waits for a person; when nobody has answered after `hours`, nothing is promoted."""

    hours: Annotated[float, Field(gt=0)] = 20


class Serving(Part):
    """How the service treats values beyond the suite's critical bounds, and which columns it does not store.

    `unseen` is for columns with a value set, `out_of_range` for columns with a range of numbers or dates: `reject` (the
    default), or predict and `warn`. Values of `private` columns are not stored with predictions.
    """

    unseen: dict[str, Policy] = Field(default_factory=dict)
    out_of_range: dict[str, Policy] = Field(default_factory=dict)
    private: Names = ()


Sentences = Annotated[tuple[Sentence, ...], BeforeValidator(as_list)]


class Card(Part):
    """What the model card says of the model's use: one sentence or several of each."""

    intended_use: Sentences = ()
    limits: Sentences = ()


class Datasets(Part):
    """How many validated datasets are kept, beside those that versions were trained on; 0: none at all."""

    keep: Annotated[int, Field(ge=0)] = 10


class Retry(Part):
    """Airflow's retries after transient errors (network, memory); invalid data is never retried."""

    tries: Annotated[int, Field(ge=0)] = 3
    delay_seconds: Annotated[float, Field(ge=0)] = 10
    max_delay_seconds: Annotated[float, Field(ge=0)] = 600
    timeout_minutes: Annotated[float, Field(gt=0)] = 60

    @property
    def delay(self) -> timedelta:
        return timedelta(seconds=self.delay_seconds)

    @property
    def max_delay(self) -> timedelta:
        return timedelta(seconds=self.max_delay_seconds)

    @property
    def timeout(self) -> timedelta:
        return timedelta(minutes=self.timeout_minutes)
