"""Old versions are deleted, and only those that nobody needs, whatever else happens at that moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.versions import NAME, model_folder, overwrite, promoted, pushed
from updraft.registry.prune import prunable, prune
from updraft.registry.registry import BadRegistry, NoSuchVersion, PointerMoved, Registry, open_registry


def pruned(registry: Registry, keep: int) -> list[int]:
    return prune(registry, NAME, prunable(registry, NAME, keep), keep=keep, who="ann", why="old")


def test_stored_versions_but_for_the_latest_go_and_all_others_stay(registry: Registry, tmp_path: Path) -> None:
    pushed(registry, tmp_path, 9)
    for number in (2, 3, 5):
        registry.promote(NAME, number, expect=registry.production(NAME), who="a test", why="better")
    registry.rollback(NAME, who="ann", why="5 is bad")
    registry.hold(NAME, 4, who="ann", why="4 is bad")
    assert [version.number for version in prunable(registry, NAME, 2)] == [1, 6, 7]
    assert registry.numbers(NAME) == list(range(1, 10))
    assert pruned(registry, 2) == [1, 6, 7]
    assert registry.numbers(NAME) == [2, 3, 4, 5, 8, 9]
    assert registry.production(NAME) == 3
    assert [registry.verify(NAME, number).number for number in (2, 3, 4, 5, 8, 9)] == [2, 3, 4, 5, 8, 9]
    last = registry.history(NAME)[-1]
    assert (last.action, last.versions, last.production) == ("prune", [1, 6, 7], 3)
    assert list(registry.bucket.keys(f"{NAME}/versions/0001/")) == ["claim.json"]
    assert pruned(registry, 2) == []
    with pytest.raises(NoSuchVersion):
        registry.promote(NAME, 1, expect=3, who="ann", why="back")
    assert registry.rollback(NAME, who="ann", why="3 is bad, too") == 2


def test_a_number_is_not_given_twice_nor_to_the_run_that_had_it(registry: Registry, tmp_path: Path) -> None:
    pushed(registry, tmp_path, 3)
    assert pruned(registry, 1) == [1, 2]
    again = registry.push(NAME, tmp_path / "model1", {}, "run 1")
    assert (again.number, registry.numbers(NAME)) == (4, [3, 4])
    assert registry.push(NAME, tmp_path / "model1", {}, "run 1").number == 4


def test_what_is_promoted_at_the_same_moment_stays(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    pushed(registry, tmp_path, 3)
    other, at = open_registry(registry_environ), list[str]()

    def promote(model: Any, params: dict[str, Any], **_: Any) -> None:
        if not at and params["url_path"].endswith("pointer.json"):
            at.append("now")
            other.promote(NAME, 1, expect=None, who="bob", why="faster")

    registry.bucket.client.meta.events.register("before-call.s3.PutObject", promote)
    with pytest.raises(PointerMoved):
        pruned(registry, 1)
    assert (registry.numbers(NAME), registry.production(NAME)) == ([1, 2, 3], 1)
    assert pruned(registry, 1) == [2]


def test_what_is_pruned_at_the_same_moment_is_not_promoted(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    """A promotion that has verified the version, and one that begins between the move and the deletion."""
    pushed(registry, tmp_path, 3)
    other, at = open_registry(registry_environ), list[str]()

    def prune_first(model: Any, params: dict[str, Any], **_: Any) -> None:
        if not at and params["url_path"].endswith("pointer.json"):
            at.append("now")
            pruned(other, 1)

    registry.bucket.client.meta.events.register("before-call.s3.PutObject", prune_first)
    with pytest.raises(PointerMoved):
        registry.promote(NAME, 1, expect=None, who="bob", why="slower")

    dying, tried = open_registry(registry_environ), list[type[Exception]]()

    def promote_between(model: Any, params: dict[str, Any], **_: Any) -> None:
        if not tried and params["url_path"].endswith("versions/0003/claim.json"):
            try:
                registry.promote(NAME, 3, expect=None, who="bob", why="between")
            except NoSuchVersion as error:
                tried.append(type(error))
            raise ConnectionError("dead")

    later = registry.push(NAME, model_folder(tmp_path / "later", "later"), {}, "later").number
    dying.bucket.client.meta.events.register("before-call.s3.PutObject", promote_between)
    with pytest.raises(ConnectionError):
        pruned(dying, 1)
    assert tried == [NoSuchVersion]
    assert registry.production(NAME) is None
    assert pruned(registry, 1) == [3]  # what the dead one left
    assert registry.numbers(NAME) == [later] == [4]


def test_what_does_not_verify_is_left_alone(registry: Registry, tmp_path: Path) -> None:
    pushed(registry, tmp_path, 3)
    overwrite(registry, f"{NAME}/versions/0001/manifest.json", lambda body: body.replace(b"run 1", b"run 9"))
    assert pruned(registry, 1) == [2]
    assert registry.numbers(NAME) == [1, 3]
    with pytest.raises(BadRegistry, match="expected 1 or more"):
        prunable(registry, NAME, 0)


def test_a_use_case_with_a_production_keeps_serving(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1)
    registry.push(NAME, model_folder(tmp_path / "two", "two"), {}, "two")
    registry.push(NAME, model_folder(tmp_path / "three", "three"), {}, "three")
    assert pruned(registry, 1) == [2]
    pointer = registry.pointer(NAME)
    assert pointer and (pointer.production, pointer.action) == (1, "prune")
