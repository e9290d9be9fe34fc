"""What became of a version: stored, rollout, production, former, held."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.versions import NAME, model_folder, promoted, pushed
from updraft.registry.moves import Move
from updraft.registry.registry import HeldModel, NoSuchVersion, Registry
from updraft.registry.s3 import BadRegistry
from updraft.registry.states import replay


def states(registry: Registry) -> list[str]:
    """Give the state of each version, oldest first."""
    current = registry.states(NAME)
    return [current.of(version.number, version.model_sha256) for version in registry.versions(NAME)]


def same_bytes(registry: Registry, tmp_path: Path, number: int, run: str) -> int:
    """Push a version whose model has the bytes of that of version `number`."""
    return registry.push(NAME, model_folder(tmp_path / run, f"model {number}"), {"seed": 9}, run).number


def test_states_follow_the_moves(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1, 2)
    pushed(registry, tmp_path / "more", 3)
    assert states(registry) == ["former", "production", "stored"]
    registry.rollback(NAME, who="ann", why="2 is bad")
    assert states(registry) == ["production", "held", "stored"]
    registry.hold(NAME, 3, who="bob", why="trained on broken rows")
    assert states(registry) == ["production", "held", "held"]
    assert registry.production(NAME) == 1
    hold = registry.states(NAME).hold(registry.version(NAME, 3).model_sha256)
    assert hold and (hold.version, hold.who, hold.why) == (3, "bob", "trained on broken rows")


def test_the_manifest_names_the_models_bytes(registry: Registry, tmp_path: Path) -> None:
    pushed(registry, tmp_path, 1)
    manifest = registry.verify(NAME, 1).manifest
    assert manifest["model_sha256"] == manifest["files"]["model.joblib"]["sha256"]


def test_a_held_model_is_promoted_by_force_alone_which_lifts_the_hold(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1, 2)
    registry.rollback(NAME, who="ann", why="2 is bad")
    twin = same_bytes(registry, tmp_path, 2, "another run")
    for number, held in ((2, "version 2 is held by ann"), (twin, "version 3 is held as version 2 by ann")):
        with pytest.raises(HeldModel, match=rf"{held} on .*: 2 is bad; --force"):
            registry.promote(NAME, number, expect=1, who="airflow:train", why="it wins")
    assert states(registry) == ["production", "held", "held"]
    registry.promote(NAME, twin, expect=1, who="ann", why="2 was good", force=True)
    assert states(registry) == ["former", "former", "production"]
    assert registry.rollback(NAME, who="ann", why="no, it is bad") == 1
    assert states(registry) == ["production", "held", "held"]


def test_a_rollback_passes_over_what_is_held(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1, 2, 3)
    registry.hold(NAME, 2, who="ann", why="2 is bad")
    assert registry.rollback(NAME, who="ann", why="3 is bad") == 1


def test_a_rollback_does_not_put_back_the_same_bytes(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1)
    twin = same_bytes(registry, tmp_path, 1, "twin")
    registry.promote(NAME, twin, expect=1, who="ann", why="the same")
    with pytest.raises(NoSuchVersion, match="not held"):
        registry.rollback(NAME, who="ann", why="bad")
    assert registry.production(NAME) == twin


def test_what_is_in_production_is_rolled_back_not_held(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1)
    twin = same_bytes(registry, tmp_path, 1, "twin")
    for number in (1, twin):
        with pytest.raises(BadRegistry, match="registry rollback"):
            registry.hold(NAME, number, who="ann", why="bad")
    with pytest.raises(NoSuchVersion):
        registry.hold(NAME, 7, who="ann", why="bad")


def test_a_version_can_be_held_before_anything_is_in_production(registry: Registry, tmp_path: Path) -> None:
    pushed(registry, tmp_path, 1)
    registry.hold(NAME, 1, who="ann", why="bad")
    assert (states(registry), registry.production(NAME)) == (["held"], None)
    with pytest.raises(HeldModel):
        registry.promote(NAME, 1, expect=None, who="airflow:train", why="the first")


def test_a_removed_use_case_begins_again_with_the_sequence_going_on(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1, 2)
    registry.rollback(NAME, who="ann", why="2 is bad")
    registry.remove(NAME, who="ann", why="replaced")
    assert (registry.production(NAME), states(registry)) == (None, ["former", "held"])
    with pytest.raises(NoSuchVersion, match="nothing is in production"):
        registry.rollback(NAME, who="ann", why="back")
    with pytest.raises(NoSuchVersion, match="removed already"):
        registry.remove(NAME, who="ann", why="twice")
    with pytest.raises(HeldModel):
        registry.promote(NAME, 2, expect=None, who="airflow:train", why="again")
    again = registry.push(NAME, model_folder(tmp_path / "again", "another"), {}, "again")
    registry.promote(NAME, again.number, expect=None, who="airflow:train", why="begins again")
    assert [(move.sequence, move.production) for move in registry.history(NAME)][-2:] == [(4, None), (5, 3)]
    with pytest.raises(NoSuchVersion, match="before version 3"):
        registry.rollback(NAME, who="ann", why="not to what was before the removal")


def test_a_rollout_is_read_and_has_its_state() -> None:
    """Nothing starts one yet: a later Updraft does, and this one reads what it wrote."""
    sha = {number: f"{number:064x}" for number in (1, 2)}
    rest = {"previous": None, "who": "a", "when": "2026-11-28", "why": "b", "move": "c", "name": NAME}
    rollout = {"version": 2, "mode": "canary", "percent": 10.0, "since": "2026-11-28"}
    moves = [
        {"sequence": 1, "after": 0, "action": "promote", "version": 1, "model_sha256": sha[1], "production": 1},
        {"sequence": 2, "after": 1, "action": "canary", "version": 2, "model_sha256": sha[2], "production": 1}
        | {"rollout": rollout},
    ]
    current = replay(Move.model_validate(move | rest) for move in moves)
    assert [current.of(number, sha[number]) for number in (1, 2)] == ["production", "rollout"]
    finish = {"sequence": 3, "after": 2, "action": "finish", "version": 2, "model_sha256": sha[2], "production": 2}
    current = replay(Move.model_validate(move | rest) for move in [*moves, finish])
    assert [current.of(number, sha[number]) for number in (1, 2)] == ["former", "production"]
    assert current.below() == 1
