"""What is to be learned: `UseCase`, the only reader of `include/usecases/*.yaml`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from updraft.agreement import disagreements
from updraft.blocks import (
    METRICS_OF,
    Candidate,
    Gate,
    GroupSplit,
    HashSplit,
    Impute,
    MetricName,
    Names,
    Part,
    RandomSplit,
    Reading,
    Retry,
    Serving,
    Slice,
    Tfidf,
    Threshold,
    TimeSplit,
)
from updraft.demo_block import Demo
from updraft.errors import UserError
from updraft.faults import listed, nearest, remains, told
from updraft.places import Document, Fault, Place, document, line_in_suite
from updraft.run_params import Promote, RunParams
from updraft.signature import Label, Task
from updraft.suite import BadColumns, Column, read

ROOT = Path(__file__).parents[2]
DATABASE = "updraft"  # of a MongoDB URL that names none
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
NAME_RULE = "lower-case letters, digits and _, a letter first, 63 at most"


class BadUseCase(UserError):
    """A use case's YAML or suite is wrong; the message lists every fault, a line each."""


def _cron(value: str) -> str:
    from croniter import croniter

    if not croniter.is_valid(value):
        raise ValueError(f"{value!r} is not a cron expression such as '0 3 * * 1'")
    return value


class UseCase(Part):
    """One use case: the YAML's keys as attributes, and the `columns` that its suite names and types."""

    name: str
    title: str
    suite: Path
    columns: tuple[Column, ...]
    collection: Annotated[str, Field(pattern=r"^[\w-][\w.-]*$")]
    read: Reading = Reading()
    schedule: Annotated[str, AfterValidator(_cron)] | None = None
    owner: str = "updraft"

    task: Task = "binary"
    target: str
    id: str | None = None
    text: Names = ()
    categorical: Names = ()
    ignored: Names = ()
    labels: tuple[Label, ...] = ()
    positive: int | str | None = None

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    split_seed: Annotated[int, Field(ge=0, lt=2**32)]
    split: Annotated[HashSplit | RandomSplit | TimeSplit | GroupSplit, Field(discriminator="by")] = HashSplit()
    deduplicate: bool = False
    folds: Annotated[int, Field(ge=2)] = 3
    quarantine_budget: Annotated[float, Field(ge=0, le=1)] = 0.01

    impute: Impute | None = None
    tfidf: Tfidf = Tfidf()
    candidates: Annotated[dict[str, Candidate], Field(min_length=1)]
    choose_by: MetricName
    threshold: Annotated[Threshold, BeforeValidator(lambda v: {"rule": v} if isinstance(v, str) else v)] = Threshold()
    floors: dict[MetricName, float] = Field(default_factory=dict)
    max_gap: dict[MetricName, float] = Field(default_factory=dict)
    slices: dict[str, Slice] = Field(default_factory=dict)
    gate: Gate
    promote: Promote = "auto"
    serving: Serving = Serving()
    retry: Retry = Retry()
    demo: Demo = Demo()

    @property
    def features(self) -> list[Column]:
        """Columns a model learns from, in the suite's order."""
        left_out = {self.target, self.id, *self.ignored}
        return [column for column in self.columns if column.name not in left_out]

    @property
    def feature_names(self) -> list[str]:
        """Names of the features."""
        return [column.name for column in self.features]

    def column(self, name: str) -> Column:
        """Return a column by its name."""
        return next(column for column in self.columns if column.name == name)

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """Metrics of the use case's task."""
        return METRICS_OF[self.task]

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_task(cls, raw: dict[str, Any]) -> dict[str, Any]:
        metric = {"multiclass": "f1_macro", "regression": "r2"}.get(str(raw.get("task")))
        gate = raw.get("gate", {})
        told = {"choose_by": metric or "pr_auc"} | raw
        told |= {"gate": {"metric": metric or "f1"} | gate if isinstance(gate, dict) else gate}
        return {"split_seed": raw.get("seed", 42)} | told  # a run's own seed leaves the split alone


class _Draft(UseCase):
    """A use case as far as it could be read: what is missing is empty."""

    title: str = ""
    collection: str = "-"
    target: str = ""
    candidates: dict[str, Candidate] = Field(default_factory=dict)


@dataclass(frozen=True)
class Examined:
    """A use case's YAML, all that is wrong with it and its suite, and the use case, as far as it could be read."""

    yaml: Document
    faults: list[Fault]
    case: UseCase | None


def load(name: str, root: Path = ROOT) -> UseCase:
    """Load a use case by its name; raise BadUseCase that lists all that is wrong in its YAML and suite."""
    found = examine(name, root)
    if found.faults or found.case is None:
        raise BadUseCase("\n".join(fault.told(root) for fault in found.faults))
    return found.case


def check_params(values: dict[str, Any]) -> RunParams:
    """Check the values that a run was started with; raise BadUseCase that lists what is wrong with them."""
    try:
        return RunParams.model_validate(values)
    except ValidationError as error:
        faults = (message for _, message in told(RunParams, values, error))
        raise BadUseCase("; ".join(f"run parameter {fault}" for fault in faults)) from None


def applied(params: RunParams, case: UseCase) -> UseCase:
    """Return the use case as a run with these parameters has it."""
    given = {name: value for name, value in (("seed", params.seed), ("promote", params.promote)) if value is not None}
    return case.model_copy(update=given)


def examine(name: str, root: Path = ROOT) -> Examined:
    """Read a use case and collect its faults; raise BadUseCase when there is none of that name."""
    path, suite = root / "include" / "usecases" / f"{name}.yaml", root / "expectations" / f"{name}.json"
    if not path.is_file():
        names = [known.stem for known in paths(root)]
        raise BadUseCase(f"no use case {name!r}{nearest(name, names)}; there are: {listed(names) or 'none'}")
    yaml = document(path)
    columns, known, in_suite = _columns(suite)
    faults = [*yaml.faults, *in_suite]
    if not NAME.fullmatch(name):
        faults.append(Fault(path, None, f"{name!r} is no name of a use case: {NAME_RULE}"))
    if not yaml.values:
        return Examined(yaml, faults, None)
    case, found = _read(yaml.values | {"name": name, "suite": suite, "columns": columns}, known)
    trapped = {fault.line for fault in yaml.faults}  # the same mistake, told by the blocks once more
    in_yaml = (yaml.fault(place, message) for place, message in found)
    faults += [fault for fault in in_yaml if fault.line is None or fault.line not in trapped]
    return Examined(yaml, sorted(faults, key=lambda fault: (fault.file == suite, fault.line or 0)), case)


def paths(root: Path = ROOT) -> list[Path]:
    """List the YAML files of all use cases, by name."""
    return sorted((root / "include" / "usecases").glob("*.yaml"))


def _read(raw: dict[str, Any], names: Sequence[str]) -> tuple[UseCase | None, list[tuple[Place, str]]]:
    """Read the blocks; what does not fit together is told of a draft too, in which the faulty parts are left out."""
    try:
        case: UseCase = UseCase.model_validate(raw)
        return case, list(disagreements(case, names, set()))
    except ValidationError as error:
        draft, doubtful = remains(_Draft, raw)
        further = disagreements(draft, names, doubtful) if draft else ()
        return draft, [*told(UseCase, raw, error), *further]


def _columns(suite: Path) -> tuple[list[Column], Sequence[str], list[Fault]]:
    """Read the suite's columns and their names; of a suite with faults the names alone."""
    try:
        columns = read(suite)
        return columns, [column.name for column in columns], []
    except BadColumns as error:
        return [], error.names, [Fault(suite, line_in_suite(suite, name, said), said) for name, said in error.faults]
