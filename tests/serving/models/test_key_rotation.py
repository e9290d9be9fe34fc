"""A rotation of the signing key by the steps of docs/registry.md, with services that go on serving meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.models.live_models import LiveModels
from serving.models.version_cache import Cache
from tests.support.key_pairs import write_key_pair
from tests.support.small_models import NAME, loaded_model, model, promote, push
from updraft.cli.registry import app
from updraft.registry import judgements, monitor_state
from updraft.registry.registry import Registry, VerificationError, open_registry
from updraft.registry.signing_keys import load_keys

NONE = "0" * 64


@pytest.fixture
def machines(registry_environ: dict[str, str], tmp_path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The environments of a writer, which signs, and of a service, each with files of its own for the keys."""
    writer, service = dict(registry_environ), dict(registry_environ, UPDRAFT_SIGNING_KEY="")
    for machine, environ in (("writer", writer), ("service", service)):
        (tmp_path / machine).mkdir()
        for variable in ("UPDRAFT_SIGNING_KEY", "UPDRAFT_VERIFY_KEY"):
            if environ[variable]:
                path = tmp_path / machine / Path(environ[variable]).name
                path.write_bytes(Path(environ[variable]).read_bytes())
                environ[variable] = str(path)
    return writer, service


def filled(registry: Registry, folder: Path) -> None:
    """Fill a registry with one of each thing that is signed."""
    for number, each in enumerate((loaded_model(), model(seed=1)), 1):
        promote(registry, push(registry, folder / f"run{number}", each))
    judgements.write(registry.bucket, registry.keys, NAME, 2, "promote", "better", "a test")
    state = monitor_state.MonitorState(
        name=NAME, version=2, sequence=2, at="2026-01-01T00:00:00+00:00", report="20260101T000000Z", page_sha256=NONE,
        rows=1, labels=0, refused=0, drift="none", performance="no labels", metric="f1", found=[], worst={}, history=[],
        drift_state="none",
    )  # fmt: skip
    monitor_state.write(registry.bucket, registry.keys, state)


@pytest.fixture
def serve(tmp_path: Path) -> Callable[[dict[str, str]], LiveModels]:
    """Start a service anew, with the cache that it had."""

    def serve(environ: dict[str, str]) -> LiveModels:
        service = LiveModels(open_registry(environ), Cache(tmp_path / "cache"))
        service.refresh()
        return service

    return serve


def serves(service: LiveModels, version: int) -> bool:
    service.refresh()
    return service.live[NAME].version == version and not service.refusals


def signed(environ: dict[str, str]) -> dict[str, int]:
    """Return how much each key has signed, by `updraft registry keys`."""
    shown = CliRunner().invoke(app, ["keys", "--json"], env=environ)
    assert shown.exit_code == 0, shown.stderr
    return {row["key"]: row["signed"] for row in json.loads(shown.stdout)}


def test_keys_are_rotated_by_the_documented_steps(
    machines: tuple[dict[str, str], dict[str, str]], serve: Callable[[dict[str, str]], LiveModels], tmp_path: Path
) -> None:
    writer, reader = machines
    filled(open_registry(writer), tmp_path)
    service, late = serve(reader), LiveModels(open_registry(reader), Cache(tmp_path / "late"))
    assert serves(service, 2) and serves(late, 2)
    (old,) = load_keys(writer).ids()
    new_pair = write_key_pair(tmp_path)

    # 1. Everything verifies with both, and is started anew.
    both = Path(new_pair["UPDRAFT_VERIFY_KEY"]).read_bytes() + Path(writer["UPDRAFT_VERIFY_KEY"]).read_bytes()
    for environ in machines:
        Path(environ["UPDRAFT_VERIFY_KEY"]).write_bytes(both)
    service = serve(reader)
    assert serves(service, 2) and load_keys(reader).ids()[1] == old

    # 2. What moves pointers signs with the new key.
    Path(writer["UPDRAFT_SIGNING_KEY"]).write_bytes(Path(new_pair["UPDRAFT_SIGNING_KEY"]).read_bytes())
    open_registry(writer).rollback(NAME, who="ann", why="2 is bad")
    assert serves(service, 1)
    late.refresh()  # one that nobody has started anew keeps what it has
    assert (late.live[NAME].version, NAME in late.refusals) == (2, True)
    new, *_ = load_keys(writer).ids()
    assert signed(writer) == {new: 2, old: 6}  # the move in the pointer and in the history

    # 3. The rest is signed anew.
    done = CliRunner().invoke(app, ["sign", "--all"], env=writer)
    assert done.exit_code == 0, done.stderr
    assert signed(writer) == {new: 8, old: 0}
    shown = CliRunner().invoke(app, ["keys"], env=writer)
    assert f"{old} has signed nothing that is still there: it can be dropped" in shown.stdout

    # 4. Nothing verifies with the old key any more.
    for environ in machines:
        Path(environ["UPDRAFT_VERIFY_KEY"]).write_bytes(Path(new_pair["UPDRAFT_VERIFY_KEY"]).read_bytes())
    assert serves(serve(reader), 1) and signed(reader) == {new: 8}
    registry = open_registry(reader)
    assert [registry.verify(NAME, number).number for number in (1, 2)] == [1, 2]
    assert [hold.why for hold in registry.states(NAME).holds.values()] == ["2 is bad"]
    state = monitor_state.read(registry.bucket, registry.keys, NAME)
    judgement = judgements.read(registry.bucket, registry.keys, NAME, 2)
    assert state and judgement


def test_a_stolen_key_signs_nothing_that_is_believed_once_it_is_dropped(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    push(registry, tmp_path / "run", loaded_model())
    (tmp_path / "new").mkdir()
    with pytest.raises(VerificationError, match="signed with another key"):
        open_registry(registry_environ | write_key_pair(tmp_path / "new")).verify(NAME, 1)
