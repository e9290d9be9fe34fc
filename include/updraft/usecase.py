"""What is to be learned: `UseCase`, the only reader of `include/usecases/*.yaml` and of the columns in the suites."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from updraft.errors import UserError
from updraft.suite import Column, read

ROOT = Path(__file__).parents[2]
DATABASE = "updraft"  # of a MongoDB URL that names none

EstimatorName = Literal["RandomForestClassifier", "HistGradientBoostingClassifier"]
MetricName = Literal["roc_auc", "pr_auc", "f1", "precision", "recall", "brier"]
Promote = Literal["auto", "never"]
Scalar = int | float | str | bool


class BadUseCase(UserError):
    """A use case's YAML or suite is wrong; the message lists every fault, a line each."""


class Part(BaseModel):
    """A block of the YAML: unknown keys are refused, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Label(Part):
    """A value of the target and what people call it."""

    value: int | str
    name: str


class Candidate(Part):
    estimator: EstimatorName
    params: dict[str, Any] = Field(default_factory=dict)


class Gate(Part):
    """The challenger must beat the champion by `margin` on `metric`, both at their stored thresholds."""

    metric: MetricName = "f1"
    margin: Annotated[float, Field(ge=0)] = 0.02


class Retry(Part):
    """What Airflow does on errors that may pass (network, memory); bad data is never tried again."""

    tries: Annotated[int, Field(ge=0)] = 2
    delay_seconds: Annotated[float, Field(ge=0)] = 5
    timeout_minutes: Annotated[float, Field(gt=0)] = 60

    @property
    def delay(self) -> timedelta:
        return timedelta(seconds=self.delay_seconds)

    @property
    def timeout(self) -> timedelta:
        return timedelta(minutes=self.timeout_minutes)


class Demo(Part):
    """How the demo's generator makes rows: `columns` weigh values or shape numbers, `signal` makes the target."""

    rows: Annotated[int, Field(ge=1)] = 20_000
    columns: dict[str, dict[Scalar, float]] = Field(default_factory=dict)
    base: float = 0.0
    signal: dict[str, dict[Scalar, float]] = Field(default_factory=dict)


def _cron(value: str) -> str:
    from croniter import croniter

    if not croniter.is_valid(value):
        raise ValueError(f"{value!r} is not a cron expression such as '0 3 * * 1'")
    return value


def _texts(value: object) -> object:
    return [value] if isinstance(value, str) else value


class UseCase(Part):
    """One use case: the YAML's keys as attributes, and the `columns` that its suite names and types."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    title: str
    suite: Path
    columns: tuple[Column, ...]
    collection: str
    schedule: Annotated[str, AfterValidator(_cron)] | None = None
    owner: str = "updraft"

    target: str
    id: str | None = None
    categorical: Annotated[tuple[str, ...], BeforeValidator(_texts)] = ()
    ignored: Annotated[tuple[str, ...], BeforeValidator(_texts)] = ()
    labels: Annotated[tuple[Label, ...], Field(min_length=2, max_length=2)]
    positive: int | str

    seed: Annotated[int, Field(ge=0)] = 42
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    folds: Annotated[int, Field(ge=2)] = 3
    quarantine_budget: Annotated[float, Field(ge=0, le=1)] = 0.01

    candidates: Annotated[dict[str, Candidate], Field(min_length=1)]
    choose_by: MetricName = "pr_auc"
    threshold: Literal["best_f1"] = "best_f1"
    floors: dict[MetricName, float] = Field(default_factory=dict)
    gate: Gate = Gate()
    promote: Promote = "auto"
    retry: Retry = Retry()
    demo: Demo = Demo()

    @property
    def features(self) -> list[Column]:
        """Columns a model learns from, in the suite's order."""
        left_out = {self.target, self.id, *self.ignored}
        return [column for column in self.columns if column.name not in left_out]

    @model_validator(mode="after")
    def _roles_name_columns(self) -> UseCase:
        known = [column.name for column in self.columns]
        roles: dict[str, Iterable[str]] = {
            "target": [self.target],
            "id": [self.id] if self.id else [],
            "categorical": self.categorical,
            "ignored": self.ignored,
            "demo.columns": self.demo.columns,
            "demo.signal": self.demo.signal,
        }
        absent = [(role, name) for role, names in roles.items() for name in names if name not in known]
        if absent:
            raise ValueError(
                "; ".join(f"{role}: no column {n!r} in the suite{nearest(n, known)}" for role, n in absent)
            )
        if self.positive not in [label.value for label in self.labels]:
            raise ValueError(f"positive: {self.positive!r} is not the value of a label")
        return self


class RunParams(Part):
    """What one run may set otherwise than the YAML; None leaves the YAML's word."""

    model_config = ConfigDict(strict=True)

    limit: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    promote: Promote | None = None

    @classmethod
    def check(cls, values: dict[str, Any]) -> RunParams:
        """Check the values that a run was started with; raise BadUseCase that lists what is wrong with them."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise BadUseCase("; ".join(f"run parameter {_explain(fault, cls)}" for fault in error.errors())) from None

    def applied(self, case: UseCase) -> UseCase:
        """Return the use case as this run has it."""
        given = {name: value for name, value in (("seed", self.seed), ("promote", self.promote)) if value is not None}
        return case.model_copy(update=given)


def load(name: str, root: Path = ROOT) -> UseCase:
    """Load a use case by its name; raise BadUseCase that lists what is wrong in its YAML and suite."""
    path = root / "include" / "usecases" / f"{name}.yaml"
    if not path.is_file():
        names = [known.stem for known in paths(root)]
        raise BadUseCase(f"no use case {name!r}{nearest(name, names)}; there are: {', '.join(names) or 'none'}")
    suite = root / "expectations" / f"{name}.json"
    try:
        raw = _mapping(path)
        return UseCase(name=name, suite=suite, columns=tuple(read(suite)), **raw)
    except ValidationError as error:
        raise BadUseCase("\n".join(f"{path}: {_explain(fault)}" for fault in error.errors())) from None
    except ValueError as error:
        raise BadUseCase(str(error)) from None


def paths(root: Path = ROOT) -> list[Path]:
    """List the YAML files of all use cases, by name."""
    return sorted((root / "include" / "usecases").glob("*.yaml"))


def nearest(word: str, known: list[str]) -> str:
    """Suggest the known word that `word` was probably meant to be, as the end of a message."""
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _mapping(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadUseCase(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise BadUseCase(f"{path}: expected keys and values, found {type(raw).__name__}")
    taken = {"name", "suite", "columns"} & raw.keys()
    if taken:
        raise BadUseCase(f"{path}: {', '.join(sorted(taken))}: taken from the file names and the suite, not set here")
    return raw


def _explain(fault: Any, model: type[Part] = UseCase) -> str:
    """Say a pydantic fault in one line: the key, the value, what was expected."""
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        key = str(fault["loc"][-1])
        return f"unknown key {where!r}{nearest(key, _keys(model, fault['loc'][:-1]))}"
    found = "" if fault["type"] in ("missing", "value_error") else f", found {fault['input']!r}"
    return f"{where + ': ' if where else ''}{fault['msg'].removeprefix('Value error, ')}{found}"


def _keys(model: type[Part], loc: tuple[int | str, ...]) -> list[str]:
    """Return the keys known at a place in the YAML."""
    part: Any = model
    for step in loc:
        field = part.model_fields.get(step) if hasattr(part, "model_fields") else None
        part = field.annotation if field else next((a for a in get_args(part) if hasattr(a, "model_fields")), part)
    return list(getattr(part, "model_fields", {}))
