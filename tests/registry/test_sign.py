"""Signing what is in the registry: what an earlier Updraft wrote, with a new key, and after a restore."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.key_pairs import write_key_pair
from tests.support.versions import NAME, promoted, pushed
from updraft.registry.registry import Registry, VerificationError, open_registry
from updraft.registry.s3 import BadRegistry, json_bytes
from updraft.registry.sign import sign

POINTER = f"{NAME}/pointer.json"


def signed(registry: Registry, **options: object) -> str:
    return "\n".join(sign(registry, NAME, who="ann", **options))  # type: ignore[arg-type]


def as_before(registry: Registry, **changes: object) -> None:
    """Rewrite pointer and history as an Updraft before signed moves wrote them."""
    keys = ("production", "previous", "sequence", "who", "when", "why", "action", "move")
    for key in [POINTER, *(f"{NAME}/history/{each}" for each in registry.bucket.keys(f"{NAME}/history/"))]:
        body, _ = registry.bucket.get(key) or (b"", "")
        content = {name: value for name, value in json.loads(body).items() if name in keys}
        registry.bucket.put(key, json_bytes(content | changes))


def test_an_unsigned_registry_is_signed_and_its_rollbacks_hold(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1, 2)
    registry.rollback(NAME, who="ann", why="2 is bad")
    before = [move.model_copy(update={"registry_id": None}) for move in registry.history(NAME)]
    as_before(registry)
    with pytest.raises(VerificationError, match=f"`updraft registry sign {NAME}`"):
        registry.production(NAME)
    said = signed(registry)
    assert "pointer.json was not signed; in production is 1 by it" in said
    assert "2 versions and 3 moves signed; version 1 is in production" in said
    assert registry.history(NAME) == before
    assert [hold.version for hold in registry.states(NAME).holds.values()] == [2]
    assert registry.remove(NAME, who="ann", why="the next move is the first with an id").registry_id
    assert registry.history(NAME)[:-1] == before


def test_what_a_stranger_put_there_unsigned_is_not_signed(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1, 2)
    pointer = registry.pointer(NAME)
    assert pointer
    forged = {**pointer.model_dump(), "sequence": 3, "production": 1}
    registry.bucket.put(POINTER, json_bytes(forged))
    with pytest.raises(VerificationError, match="move 3 is not signed, though move 1 before it is"):
        signed(registry)
    registry.bucket.put(POINTER, json_bytes({**forged, "sequence": 2}))
    signed(registry)
    assert registry.production(NAME) == 2


def test_keys_are_rotated_without_a_gap(registry: Registry, registry_environ: dict[str, str], tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1, 2)
    old, new = registry_environ, write_key_pair(tmp_path)
    both = {"UPDRAFT_VERIFY_KEY": f"{new['UPDRAFT_VERIFY_KEY']}:{old['UPDRAFT_VERIFY_KEY']}"}
    reader = open_registry({**old, **both, "UPDRAFT_SIGNING_KEY": ""})
    assert (reader.production(NAME), reader.verify(NAME, 1).number) == (2, 1)
    assert "2 versions and 2 moves signed" in signed(open_registry({**old, **new, **both}))
    assert (reader.production(NAME), len(reader.history(NAME)), reader.verify(NAME, 1).number) == (2, 2, 1)
    renewed = open_registry({**old, **new})
    assert (renewed.production(NAME), len(renewed.history(NAME))) == (2, 2)
    assert [renewed.verify(NAME, number).number for number in (1, 2)] == [1, 2]
    with pytest.raises(VerificationError, match="another key"):
        open_registry(old).production(NAME)


def test_a_new_key_does_not_sign_what_no_known_key_signed(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    promoted(registry, tmp_path, 1)
    stranger = open_registry(registry_environ | write_key_pair(tmp_path))
    with pytest.raises(VerificationError, match="another key"):
        signed(stranger)
    assert registry.verify(NAME, 1).number == registry.production(NAME) == 1


def test_three_verify_keys_are_too_many(key_files: dict[str, str]) -> None:
    path = key_files["UPDRAFT_VERIFY_KEY"]
    with pytest.raises(BadRegistry, match="UPDRAFT_VERIFY_KEY: 3 keys"):
        open_registry({"UPDRAFT_REGISTRY": "s3://bucket", "UPDRAFT_VERIFY_KEY": f"{path}:{path}:{path}"})


def test_signing_restores_a_pointer_that_was_put_back(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1)
    old, _ = registry.bucket.get(POINTER) or (b"", "")
    promoted(registry, tmp_path / "more", 2)
    for put_back in (old, None):
        registry.bucket.put(POINTER, put_back) if put_back else registry.bucket.delete(POINTER)
        signed(registry)
        assert (registry.production(NAME), len(registry.history(NAME))) == (2, 2)


@pytest.mark.parametrize("spoilt", [b"[[[", None])
def test_a_broken_move_is_left_out_on_demand(spoilt: bytes | None, registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1, 2, 3)
    key = f"{NAME}/history/000002.json"
    registry.bucket.put(key, spoilt) if spoilt else registry.bucket.delete(key)
    if spoilt:
        with pytest.raises(VerificationError, match="--skip-broken"):
            signed(registry)
    signed(registry, skip_broken=True)
    assert [move.production for move in registry.history(NAME)] == [1, 3]
    assert registry.rollback(NAME, who="ann", why="3 is bad") == 1


@pytest.mark.parametrize(
    "junk", [b"\xff\x00", b"{}", b'{"sequence": 99, "production": 1}', b'{"sequence": 2}', "a copy"]
)
def test_what_a_stranger_puts_behind_the_history_is_named_with_the_command_that_leaves_it_out(
    junk: bytes | str, registry: Registry, tmp_path: Path
) -> None:
    promoted(registry, tmp_path, 1, 2, 3)
    copy = registry.bucket.get(f"{NAME}/history/000002.json")
    assert copy
    registry.bucket.put(f"{NAME}/history/000099.json", junk if isinstance(junk, bytes) else copy[0])
    with pytest.raises(VerificationError, match=r"history/000099\.json .*`updraft registry sign \w+ --skip-broken`"):
        registry.states(NAME)
    with pytest.raises(VerificationError, match="--skip-broken"):
        signed(registry)
    assert "left out" in signed(registry, skip_broken=True)
    assert [move.production for move in registry.history(NAME)] == [1, 2, 3]


def test_moves_of_another_registry_with_the_same_key_are_named_and_left_out_on_demand(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    promoted(registry, tmp_path, 1, 2)
    other = open_registry(registry_environ | {"UPDRAFT_REGISTRY": f"{registry_environ['UPDRAFT_REGISTRY']}-other"})
    promoted(other, tmp_path / "other", 1, 2, 3)
    assert len({move.registry_id for move in registry.history(NAME)}) == 1
    for key in ("history/000003.json", "pointer.json"):
        registry.bucket.put(f"{NAME}/{key}", (other.bucket.get(f"{NAME}/{key}") or (b"", ""))[0])
    with pytest.raises(VerificationError, match=r"are of different registries.*--skip-broken"):
        registry.states(NAME)
    with pytest.raises(VerificationError, match=r"move 3 is of another registry.*--skip-broken"):
        signed(registry)
    signed(registry, skip_broken=True)
    assert [move.version for move in registry.history(NAME)] == [1, 2]


def test_a_restored_registry_goes_on_above_what_services_have_seen(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1)
    signed(registry, above=12)
    assert [(move.sequence, move.production) for move in registry.history(NAME)] == [(1, 1), (13, 1)]
    with pytest.raises(BadRegistry, match="at move 13 already"):
        signed(registry, above=12)
    pushed(registry, tmp_path / "more", 2)
    registry.promote(NAME, 2, expect=1, who="a test", why="better")
    assert registry.rollback(NAME, who="a test", why="worse") == 1


def test_a_use_case_that_nothing_was_promoted_of_is_signed_too(registry: Registry, tmp_path: Path) -> None:
    pushed(registry, tmp_path, 1)
    assert "1 versions signed; nothing was ever in production" in signed(registry)
