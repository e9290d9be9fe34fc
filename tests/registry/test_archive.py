"""A registry moves in one file: whole, believed only as far as it is signed, and never in place of what is there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.archives import objects, read_archive, write_archive
from tests.support.versions import NAME, model_folder, overwrite, promoted, pushed
from updraft.errors import UserError
from updraft.registry import claims, judgements, rollouts
from updraft.registry.archive.contents import INDEX
from updraft.registry.prune import prunable, prune
from updraft.registry.registry import HeldModel, NoSuchVersion, PointerMoved, Registry, open_registry
from updraft.registry.s3 import BadRegistry, VerificationError

MODEL = f"{NAME}/versions/0001/model.joblib"


def eventful(registry: Registry, tmp_path: Path) -> None:
    """Fill a registry: 1 former and 3 in production, 2 held, 5 in a rollout, 4 pruned, 6 judged again."""
    pushed(registry, tmp_path, 4)
    for number in (1, 3):
        registry.promote(NAME, number, expect=registry.production(NAME), who="ann", why="better")
    registry.hold(NAME, 2, who="ann", why="2 is bad")
    for number in (5, 6):
        folder = model_folder(tmp_path / f"later{number}", f"later {number}")
        registry.push(NAME, folder, {"metrics": {"f1": 0.5}}, f"later {number}")
    rollouts.start(registry, NAME, rollouts.Plan(5, "canary", 10), who="ann", why="try it")
    doomed = [version for version in prunable(registry, NAME, 1) if version.number == 4]
    prune(registry, NAME, doomed, keep=1, who="ann", why="old")
    judgements.write(registry.bucket, registry.keys, NAME, 6, "keep", "production moved", "airflow")


def test_everything_moves_and_what_was_taken_back_stays_back(
    registry: Registry, other: Registry, tmp_path: Path
) -> None:
    eventful(registry, tmp_path)
    registry.push("churn", model_folder(tmp_path / "churn", "churn"), {}, "churn 1")
    file = write_archive(registry, tmp_path / "models.tar")
    with tarfile.open(file) as tar:
        assert tar.getnames()[0] == INDEX and f"{NAME}/pointer.json" in tar.getnames()
    churn, moved = read_archive(other, file)
    assert (churn.created, churn.moves, churn.states.production) == ([1], 0, None)
    assert (moved.created, moved.moves, moved.states) == ([1, 2, 3, 5, 6], 5, registry.states(NAME))
    assert objects(other) == objects(registry)
    assert [other.verify(NAME, number).number for number in other.numbers(NAME)] == [1, 2, 3, 5, 6]
    judgement = judgements.read(other.bucket, other.keys, NAME, 6)
    assert judgement and judgement.reason == "production moved"
    with pytest.raises(HeldModel, match="2 is bad"):
        other.promote(NAME, 2, expect=3, who="bob", why="again")
    # Numbers and runs go on as they would have: a run has its version, and 4 is given to nobody.
    assert other.push(NAME, tmp_path / "later6", {"metrics": {"f1": 0.5}}, "later 6").number == 6
    assert other.push(NAME, model_folder(tmp_path / "new", "new"), {}, "new").number == 7


def test_a_number_that_is_taken_is_not_given_twice(registry: Registry, other: Registry, tmp_path: Path) -> None:
    pushed(registry, tmp_path, 1)
    file = write_archive(registry, tmp_path / "models.tar")
    for run_id, owner in (("another run", "run 'another run'"), (None, "a version that was pruned")):
        other.bucket.delete(f"{NAME}/versions/0001/claim.json")
        claims.take(other.bucket, NAME, 1, run_id, "2026-01-01")
        with pytest.raises(BadRegistry, match=f"version 1 is of {owner}, not of run 'run 1'"):
            read_archive(other, file)


def test_a_number_that_was_pruned_there_and_is_in_use_here_ends_the_import(
    registry: Registry, other: Registry, tmp_path: Path
) -> None:
    """Or the next `prune` here would delete a version that nobody pruned."""
    promoted(registry, tmp_path, 3)
    prune(registry, NAME, prunable(registry, NAME, 1), keep=1, who="ann", why="old")
    pushed(other, tmp_path / "theirs", 1)
    with pytest.raises(BadRegistry, match="has a version 1, the number of one that was pruned"):
        read_archive(other, write_archive(registry, tmp_path / "models.tar"))
    assert other.pointer(NAME) is None


def test_a_second_import_skips_what_is_there_and_a_later_archive_adds_the_rest(
    registry: Registry, other: Registry, tmp_path: Path
) -> None:
    promoted(registry, tmp_path, 1)
    first = write_archive(registry, tmp_path / "first.tar")
    read_archive(other, first)
    before = objects(other)
    (again,) = read_archive(other, first)
    assert (again.created, again.skipped, again.moves, objects(other)) == ([], [1], 0, before)
    pushed(registry, tmp_path / "more", 2)
    registry.promote(NAME, 2, expect=1, who="ann", why="better")
    registry.rollback(NAME, who="ann", why="worse")
    (later,) = read_archive(other, write_archive(registry, tmp_path / "later.tar"))
    assert (later.created, later.skipped, later.moves) == ([2], [1], 2)
    assert other.states(NAME) == registry.states(NAME)
    other.remove(NAME, who="bob", why="replaced")
    (behind,) = read_archive(other, first)
    assert (behind.moves, behind.ahead, other.production(NAME)) == (0, True, None)


def test_what_was_pruned_here_does_not_come_back(registry: Registry, other: Registry, tmp_path: Path) -> None:
    pushed(registry, tmp_path, 3)
    file = write_archive(registry, tmp_path / "models.tar")
    read_archive(other, file)
    prune(other, NAME, prunable(other, NAME, 1), keep=1, who="ann", why="old")
    (moved,) = read_archive(other, file)
    assert (moved.created, moved.skipped, moved.pruned, other.numbers(NAME)) == ([], [3], [1, 2], [3])


def test_other_bytes_under_the_same_key_end_the_import_before_anything_is_written(
    registry: Registry, other: Registry, tmp_path: Path
) -> None:
    promoted(registry, tmp_path, 1, 2)
    file = write_archive(registry, tmp_path / "models.tar")
    other.push(NAME, model_folder(tmp_path / "theirs", "theirs"), {}, "theirs")
    before = objects(other)
    with pytest.raises(
        BadRegistry, match=r"version 1: .* another version of this number \(run 'theirs' of .*nothing was"
    ):
        read_archive(other, file)
    assert objects(other) == before


def test_moves_of_ones_own_are_not_replaced(registry: Registry, other: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1)
    file = write_archive(registry, tmp_path / "models.tar")
    read_archive(other, file)
    pushed(registry, tmp_path / "more", 2)
    registry.promote(NAME, 2, expect=1, who="ann", why="better")
    other.remove(NAME, who="bob", why="bad")
    before = objects(other)
    with pytest.raises(BadRegistry, match="has moves of its own"):
        read_archive(other, write_archive(registry, tmp_path / "later.tar"))
    assert objects(other) == before


def test_a_changed_file_of_a_version_that_is_there_is_named(
    registry: Registry, other: Registry, tmp_path: Path
) -> None:
    promoted(registry, tmp_path, 1)
    file = write_archive(registry, tmp_path / "models.tar")
    read_archive(other, file)
    overwrite(other, MODEL, lambda body: body[:-1] + b"X")
    with pytest.raises(VerificationError, match=r"version 1: 'model\.joblib' is not the file that was signed"):
        read_archive(other, file)


@pytest.mark.parametrize("stop_at", ["signature.json", "manifest.json", "history/000001.json", "pointer.json"])
def test_an_import_that_dies_midway_is_completed_by_the_next(
    stop_at: str, registry: Registry, other: Registry, other_environ: dict[str, str], tmp_path: Path
) -> None:
    promoted(registry, tmp_path, 1, 2)
    file, dying = write_archive(registry, tmp_path / "models.tar"), open_registry(other_environ)

    def die(model: Any, params: dict[str, Any], **_: Any) -> None:
        if params["url_path"].endswith(stop_at):
            raise ConnectionError("dead")

    dying.bucket.client.meta.events.register("before-call.s3.PutObject", die)
    with pytest.raises(ConnectionError):
        read_archive(dying, file)
    assert other.pointer(NAME) is None
    (moved,) = read_archive(other, file)
    assert moved.states == registry.states(NAME)
    assert objects(other) == objects(registry)


KILLED = """
import os, signal, sys
from pathlib import Path
from updraft.registry.archive.load import check, load
from updraft.registry.registry import open_registry

