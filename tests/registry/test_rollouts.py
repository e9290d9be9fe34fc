"""Rollouts: started, finished, taken back and ended by signed moves; one at a time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.versions import NAME, model_folder, overwrite, promoted, pushed
from updraft.registry.prune import prunable
from updraft.registry.registry import HeldModel, NoSuchVersion, PointerMoved, Registry, VerificationError
from updraft.registry.rollouts import NoRollout, Plan, RolloutRunning, abort, finish, start
from updraft.registry.s3 import BadRegistry
from updraft.registry.sign import sign

CANARY = Plan(2, "canary", 10.0)


def states(registry: Registry) -> list[str]:
    current = registry.states(NAME)
    return [current.of(version.number, version.model_sha256) for version in registry.versions(NAME)]


@pytest.fixture
def one_of_three(registry: Registry, tmp_path: Path) -> Registry:
    """Three versions, the first in production."""
    pushed(registry, tmp_path, 3)
    registry.promote(NAME, 1, expect=None, who="a test", why="the first")
    return registry


def test_a_canary_stands_in_the_pointer_beside_production_and_its_finish_promotes_it(one_of_three: Registry) -> None:
    pointer = start(one_of_three, NAME, CANARY, who="airflow:train", why="it wins")
    assert pointer.rollout and (pointer.production, pointer.sequence) == (1, 2)
    assert (pointer.rollout.version, pointer.rollout.mode, pointer.rollout.percent) == (2, "canary", 10.0)
    assert states(one_of_three) == ["production", "rollout", "stored"]
    assert one_of_three.pointer(NAME) == pointer
    done = finish(one_of_three, NAME, who="monitor:run", why="as good")
    assert (done.production, done.previous, done.rollout, done.who) == (2, 1, None, "monitor:run")
    assert states(one_of_three) == ["former", "production", "stored"]
    assert one_of_three.rollback(NAME, who="ann", why="bad after all") == 1
    assert [move.action for move in one_of_three.history(NAME)] == ["promote", "canary", "finish", "rollback"]


def test_what_is_taken_back_is_held_and_tried_again_by_force_alone(one_of_three: Registry) -> None:
    start(one_of_three, NAME, Plan(2, "shadow"), who="ann", why="look")
    assert abort(one_of_three, NAME, who="monitor:run", why="errors") == 2
    assert states(one_of_three) == ["production", "held", "stored"]
    with pytest.raises(HeldModel, match=r"version 2 is held by monitor:run on .*: errors"):
        start(one_of_three, NAME, CANARY, who="airflow:train", why="again")
    with pytest.raises(HeldModel):
        one_of_three.promote(NAME, 2, expect=1, who="airflow:train", why="again")
    start(one_of_three, NAME, CANARY, who="ann", why="the errors were ours", force=True)
    assert states(one_of_three) == ["production", "rollout", "stored"]
    finish(one_of_three, NAME, who="ann", why="good")
    assert states(one_of_three) == ["former", "production", "stored"]


def test_there_is_one_rollout_at_a_time_and_starting_it_again_changes_nothing(one_of_three: Registry) -> None:
    first = start(one_of_three, NAME, CANARY, who="ann", why="look")
    assert start(one_of_three, NAME, CANARY, who="a retry", why="it died before it knew") == first
    for plan in (Plan(3, "canary", 10.0), Plan(2, "canary", 20.0), Plan(2, "shadow")):
        with pytest.raises(RolloutRunning, match=r"version 2 is in a rollout \(canary 10 % since "):
            start(one_of_three, NAME, plan, who="ann", why="another")
    assert len(one_of_three.history(NAME)) == 2


@pytest.mark.parametrize("end", ["promote", "rollback", "hold", "hold the twin", "remove"])
def test_a_move_of_production_ends_a_rollout(end: str, registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1, 2)
    for number in (3, 4):
        registry.push(NAME, model_folder(tmp_path / f"more{number}", "more"), {}, f"more {number}")
    other = registry.push(NAME, model_folder(tmp_path / "other", "other"), {}, "other").number
    start(registry, NAME, Plan(3, "canary", 10.0), who="ann", why="look")
    reason = {"who": "ann", "why": "now"}
    if end == "promote":
        registry.promote(NAME, other, expect=2, who="ann", why="now")
    elif end == "rollback":
        registry.rollback(NAME, **reason)
    elif end == "remove":
        registry.remove(NAME, **reason)
    else:
        registry.hold(NAME, 4 if "twin" in end else 3, **reason)
    pointer = registry.pointer(NAME)
    assert pointer and pointer.rollout is None
    assert states(registry)[2] == ("held" if "hold" in end else "stored")
    for call in (finish, abort):
        with pytest.raises(NoRollout, match="no version is in a rollout"):
            call(registry, NAME, who="ann", why="too late")


def test_moves_that_are_about_something_else_keep_the_rollout(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1)
    for number in range(2, 6):
        registry.push(NAME, model_folder(tmp_path / f"more{number}", f"more {number}"), {}, f"more {number}")
    start(registry, NAME, CANARY, who="ann", why="look")
    registry.hold(NAME, 3, who="ann", why="3 is bad")
    assert [version.number for version in prunable(registry, NAME, 1)] == [4]
    list(sign(registry, NAME, who="ann", above=50))
    assert states(registry) == ["production", "rollout", "held", "stored", "stored"]


def test_a_rollout_needs_something_in_production_and_another_model(registry: Registry, tmp_path: Path) -> None:
    pushed(registry, tmp_path, 2)
    with pytest.raises(NoSuchVersion, match="nothing is in production beside which version 2"):
        start(registry, NAME, CANARY, who="ann", why="look")
    registry.promote(NAME, 1, expect=None, who="ann", why="the first")
    twin = registry.push(NAME, model_folder(tmp_path / "twin", "model 1"), {}, "twin").number
    for number in (1, twin):
        with pytest.raises(BadRegistry, match="has the model in production"):
            start(registry, NAME, Plan(number, "shadow"), who="ann", why="look")
    with pytest.raises(NoSuchVersion, match="no version 9"):
        start(registry, NAME, Plan(9, "shadow"), who="ann", why="look")
    with pytest.raises(NoRollout):
        finish(registry, NAME, who="ann", why="of nothing")


@pytest.mark.parametrize("percent", [None, 0.0, -1.0, 100.5, float("nan")])
def test_a_canary_needs_a_percent(percent: float | None) -> None:
    with pytest.raises(BadRegistry, match="expected a number above 0"):
        Plan(2, "canary", percent)


def test_a_shadow_has_no_percent() -> None:
    with pytest.raises(BadRegistry, match="percent 10"):
        Plan(2, "shadow", 10)


def test_who_measured_one_move_does_not_act_on_another(one_of_three: Registry) -> None:
    measured = start(one_of_three, NAME, CANARY, who="ann", why="look").sequence
    one_of_three.hold(NAME, 3, who="ann", why="meanwhile")
    for call in (finish, abort, one_of_three.rollback):
        arguments = (NAME,) if call == one_of_three.rollback else (one_of_three, NAME)
        with pytest.raises(PointerMoved, match="the last move is 3, expected 2"):
            call(*arguments, who="monitor:run", why="old", expected_sequence=measured)  # type: ignore[operator]
    with pytest.raises(PointerMoved):
        one_of_three.promote(NAME, 2, expect=1, who="airflow:train", why="old", expected_sequence=measured)
    with pytest.raises(PointerMoved):
        start(one_of_three, NAME, CANARY, who="airflow:train", why="old", expected_sequence=measured)
    finish(one_of_three, NAME, who="monitor:run", why="now", expected_sequence=measured + 1)


def test_an_altered_version_is_neither_tried_nor_finished_but_taken_back(one_of_three: Registry) -> None:
    key = f"{NAME}/versions/{{}}/model.joblib"
    overwrite(one_of_three, key.format("0003"), lambda body: body + b"x")
    with pytest.raises(VerificationError, match="is not the file that was signed"):
        start(one_of_three, NAME, Plan(3, "shadow"), who="ann", why="look")
    start(one_of_three, NAME, CANARY, who="ann", why="look")
    overwrite(one_of_three, key.format("0002"), lambda body: body + b"x")
    with pytest.raises(VerificationError, match="is not the file that was signed"):
        finish(one_of_three, NAME, who="ann", why="good")
    one_of_three.bucket.delete(f"{NAME}/versions/0002/manifest.json")
    assert abort(one_of_three, NAME, who="ann", why="altered") == 2
    assert one_of_three.pointer(NAME).rollout is None  # type: ignore[union-attr]
    assert [hold.version for hold in one_of_three.states(NAME).holds.values()] == [2]


def test_of_a_finish_and_an_abort_at_the_same_moment_one_wins(one_of_three: Registry) -> None:
    calls, barrier = (finish, abort), threading.Barrier(2)
    for _ in range(5):
        start(one_of_three, NAME, CANARY, who="ann", why="look", force=True)

        def run(index: int) -> str:
            barrier.wait()
            try:
                calls[index](one_of_three, NAME, who="a racer", why="a race")
            except (PointerMoved, NoRollout, HeldModel):
                return "lost"
            return "won"

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(run, range(2))) == ["lost", "won"]
        if one_of_three.production(NAME) == 2:
            one_of_three.promote(NAME, 1, expect=2, who="ann", why="again")
