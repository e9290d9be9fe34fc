"""What of MLflow's responses is used here, and the tags by which what was written is found again."""

from __future__ import annotations

from msgspec import Struct, field

KEY, VERSION, REGISTRY = "updraft.key", "updraft.version", "updraft.registry"


class Tag(Struct):
    """A tag of a run, a registered model or a version."""

    key: str
    value: str = ""


class Alias(Struct):
    """A name for one version of a registered model."""

    alias: str
    version: str


class RunInfo(Struct):
    """A run; `start_time` is in milliseconds."""

    run_id: str
    status: str = ""
    start_time: int = 0
    artifact_uri: str = ""


class RunData(Struct):
    """What was logged of a run, as far as it is used here."""

    tags: list[Tag] = []


class Run(Struct):
    """A run, as MLflow wraps it."""

    info: RunInfo
    data: RunData = field(default_factory=RunData)


class NewRun(Struct):
    """A run that was created."""

    run: Run


class Runs(Struct):
    """What a search for runs has found."""

    runs: list[Run] = []


class Experiment(Struct):
    """An experiment; a deleted one keeps its name."""

    experiment_id: str
    lifecycle_stage: str = "active"


class ExperimentFound(Struct):
    """An experiment that was asked for by name."""

    experiment: Experiment


class Model(Struct):
    """A registered model."""

    tags: list[Tag] = []
    aliases: list[Alias] = []


class ModelFound(Struct):
    """A registered model that was asked for by name."""

    registered_model: Model


class Entry(Struct):
    """A version of a registered model: `version` is MLflow's number of it."""

    version: str
    tags: list[Tag] = []

    @property
    def number(self) -> str | None:
        """Our number of it."""
        return next((tag.value for tag in self.tags if tag.key == VERSION), None)


class NewEntry(Struct):
    """A version that was created."""

    model_version: Entry


class Entries(Struct):
    """A page of a registered model's versions."""

    model_versions: list[Entry] = []
    next_page_token: str = ""


class Nothing(Struct):
    """A response that says nothing of interest."""
