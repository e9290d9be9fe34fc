"""A second bucket follows each move: as it is, after it, and without a say in it."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.support.key_pairs import write_key_pair
from tests.support.versions import NAME, model_folder, overwrite, promoted, pushed
from updraft.cli.registry import app
from updraft.registry import judgements, rollouts
from updraft.registry.archive.export import export
from updraft.registry.archive.load import check, load
from updraft.registry.registry import Registry, VerificationError, open_registry
from updraft.registry.s3 import BadRegistry
from updraft.registry.sign import sign


@pytest.fixture
def there(registry_environ: dict[str, str]) -> Registry:
    """The mirror, as a service that reads it opens it."""
    uri = f"s3://updraft-tests-mirror/{secrets.token_hex(6)}"
    return open_registry(registry_environ | {"UPDRAFT_REGISTRY": uri, "UPDRAFT_SIGNING_KEY": ""})


@pytest.fixture
def mirrored(registry_environ: dict[str, str], there: Registry) -> dict[str, str]:
    """The environment of the registry with its mirror."""
    return registry_environ | {"UPDRAFT_MIRROR": str(there.bucket)}


def put_requests(registry: Registry, refused: str) -> list[str]:
    """Record the keys that are written from now on; those with `refused` in them fail."""
    keys: list[str] = []

    def note(model: Any, params: dict[str, Any], **_: Any) -> None:
        keys.append(params["url_path"])
        if refused and refused in params["url_path"]:
            raise ConnectionError("no way there")

    registry.bucket.client.meta.events.register("before-call.s3.PutObject", note)
    return keys


def test_what_is_promoted_is_there_and_what_is_not_is_not(
    mirrored: dict[str, str], there: Registry, tmp_path: Path
) -> None:
    registry = open_registry(mirrored)
    pushed(registry, tmp_path, 4)
    assert (there.numbers(NAME), there.pointer(NAME)) == ([], None)
    judgements.write(registry.bucket, registry.keys, NAME, 2, "promote", "production moved", "a test")
    for number in (1, 2):
        registry.promote(NAME, number, expect=registry.production(NAME), who="ann", why="better")
        assert there.production(NAME) == number
    rollouts.start(registry, NAME, rollouts.Plan(4, "shadow"), who="ann", why="try it")
    assert [there.verify(NAME, number).number for number in there.numbers(NAME)] == [1, 2, 4]
    judgement = judgements.read(there.bucket, there.keys, NAME, 2)
    assert judgement and judgement.reason == "production moved"
    registry.rollback(NAME, who="ann", why="2 is bad")
    assert there.states(NAME) == registry.states(NAME)
    assert there.history(NAME) == registry.history(NAME)


def test_a_late_mirror_undoes_nothing_is_told_and_follows_later(
    mirrored: dict[str, str], there: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = open_registry(mirrored)
    put_requests(registry, there.bucket.base)
    with caplog.at_level(logging.WARNING, "updraft.registry.mirror"):
        promoted(registry, tmp_path, 1, 2)
    assert registry.production(NAME) == 2
    assert f"{NAME}: the mirror {there.bucket} is late, and is tried again: no way there" in caplog.text
    assert there.pointer(NAME) is None
    run = CliRunner()
    for arguments in (["mirror", "--check"], ["list"]):
        shown = run.invoke(app, arguments, env=mirrored)
        assert "at move 0, the registry at 2" in shown.stderr and shown.exit_code == (arguments != ["list"])
    again = open_registry(mirrored)
    keys = put_requests(again, "")
    again.follow(NAME)
    assert there.states(NAME) == registry.states(NAME)
    written = len(keys)
    again.follow(NAME)
    assert len(keys) == written  # what is there is not written twice
    shown = run.invoke(app, ["mirror"], env=mirrored)
    assert (shown.exit_code, shown.stdout) == (
        0,
        f"{NAME}: version 2 in production, and mirrored to {there.bucket}\n",
    )
    assert run.invoke(app, ["mirror", "--check"], env=mirrored).exit_code == 0


@pytest.mark.parametrize("stop_at", ["signature.json", "0002/manifest.json", "history/000002.json", "pointer.json"])
def test_a_mirror_that_was_interrupted_is_completed(
    stop_at: str, mirrored: dict[str, str], there: Registry, tmp_path: Path
) -> None:
    promoted(open_registry(mirrored), tmp_path, 1)
    registry = open_registry(mirrored)
    place = there.bucket.base

    def die(model: Any, params: dict[str, Any], **_: Any) -> None:
        if place in params["url_path"] and params["url_path"].endswith(stop_at):
            raise ConnectionError("dead")

    registry.bucket.client.meta.events.register("before-call.s3.PutObject", die)
    promoted(registry, tmp_path / "more", 2)
    assert (registry.production(NAME), there.production(NAME)) == (2, 1)
    open_registry(mirrored).follow(NAME)
    assert there.history(NAME) == registry.history(NAME)
    assert there.verify(NAME, 2).number == 2


def test_a_file_that_was_altered_is_not_mirrored(mirrored: dict[str, str], there: Registry, tmp_path: Path) -> None:
    registry = open_registry(mirrored | {"UPDRAFT_MIRROR": ""})
    promoted(registry, tmp_path, 1)
    overwrite(registry, f"{NAME}/versions/0001/model.joblib", lambda body: b"X" + body[1:])
    mirror = open_registry(mirrored).mirror
    assert mirror and "is not the file that was signed" in str(mirror.follow(NAME))
    assert (there.numbers(NAME), there.pointer(NAME)) == ([], None)


def test_what_is_there_is_never_replaced(mirrored: dict[str, str], there: Registry, tmp_path: Path) -> None:
    other = open_registry(mirrored | {"UPDRAFT_REGISTRY": str(there.bucket), "UPDRAFT_MIRROR": ""})
    other.push(NAME, model_folder(tmp_path / "theirs", "theirs"), {}, "theirs")
    other.promote(NAME, 1, expect=None, who="bob", why="mine")
    registry = open_registry(mirrored)
    promoted(registry, tmp_path, 1)
    assert registry.production(NAME) == 1
    assert registry.mirror and "has moves of its own" in str(registry.mirror.follow(NAME))
    assert there.version(NAME, 1).manifest["run_id"] == "theirs"
    assert [move.who for move in there.history(NAME)] == ["bob"]


def test_signatures_follow_a_rotation_of_the_key(
    mirrored: dict[str, str], there: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    promoted(open_registry(mirrored), tmp_path, 1, 2)
    new = write_key_pair(tmp_path)
    both = {**new, "UPDRAFT_VERIFY_KEY": f"{new['UPDRAFT_VERIFY_KEY']}:{registry_environ['UPDRAFT_VERIFY_KEY']}"}
    renewed = mirrored | new | {"UPDRAFT_REGISTRY": str(there.bucket), "UPDRAFT_MIRROR": ""}
    assert list(sign(open_registry(mirrored | both | {"UPDRAFT_MIRROR": ""}), NAME, who="ann"))  # the mirror is away
    with pytest.raises(VerificationError, match="another key"):
        open_registry(renewed).production(NAME)
    late = CliRunner().invoke(app, ["mirror", "--check"], env=mirrored | both)
    assert late.exit_code == 1 and "its signatures are those of before" in late.stderr
    assert list(sign(open_registry(mirrored | both), NAME, who="ann"))
    mirror = open_registry(renewed)
    assert (mirror.production(NAME), len(mirror.history(NAME))) == (2, 2)
    assert [mirror.verify(NAME, number).number for number in (1, 2)] == [1, 2]


def test_what_is_imported_is_mirrored_too(mirrored: dict[str, str], there: Registry, tmp_path: Path) -> None:
    source = open_registry(
        mirrored | {"UPDRAFT_REGISTRY": f"s3://updraft-tests/{secrets.token_hex(6)}", "UPDRAFT_MIRROR": ""}
    )
    promoted(source, tmp_path, 1)
    export(source, [], tmp_path / "models.tar", count=lambda done, total: None)
    registry = open_registry(mirrored)
    _, plans = check(registry, tmp_path / "models.tar", lambda done, total: None)
    assert list(load(registry, tmp_path / "models.tar", plans, lambda done, total: None))
    assert there.history(NAME) == source.history(NAME)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("there", "UPDRAFT_MIRROR: 'there' is not s3://bucket"),
        ("s3://bucket/models/", "UPDRAFT_MIRROR: 's3://bucket/models' is the registry itself"),
    ],
)
def test_a_wrong_mirror_is_named(uri: str, message: str, key_files: dict[str, str]) -> None:
    with pytest.raises(BadRegistry, match=message):
        open_registry({**key_files, "UPDRAFT_REGISTRY": "s3://bucket/models", "UPDRAFT_MIRROR": uri})
    assert open_registry({**key_files, "UPDRAFT_REGISTRY": "s3://bucket", "UPDRAFT_MIRROR": ""}).mirror is None


def test_without_a_mirror_the_command_says_what_to_set(registry_environ: dict[str, str]) -> None:
    shown = CliRunner().invoke(app, ["mirror"], env=registry_environ | {"UPDRAFT_MIRROR": ""})
    assert shown.exit_code == 1 and shown.stderr.startswith("updraft: UPDRAFT_MIRROR: not set; expected s3://")