def die(model, params, **_):
    if params["url_path"].endswith("0002/manifest.sig"):
        os.kill(os.getpid(), signal.SIGKILL)

registry, file = open_registry(os.environ), Path(sys.argv[1])
registry.bucket.client.meta.events.register("before-call.s3.PutObject", die)
index, plans = check(registry, file, lambda done, total: None)
list(load(registry, file, plans, lambda done, total: None))
"""


def test_an_import_that_is_killed_is_completed_by_the_next(
    registry: Registry, other: Registry, other_environ: dict[str, str], tmp_path: Path
) -> None:
    promoted(registry, tmp_path, 1, 2)
    file = write_archive(registry, tmp_path / "models.tar")
    environ = {**os.environ, **other_environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(file)], env=environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (other.numbers(NAME), other.pointer(NAME)) == ([1], None)
    (moved,) = read_archive(other, file)
    assert (moved.created, moved.skipped, moved.moves) == ([2], [1], 2)
    assert objects(other) == objects(registry)


def test_what_an_interrupted_import_left_is_compared(
    registry: Registry, other: Registry, other_environ: dict[str, str], tmp_path: Path
) -> None:
    promoted(registry, tmp_path, 1)
    file = write_archive(registry, tmp_path / "models.tar")
    read_archive(other, file)
    for key in (f"{NAME}/versions/0001/manifest.json", f"{NAME}/pointer.json"):
        other.bucket.delete(key)
    overwrite(other, MODEL, lambda body: b"other")
    with pytest.raises(BadRegistry, match=r"0001/model\.joblib has other bytes than"):
        read_archive(other, file)
    assert (other.numbers(NAME), other.pointer(NAME)) == ([], None)


def test_what_does_not_verify_is_not_exported(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1)
    file = tmp_path / "models.tar"
    whole = registry.bucket.get(MODEL)
    assert whole
    for change, message in ((lambda body: b"X" + body[1:], "not what was signed"), (lambda body: b"", "not what was")):
        overwrite(registry, MODEL, change)
        with pytest.raises(VerificationError, match=message):
            write_archive(registry, file)
        registry.bucket.put(MODEL, whole[0])
    registry.bucket.delete(MODEL)
    with pytest.raises(VerificationError, match=r"model\.joblib is missing"):
        write_archive(registry, file)
    assert not list(tmp_path.glob("models.tar*"))


def test_an_export_overwrites_nothing_unasked_and_names_what_is_not_there(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "models.tar"
    with pytest.raises(NoSuchVersion, match="no version in s3://"):
        write_archive(registry, file)
    promoted(registry, tmp_path, 1)
    with pytest.raises(NoSuchVersion, match="churn: no version"):
        write_archive(registry, file, NAME, "churn")
    write_archive(registry, file, NAME, NAME)
    before = file.read_bytes()
    with pytest.raises(BadRegistry, match="exists; --force overwrites it"):
        write_archive(registry, file)
    assert file.read_bytes() == before
    assert write_archive(registry, file, force=True).read_bytes() != before


def test_a_move_at_the_same_moment_ends_the_export(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    promoted(registry, tmp_path, 1)
    moving = open_registry(registry_environ)

    def move(model: Any, params: dict[str, Any], **_: Any) -> None:
        if params["url_path"].endswith("history/000001.json") and moving.production(NAME):
            moving.remove(NAME, who="bob", why="now")

    registry.bucket.client.meta.events.register("before-call.s3.GetObject", move)
    with pytest.raises((PointerMoved, UserError), match=r"moved while|changed meanwhile"):
        write_archive(registry, tmp_path / "models.tar")
    assert not (tmp_path / "models.tar").exists()


def test_a_large_file_moves_in_parts(registry: Registry, other: Registry, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "large")
    (folder / "large.bin").write_bytes(os.urandom((17 << 20) + 5))
    registry.push(NAME, folder, {}, "large")
    (moved,) = read_archive(other, write_archive(registry, tmp_path / "models.tar"))
    assert (moved.created, other.verify(NAME, 1).number) == ([1], 1)
