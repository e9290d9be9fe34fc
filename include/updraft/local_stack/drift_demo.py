"""`make demo-drift`: requests drift, a model is trained anew, tried and promoted; then its answers prove wrong.

Everything goes the way that it goes in production: requests, prediction log, Parquet, the DAGs, the registry.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console

from updraft.airflow_client import DAG_PREFIX, Airflow
from updraft.local_stack.credentials import ADMIN, credentials
from updraft.local_stack.dag_runs import DagRuns
from updraft.local_stack.drift_case import NAME, demo_case
from updraft.local_stack.drift_rows import (
    CALLERS,
    HIGHEST,
    ROWS,
    ROWS_OF_CALLER,
    drifted,
    questions,
    replace_rows,
    synthetic,
)
from updraft.local_stack.environment import StackError, embedded, load
from updraft.local_stack.service import Service, api_key
from updraft.local_stack.stack import Stack
from updraft.usecase import UseCase
from updraft.usecase.load import MONITOR_PREFIX

if TYPE_CHECKING:
    import pandas as pd

    from updraft.registry.moves import Move
    from updraft.registry.registry import Registry
    from updraft.registry.s3 import Bucket

TRAIN, MONITOR, ASSET = f"{DAG_PREFIX}{NAME}", f"{MONITOR_PREFIX}{NAME}", f"{NAME}_retraining"
PATIENCE = 180.0  # seconds: predictions are shipped after 60 at most
Answers = dict[int, dict[str, Any]]  # by version, prediction ids and what was predicted


def drift_demo(stack: Stack, console: Console) -> None:
    """Go round the loop once; the stack stays up. StackError when a step does not come to its end."""
    numbered = enumerate(iter(int, 1), 1)

    def step(text: str) -> None:
        console.print(f"[bold]{next(numbered)[0]}[/]  {text}", highlight=False, soft_wrap=True)

    step(f"Start the stack in {stack.home}")
    stack.up(report=lambda line: console.print(f"   {line}", highlight=False, markup=False, soft_wrap=True))
    load(os.environ, stack.home)
    settings = stack.settings()
    if not {"mongod", "s3"} <= embedded(settings):
        raise StackError("MONGODB_URL or UPDRAFT_REGISTRY leads elsewhere: the demo needs the stack's own stores")
    with demo_case() as case:
        _Loop.open(stack, settings, case, step, console).run()


@dataclass(frozen=True)
class _Loop:
    """What the steps need; `step` prints the head of one."""

    case: UseCase
    settings: dict[str, str]
    runs: DagRuns
    registry: Registry
    service: Service
    bucket: Bucket
    step: Callable[[str], None]
    console: Console
    seed: int

    @classmethod
    def open(
        cls, stack: Stack, settings: dict[str, str], case: UseCase, step: Callable[[str], None], console: Console
    ) -> _Loop:
        from updraft.predictions.layout import open_bucket
        from updraft.registry.registry import open_registry

        password = credentials(stack.home / "secrets")["airflow_admin_password"]
        airflow = Airflow.patient(settings["AIRFLOW_URL"], ADMIN, password)
        quiet = Console(quiet=True)
        bucket = open_bucket(settings)
        if bucket is None:
            raise StackError("SERVING_PREDICTIONS: not set; the demo needs a place to which predictions are shipped")
        return cls(
            case=case,
            settings=settings,
            runs=DagRuns(stack, airflow, quiet),
            registry=open_registry({**os.environ, **settings}),
            service=Service(settings["SERVING_URL"], api_key(os.environ)),
            bucket=bucket,
            step=step,
            console=console,
            seed=int(time.time()),  # other rows each time: a model that was taken back stays back
        )

    def run(self) -> None:
        first = self._train_first()
        rows = questions(self.case, self.seed + 1)
        self._ask_until_shipped(rows)
        second = self._retrain(first)
        answers = self._try(first, second)
        self._finish(second)
        self._send_bad_feedback(second, answers[second])
        self._roll_back(first, second)
        self._show_history()

    def _train_first(self) -> int:
        self.step(f"Train {NAME} on {ROWS:,} synthetic rows: DAG {TRAIN}")
        self._forget_former_demos()
        self._fill(synthetic(self.case, self.seed))
        self._follow(TRAIN)
        version = self.registry.production(NAME)
        if version is None:
            raise StackError(f"{NAME}: no version went into production; see the run of {TRAIN}")
        self._until(lambda: self.service.is_live(NAME, version), f"the service has not loaded version {version}")
        self._say(f"version {version} is in production, and answers")
        return version

    def _ask_until_shipped(self, rows: list[dict[str, Any]]) -> None:
        self.step(
            f"Ask the service about {len(rows):,} rows that have drifted: Vintage was up to 299, now up to {HIGHEST}"
        )
        began = time.monotonic()
        answers = self._ask(rows)
        self._until_shipped(answers)
        self._say(f"answered, logged, and {time.monotonic() - began:.0f} s later on S3 as Parquet")

    def _retrain(self, first: int) -> int:
        self.step(f"Watch the model: DAG {MONITOR}; the source has rows as they are now")
        self._fill(drifted(self.case, self.seed + 2))
        before = self.runs.ids(TRAIN)
        self._follow(MONITOR)
        self._say(f"alarm: {self._found()}")
        self._say(f"report: {self.settings['SERVING_URL']}/monitoring/{NAME}")
        self.step(f"An event of the asset {ASSET} starts {TRAIN}")
        run_id = self.runs.started_since(TRAIN, before)
        self.runs.follow(TRAIN, run_id)
        evaluation = self._evaluation(run_id)
        cause = evaluation.get("cause") or {}
        self._say(f"its cause, as the run's evaluation names it: {', '.join(cause.get('columns', ())) or 'none'}")
        self._say(f"decision: {evaluation['decision']}, because {evaluation['reason']}")
        pointer = self.registry.pointer(NAME)
        if pointer is None or pointer.rollout is None:
            raise StackError(f"{NAME}: the new model is not tried beside version {first}; see run {run_id}")
        self._say(f"version {pointer.rollout.version} is tried beside version {first}: {pointer.rollout}")
        return pointer.rollout.version

    def _try(self, first: int, second: int) -> Answers:
        self.step(f"{CALLERS} callers ask about {ROWS_OF_CALLER} rows each; each of them meets one version")
        self._until(lambda: self.service.tries(NAME, second), f"the service does not try version {second}")
        answers: Answers = {}
        callers: Counter[int] = Counter()
        rows = questions(self.case, self.seed + 3)
        for number in range(CALLERS):
            part = rows[number * ROWS_OF_CALLER : (number + 1) * ROWS_OF_CALLER]
            for version, predicted in self._ask(part, f"caller {number}").items():
                answers.setdefault(version, {}).update(predicted)
                callers[version] += 1
        self._until_shipped(answers)
        self._say(f"version {first} answered {callers[first]} of them, version {second} {callers[second]}")
        return answers

    def _finish(self, second: int) -> None:
        self.step(f"Watch both: DAG {MONITOR}")
        self._follow(MONITOR)
        move = self._last_move("finish", second)
        self._until(lambda: self.service.is_live(NAME, second), f"the service has not loaded version {second}")
        self._say(f"finished: {move.why}")
        self._say(f"version {second} is in production, and answers all callers")

    def _send_bad_feedback(self, second: int, predicted: dict[str, Any]) -> None:
        self.step(f"Send feedback: what came true of version {second}'s answers, and each of them was wrong")
        labels = {prediction_id: 1 - int(value) for prediction_id, value in predicted.items()}
        self.service.send_feedback(labels)
        self._until_shipped({second: predicted}, labelled=True)
        self._say(f"{len(labels):,} labels are stored, and on S3")

    def _roll_back(self, first: int, second: int) -> None:
        self.step(f"Watch the model: DAG {MONITOR}")
        self._follow(MONITOR)
        self._say(f"alarm: {self._found()}")
        self._last_move("rollback", second)
        self._until(lambda: self.service.is_live(NAME, first), f"the service has not gone back to version {first}")
        self._say(f"version {second} is taken back and held; version {first} answers again")

    def _show_history(self) -> None:
        self.step(f"The registry's signed history of {NAME}")
        for move in self.registry.history(NAME)[-4:]:
            self._say(f"{move.when[11:19]} {move.action} of version {move.version} by {move.who}")

    def _say(self, text: str) -> None:
        self.console.print(f"   {text}", highlight=False, markup=False, soft_wrap=True)

    def _forget_former_demos(self) -> None:
        """End what an earlier demo left: its version in production, and its cool-down."""
        self.runs.unpause(TRAIN)
        self.runs.unpause(MONITOR)
        if self.registry.production(NAME):
            self.registry.remove(NAME, who="make demo-drift", why="the demo begins anew")
        assets = self.runs.airflow.request("GET", f"assets?name_pattern={ASSET}&only_active=false")["assets"]
        for asset in assets:
            self.runs.airflow.request("DELETE", f"assets/{asset['id']}/state-store")

    def _fill(self, rows: pd.DataFrame) -> None:
        replace_rows(self.case, rows, self.runs.stack.home / "demo", {**os.environ, **self.settings})

    def _follow(self, dag_id: str) -> None:
        """Start a run and wait for its end."""
        run_id = f"demo-drift-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        self.runs.start(dag_id, run_id)
        self.runs.follow(dag_id, run_id)

    def _ask(self, rows: list[dict[str, Any]], caller: str = "") -> Answers:
        answer = self.service.predict_rows(NAME, rows, caller)
        ids = answer.get("prediction_ids")
        if not ids:
            raise StackError("the service does not log its predictions: set SERVING_PREDICTION_LOG=on")
        return {answer["version"]: dict(zip(ids, answer["predictions"], strict=True))}

    def _until_shipped(self, answers: Answers, *, labelled: bool = False) -> None:
        wanted = {prediction_id for predicted in answers.values() for prediction_id in predicted}
        self._until(lambda: wanted <= self._shipped(labelled), "the predictions are not on S3; see shipper.log")

    def _shipped(self, labelled: bool) -> set[str]:
        from updraft.predictions.reading import read

        rows = (
            row for batch in read(self.bucket, NAME) for row in batch.select(["prediction_id", "truth"]).to_pylist()
        )
        return {row["prediction_id"] for row in rows if not labelled or row["truth"] is not None}

    def _until(self, reached: Callable[[], bool], otherwise: str) -> None:
        end = time.monotonic() + PATIENCE
        while not reached():
            if time.monotonic() > end:
                raise StackError(f"{otherwise} after {PATIENCE:g} s")
            time.sleep(0.5)

    def _found(self) -> str:
        """Return what the last report found, and what follows."""
        from updraft.registry import monitor_state

        state = monitor_state.read(self.registry.bucket, self.registry.keys, NAME)
        found = state.found if state else []
        acted = [each for each in found if each.action != "warn"]
        return "; ".join(f"{each.signal}, {each.reason} → {each.action.replace('_', ' ')}" for each in acted) or "none"

    def _evaluation(self, run_id: str) -> dict[str, Any]:
        from updraft.stages.evaluate import EVALUATION
        from updraft.stages.runs import local
        from updraft.stages.stage_folder import read_json

        return dict(read_json(local(str(self.runs.airflow.result(TRAIN, run_id, "evaluate"))) / EVALUATION))

    def _last_move(self, action: str, version: int) -> Move:
        move = self.registry.history(NAME)[-1]
        if (move.action, move.version) != (action, version):
            last = f"the last move is {move.action} of version {move.version}: {move.why}"
            raise StackError(f"{NAME}: expected a {action} of version {version}; {last}")
        return move
