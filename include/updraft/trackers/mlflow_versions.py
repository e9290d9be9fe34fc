"""Versions in MLflow: one of the registered model for each version in the registry, and the aliases.

A version is found again by its tag `updraft.version`. It is written after its run: one that is there is complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from updraft.errors import UserError
from updraft.registry.registry import Registry, Version
from updraft.trackers.mlflow_responses import REGISTRY, VERSION, Entries, Entry, Model, ModelFound, NewEntry, Nothing
from updraft.trackers.mlflow_runs import RunWriter, as_tags
from updraft.trackers.mlflow_server import EXISTS, NO_SUCH, MlflowServer, TrackerError
from updraft.trackers.run_record import RunRecord, read_version

CHAMPION, CHALLENGER = "champion", "challenger"
PAGE = 1000
TRIES = 3


class VersionWriter:
    """Writes the versions of one use case."""

    def __init__(self, server: MlflowServer, registry: Registry, name: str) -> None:
        self._server, self._registry, self._name = server, registry, name
        self._runs = RunWriter(server, name)

    def sync(self) -> list[int]:
        numbers = self._registry.numbers(self._name)
        if not numbers:
            return []
        aliases = self._aliases()
        entries = {entry.number: entry.version for entry in self._entries()}
        written, problems = [], []
        for number in numbers:
            if str(number) in entries:
                continue
            try:
                version, record = read_version(self._registry, self._name, number)
            except UserError as error:  # this one is broken; the others go on
                problems.append(str(error))
                continue
            entries[str(number)] = self._write_version(version, record)
            written.append(number)
        self._point(aliases, entries)
        if problems:
            raise TrackerError("; ".join(problems))
        return written

    def _write_version(self, version: Version, record: RunRecord) -> str:
        run_id, number = self._runs.write(record), str(version.number)
        source = f"{self._registry.bucket}/{self._name}/versions/{version.number:04d}"
        facts = {VERSION: number, "updraft.model_sha256": version.model_sha256 or ""}
        content = {"name": self._name, "source": source, "run_id": run_id, "description": f"Updraft's {version}"}
        made = self._server.post("model-versions/create", NewEntry, **content, tags=as_tags(facts)).model_version
        if [entry for entry in self._entries() if entry.number == number and entry.version != made.version]:
            self._server.delete("model-versions/delete", name=self._name, version=made.version)
            raise TrackerError(f"{version} was recorded by somebody else at the same moment")
        return made.version

    def _aliases(self) -> dict[str, str]:
        """Return the registered model's aliases; create it if there is none, and leave that of somebody else alone."""
        ours = str(self._registry.bucket)
        try:
            model = self._model()
        except TrackerError as error:
            if error.code != NO_SUCH:
                raise
            try:
                self._server.post("registered-models/create", Nothing, name=self._name, tags=as_tags({REGISTRY: ours}))
            except TrackerError as error:
                if error.code != EXISTS:
                    raise
            model = self._model()
        owner = next((tag.value for tag in model.tags if tag.key == REGISTRY), None)
        if owner != ours:
            whose = f"is of the registry {owner}" if owner else "was not created by Updraft"
            raise TrackerError(f"registered model {self._name!r} {whose}; its tag {REGISTRY}={ours} would make it ours")
        return {alias.alias: alias.version for alias in model.aliases}

    def _model(self) -> Model:
        return self._server.get("registered-models/get", ModelFound, name=self._name).registered_model

    def _entries(self) -> Iterator[Entry]:
        query: dict[str, str | int] = {"filter": f"name='{self._name}'", "max_results": PAGE}
        while True:
            page = self._server.get("model-versions/search", Entries, **query)
            yield from page.model_versions
            if not page.next_page_token:
                return
            query["page_token"] = page.next_page_token

    def _point(self, aliases: dict[str, str], entries: Mapping[str | None, str]) -> None:
        """Let the aliases say what the pointer says; who reads an old pointer must not have the last word."""
        for _ in range(TRIES):
            now = self._registry.pointer(self._name)
            wanted = {CHAMPION: now.production if now else None}
            wanted |= {CHALLENGER: now.rollout.version if now and now.rollout else None}
            for alias, number in wanted.items():
                version = entries.get(str(number))
                if number is not None and version is None:
                    raise TrackerError(f"version {number}, the {alias}, cannot be recorded")
                self._set_alias(alias, aliases.get(alias), version)
            latest = self._registry.pointer(self._name)
            if (latest and latest.sequence) == (now and now.sequence):
                return
            aliases = {alias.alias: alias.version for alias in self._model().aliases}
        raise TrackerError("production moved again and again meanwhile")

    def _set_alias(self, alias: str, current: str | None, version: str | None) -> None:
        if version is not None and version != current:
            self._server.post("registered-models/alias", Nothing, name=self._name, alias=alias, version=version)
        elif version is None and current is not None:
            self._server.delete("registered-models/alias", name=self._name, alias=alias)
