"""Runs in MLflow: one for each training run, and one below it for each of its candidates.

A run is found again by its tag `updraft.key`, and one that was written in part, which is not FINISHED, is completed.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from updraft.model.version_files import CARD
from updraft.trackers.mlflow_responses import KEY, ExperimentFound, NewRun, Nothing, Run, RunInfo, Runs
from updraft.trackers.mlflow_server import EXISTS, NO_SUCH, MlflowServer, TrackerError
from updraft.trackers.run_record import Candidate, RunRecord

MAX_TEXT, BATCH = 500, 100  # characters of a value, and values of a request, that every MLflow takes
MAX_NOTE = 5000  # characters
FINISHED = "FINISHED"
PARENT = "mlflow.parentRunId"
REFUSED = (400, 404, 405, 413, 501, 503)  # an artifact; 503 is of a server that was started with --no-serve-artifacts

log = logging.getLogger(__name__)


class RunWriter:
    """Writes the runs of one use case."""

    def __init__(self, server: MlflowServer, name: str) -> None:
        self._server, self._name = server, name

    def write(self, record: RunRecord) -> str:
        """Write a run with its candidates, unless it is complete already; return its id."""
        experiment = self._experiment()
        tags = {f"updraft.{name}": value for name, value in record.facts.items()}
        tags |= {"updraft.run_id": record.run_id, "mlflow.note.content": _note(record)[:MAX_NOTE]}
        tags |= {"mlflow.source.git.commit": record.commit} if record.commit else {}
        tags |= {"mlflow.source.name": "updraft"} | ({"updraft.url": record.url} if record.url else {})
        run = self._start(experiment, record.key, record.run_id, record.at, tags)
        if run.status == FINISHED:
            return run.run_id
        for candidate in record.candidates:
            self._write_candidate(experiment, record, candidate, run)
        self._log(run, record.params, record.metrics)
        if record.card:
            self._write_card(run, record.card)
        self._finish(run)
        return run.run_id

    def _write_candidate(self, experiment: str, record: RunRecord, candidate: Candidate, parent: RunInfo) -> None:
        tags = {PARENT: parent.run_id, "updraft.candidate": candidate.name}
        tags |= {"updraft.chosen": json.dumps(record.facts.get("chosen") == candidate.name)}
        run = self._start(experiment, f"{record.key}/{candidate.name}", candidate.name, parent.start_time, tags)
        if run.status != FINISHED:
            self._log(run, candidate.params, candidate.metrics)
            self._finish(run)

    def _start(self, experiment: str, key: str, title: str, at: int, tags: dict[str, str]) -> RunInfo:
        """Return the run of this key; create it if there is none."""
        tags |= {KEY: hashlib.sha256(key.encode()).hexdigest()}
        if found := self._find(experiment, tags[KEY]):
            self._put_below(found[0], tags.get(PARENT))
            return found[0].info
        content = {"experiment_id": experiment, "run_name": title[:MAX_TEXT], "start_time": at, "tags": as_tags(tags)}
        made = self._server.post("runs/create", NewRun, **content).run.info
        statuses = {run.info.run_id: run.info.status for run in self._find(experiment, tags[KEY])}
        if statuses.keys() - {made.run_id} and statuses.get(made.run_id) != FINISHED:  # else another writer took it up
            # Two writers met. Each takes back its own, if need be both: what is missing then is written next time.
            self._server.post("runs/delete", Nothing, run_id=made.run_id)
            raise TrackerError(f"run {title} was recorded by somebody else at the same moment")
        return made

    def _find(self, experiment: str, key: str) -> list[Run]:
        query = {"experiment_ids": [experiment], "filter": f"tags.`{KEY}` = '{key}'", "max_results": 10}
        return self._server.post("runs/search", Runs, **query).runs

    def _put_below(self, run: Run, parent: str | None) -> None:
        """Put a candidate below its run, where it was written below one that has been taken back."""
        if parent and parent not in [tag.value for tag in run.data.tags if tag.key == PARENT]:
            self._server.post("runs/set-tag", Nothing, run_id=run.info.run_id, key=PARENT, value=parent)

    def _log(self, run: RunInfo, params: Mapping[str, str], metrics: Mapping[str, float]) -> None:
        at = run.start_time  # the same when it is written again: then it is one point, and not two
        items: list[tuple[str, dict[str, Any]]] = [
            ("params", {"key": name, "value": value[:MAX_TEXT]}) for name, value in params.items()
        ]
        items += [
            ("metrics", {"key": name, "value": value, "timestamp": at, "step": 0}) for name, value in metrics.items()
        ]
        for start in range(0, len(items), BATCH):
            batch = items[start : start + BATCH]
            parts = {kind: [item for each, item in batch if each == kind] for kind in ("params", "metrics")}
            self._server.post("runs/log-batch", Nothing, run_id=run.run_id, **parts)

    def _write_card(self, run: RunInfo, card: bytes) -> None:
        """Write the model card where the server itself takes artifacts; a login goes to no other host."""
        place = urlsplit(run.artifact_uri)
        if place.scheme != "mlflow-artifacts" or place.netloc:
            log.info("%s: the tracker keeps artifacts elsewhere, so it has no model card", self._name)
            return
        try:
            self._server.put_artifact(f"{place.path}/{CARD}", card)
        except TrackerError as error:
            if error.status not in REFUSED:
                raise
            log.info("%s: the tracker takes no model card: %s", self._name, error)

    def _finish(self, run: RunInfo) -> None:
        self._server.post("runs/update", Nothing, run_id=run.run_id, status=FINISHED, end_time=run.start_time)

    def _experiment(self) -> str:
        try:
            return self._experiment_named()
        except TrackerError as error:
            if error.code != NO_SUCH:
                raise
        try:
            self._server.post("experiments/create", Nothing, name=self._name)
        except TrackerError as error:
            if error.code != EXISTS:
                raise
        return self._experiment_named()

    def _experiment_named(self) -> str:
        found = self._server.get("experiments/get-by-name", ExperimentFound, experiment_name=self._name).experiment
        if found.lifecycle_stage != "active":
            raise TrackerError(
                f"experiment {self._name!r} is deleted in MLflow; restore it there, or delete it for good"
            )
        return found.experiment_id


def _note(record: RunRecord) -> str:
    """Return what MLflow shows above a run: the decision, and the way to the run."""
    lines = [f"**{record.facts.get('decision', 'stored')}**: {record.note}"] if record.note else []
    return "\n\n".join([*lines, *([f"[The run in Airflow]({record.url})"] if record.url else [])])


def as_tags(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags as requests have them."""
    return [{"key": name, "value": value[:MAX_NOTE]} for name, value in values.items()]
