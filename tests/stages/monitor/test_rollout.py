"""Which rollouts the monitor finishes, which it aborts, and which it leaves alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from tests.support.monitored import NAME, joined, put_into_production, version_folder
from tests.support.trained import Trained
from updraft.demo.rows import generate
from updraft.model.version_files import MODEL
from updraft.predictions.schema import ERRORS
from updraft.registry import rollouts
from updraft.registry.registry import Registry
from updraft.registry.rollouts import Plan
from updraft.stages.monitor.act import Nothing
from updraft.stages.monitor.rollout import Judgement, Shipped, rollout
from updraft.usecase import UseCase

ROWS = 600


@pytest.fixture
def files(trained: Trained, registry: Registry, tmp_path: Path) -> Path:
    """Put a version into production and try another one, with the same answers, as a canary."""
    files = put_into_production(registry, trained, tmp_path)
    other = version_folder(trained, tmp_path / "version 2")
    with (other / MODEL).open("ab") as model:
        model.write(b"\0")
    registry.push(NAME, other, {}, "run 2")
    start(registry)
    return files


def start(registry: Registry, plan: Plan = Plan(2, "canary", 10)) -> None:  # noqa: B008  # it is frozen
    rollouts.start(registry, NAME, plan, who="a test", why="a test")


@pytest.fixture
def rows(case: UseCase) -> pd.DataFrame:
    return generate(case, ROWS, seed=9)


def both(
    files: Path, rows: pd.DataFrame, new: list[Any], old: list[Any], errors: tuple[int, int] = (0, 0), **changes: Any
) -> Shipped:
    """Return what both versions predicted of rows, each in a request of its own, and how many requests of the new and
    the old one ended in an error; `changes` are columns of what the new one shipped.
    """
    tables = [joined(files, rows, 1, old), joined(files, rows, 2, new)]
    changes = {"row": pa.array([0] * len(rows), pa.int32())} | changes
    place = tables[0].column_names.index("row")
    tables[0] = tables[0].set_column(place, tables[0].schema.field("row"), pa.chunked_array([changes["row"]]))
    for name, values in changes.items():
        place = tables[1].column_names.index(name)
        tables[1] = tables[1].set_column(place, tables[1].schema.field(name), pa.chunked_array([values]))
    failed = [failures(version, count) for version, count in zip((2, 1), errors, strict=True)]
    return Shipped(lambda since: tables, lambda since: failed)


def failures(version: int, count: int) -> pa.Table:
    one = {"request_id": "", "at": datetime.now(UTC), "version": version, "shadow": False, "status": 500}
    return pa.Table.from_pylist([one | {"kind": "internal", "seconds": 0.1}] * count, ERRORS)


def judged(case: UseCase, registry: Registry, shipped: Shipped, minutes: float = 60) -> Judgement:
    changed = case.model_copy(update={"rollout": case.rollout.model_copy(update={"minutes": minutes})})
    return rollout(changed, registry, shipped, "run 9")


UNKNOWN = [None] * ROWS


def test_too_few_rows_and_too_early_a_time_leave_it_alone(
    files: Path, case: UseCase, registry: Registry, rows: pd.DataFrame
) -> None:
    few = judged(case, registry, both(files, rows[:400], UNKNOWN[:400], UNKNOWN[:400]), minutes=1e-9)
    assert (few.verdict, few.reason) == ("wait", "400 rows, 400 of production; 500 of each are needed")
    assert judged(case, registry, Shipped(lambda since: [], lambda since: []), minutes=1e-9).verdict == "wait"
    chance = judged(case, registry, both(files, rows[:400], UNKNOWN[:400], UNKNOWN[:400], errors=(12, 4)))
    assert chance.verdict == "wait"  # 2.9 % against 1.0 %: as many more may be chance
    assert judged(case, registry, both(files, rows[:40], UNKNOWN[:40], UNKNOWN[:40], errors=(50, 0))).verdict == "wait"
    early = judged(case, registry, both(files, rows, UNKNOWN, UNKNOWN))
    assert early.verdict == "wait" and "60 minutes are not over" in early.reason
    assert registry.states(NAME).rollout


def test_one_that_is_as_good_is_finished_and_once(
    files: Path, case: UseCase, registry: Registry, rows: pd.DataFrame
) -> None:
    labels = rows["Response"].tolist()
    assert judged(case, registry, both(files, rows, labels, labels), minutes=1e-9).verdict == "finish"
    last = registry.history(NAME)[-1]
    assert (last.action, last.who, registry.production(NAME)) == ("finish", f"monitor:monitor_{NAME}", 2)
    assert "600 rows since" in last.why and "(run run 9)" in last.why
    with pytest.raises(Nothing, match="no version is tried"):
        judged(case, registry, both(files, rows, labels, labels))


def test_one_that_predicts_otherwise_or_slowly_or_worse_is_taken_back(
    files: Path, case: UseCase, registry: Registry, rows: pd.DataFrame
) -> None:
    labels = rows["Response"].tolist()
    wrong = [1 - label for label in labels]
    answered = both(files, rows, UNKNOWN, UNKNOWN)
    failing_alone = Shipped(lambda since: [*answered.predictions(since)][:1], lambda since: [failures(2, 100)])
    for shipped, reason in (
        (
            both(files, rows, UNKNOWN, UNKNOWN, probability=pa.array([0.9] * ROWS)),
            "prediction shift against production",
        ),
        (both(files, rows, UNKNOWN, UNKNOWN, seconds=pa.array([0.05] * ROWS)), "5.0 times as long"),
        (both(files, rows, wrong, labels), "of production"),
        (
            both(files, rows, UNKNOWN, UNKNOWN, errors=(60, 6)),
            "9.1% of its 660 requests end in an error, 1.0% of production's 606",
        ),
        (failing_alone, "100.0% of its 100 requests end in an error"),
    ):
        found = judged(case, registry, shipped)
        assert found.verdict == "abort" and reason in found.reason
        last = registry.history(NAME)[-1]
        assert (last.action, registry.production(NAME), registry.states(NAME).rollout) == ("abort", 1, None)
        assert registry.states(NAME).hold(registry.version(NAME, 2).model_sha256)
        rollouts.start(registry, NAME, Plan(2, "canary", 10), who="a person", why="once more", force=True)


def test_of_a_few_rows_nothing_is_said_of_where_they_lie(
    files: Path, case: UseCase, registry: Registry, rows: pd.DataFrame
) -> None:
    count, few = 29, case.model_copy(update={"rollout": case.rollout.model_copy(update={"min_rows": 1})})
    other = both(files, rows[:count], UNKNOWN[:count], UNKNOWN[:count], probability=pa.array([0.9] * count))
    assert judged(few, registry, other).verdict == "wait"
    count += 1
    other = both(files, rows[:count], UNKNOWN[:count], UNKNOWN[:count], probability=pa.array([0.9] * count))
    assert judged(few, registry, other).verdict == "abort"


def test_a_slow_shadow_makes_nobody_wait(files: Path, case: UseCase, registry: Registry, rows: pd.DataFrame) -> None:
    rollouts.abort(registry, NAME, who="a person", why="a shadow first")
    rollouts.start(registry, NAME, Plan(2, "shadow"), who="a person", why="try", force=True)
    slow = both(files, rows, UNKNOWN, UNKNOWN, seconds=pa.array([5.0] * ROWS))
    assert judged(case, registry, slow, minutes=1e-9).verdict == "finish"


def test_a_move_meanwhile_makes_the_judgement_void(
    files: Path, case: UseCase, registry: Registry, rows: pd.DataFrame
) -> None:
    shipped = both(files, rows, UNKNOWN, UNKNOWN)

    def meanwhile(registry: Registry, since: datetime) -> Any:
        assert since <= datetime.now(UTC) + timedelta(seconds=1)
        if registry.states(NAME).rollout:
            rollouts.abort(registry, NAME, who="a person", why="I do not like it")
        return shipped.predictions(since)

    with pytest.raises(Nothing, match="the last move is"):
        judged(case, registry, Shipped(partial(meanwhile, registry), shipped.errors), minutes=1e-9)
    assert (registry.production(NAME), registry.history(NAME)[-1].who) == (1, "a person")
