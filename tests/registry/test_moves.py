"""Pointer and history are believed only as the key's holder wrote them, in the place and the order that they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.versions import NAME, promoted, pushed
from updraft.registry.registry import Registry, VerificationError, open_registry
from updraft.registry.s3 import SMALL
from updraft.registry.signed_json import seal

OTHER = "vehicle_price"
POINTER = f"{NAME}/pointer.json"


def read(registry: Registry, key: str) -> bytes:
    answer = registry.bucket.get(key)
    assert answer
    return answer[0]


def changed(**changes: Any) -> Callable[[Registry], bytes]:
    """Give a pointer with other content and the old signature."""
    return lambda registry: json.dumps(json.loads(read(registry, POINTER)) | changes).encode()


def sealed(**changes: Any) -> Callable[[Registry], bytes]:
    """Give a pointer with other content, signed with the right key."""

    def make(registry: Registry) -> bytes:
        content = json.loads(read(registry, POINTER)) | changes
        del content["signature"]
        return seal(content, registry.keys)

    return make


def unsigned(registry: Registry) -> bytes:
    content = json.loads(read(registry, POINTER))
    del content["signature"]
    return json.dumps(content).encode()


BROKEN: dict[str, tuple[Callable[[Registry], bytes], str]] = {
    "another version": (changed(production=1), "altered or signed with another key"),
    "another sequence": (changed(sequence=9), "altered or signed with another key"),
    "more": (changed(more="x"), "altered or signed with another key"),
    "half of a surrogate pair": (changed(why="\ud800"), "altered or signed with another key"),
    "NaN": (changed(percent=float("nan")), "altered or signed with another key"),
    "a signature that is none": (changed(signature=7), "altered or signed with another key"),
    "a signature of other letters": (changed(signature="ä"), "altered or signed with another key"),
    "no signature": (unsigned, "is not signed: `updraft registry sign vehicle_insurance`"),
    "empty": (lambda _: b"", "is not a JSON object"),
    "a list": (lambda _: b"[1]", "is not a JSON object"),
    "no text": (lambda _: b"\xff\xfe", "is not a JSON object"),
    "deep": (lambda _: b"[" * 60_000, "is not a JSON object"),
    "deep objects": (lambda _: b'{"a":' * 900 + b'"signature"' + b"}" * 900, "nested more than 50 times"),
    "a number of many digits": (lambda _: b'{"sequence": ' + b"9" * 50_000 + b"}", "is not a JSON object"),
    "huge": (lambda _: b" " * (SMALL + 1), "has more than 65,536 bytes"),
    "true as a version": (sealed(production=True), "no valid 'production'"),
    "text as a version": (sealed(production="2"), "no valid 'production'"),
    "a fraction as a version": (sealed(production=2.0), "no valid 'production'"),
    "no such number": (sealed(production=0), "no valid 'production'"),
    "a rollout of nothing": (sealed(rollout={"version": 1}), "no valid 'rollout"),
    "a copy from elsewhere": (sealed(name=OTHER), "is a copy from use case 'vehicle_price'"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_pointer_that_the_key_holder_did_not_write_is_one_line_that_names_it(
    kind: str, registry: Registry, tmp_path: Path
) -> None:
    make, message = BROKEN[kind]
    promoted(registry, tmp_path, 1, 2)
    registry.bucket.put(POINTER, make(registry))
    with pytest.raises(VerificationError, match=message) as raised:
        registry.pointer(NAME)
    assert f"{NAME}/pointer.json" in str(raised.value) and "\n" not in str(raised.value)


def test_what_is_in_the_bucket_is_signed_with_name_and_sequence(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1, 2)
    pointer, entry = json.loads(read(registry, POINTER)), json.loads(read(registry, f"{NAME}/history/000002.json"))
    assert pointer == entry
    assert {"signature", "name", "sequence", "model_sha256"} <= pointer.keys()
    assert (pointer["name"], pointer["sequence"], pointer["after"], pointer["rollout"]) == (NAME, 2, 1, None)


def test_a_signed_pointer_copied_from_another_use_case_is_refused(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1)
    registry.bucket.put(f"{OTHER}/pointer.json", read(registry, POINTER))
    with pytest.raises(VerificationError, match="copy from use case 'vehicle_insurance'"):
        registry.pointer(OTHER)


def test_a_signed_manifest_is_no_pointer_and_a_pointer_no_manifest(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1)
    pointer = json.loads(read(registry, POINTER))
    signature = pointer.pop("signature")
    folder = f"{NAME}/versions/0001"
    manifest = json.loads(read(registry, f"{folder}/manifest.json"))
    stolen = manifest | {"signature": read(registry, f"{folder}/manifest.sig").decode()}
    registry.bucket.put(POINTER, json.dumps(stolen).encode())
    with pytest.raises(VerificationError, match="altered or signed with another key"):
        registry.pointer(NAME)
    registry.bucket.put(f"{folder}/manifest.json", json.dumps(pointer, indent=1, sort_keys=True).encode())
    registry.bucket.put(f"{folder}/manifest.sig", signature.encode())
    with pytest.raises(VerificationError, match="altered or signed with another key"):
        registry.verify(NAME, 1)


def test_an_old_pointer_that_was_put_back_is_seen_by_the_history(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1)
    old = read(registry, POINTER)
    promoted(registry, tmp_path / "more", 2)
    registry.bucket.put(POINTER, old)
    for call in (lambda: registry.states(NAME), lambda: registry.rollback(NAME, who="a test", why="back")):
        with pytest.raises(VerificationError, match="at move 1, but the history goes on to move 2"):
            call()
    registry.bucket.delete(POINTER)
    with pytest.raises(VerificationError, match="gone, but the history goes on to move 2"):
        registry.states(NAME)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda _: b"[[[", "is not a JSON object"),
        (lambda body: body.replace(b'"a test"', b'"another"'), "altered or signed with another key"),
        (None, "is missing: what is held cannot be known"),
    ],
)
def test_a_broken_move_of_the_history_is_named(
    spoil: Callable[[bytes], bytes] | None, message: str, registry: Registry, tmp_path: Path
) -> None:
    promoted(registry, tmp_path, 1, 2, 3)
    key = f"{NAME}/history/000002.json"
    registry.bucket.put(key, spoil(read(registry, key))) if spoil else registry.bucket.delete(key)
    with pytest.raises(VerificationError, match=message) as raised:
        registry.promote(NAME, 1, expect=3, who="a test", why="blind")
    assert key in str(raised.value) and f"`updraft registry sign {NAME} --skip-broken`" in str(raised.value)
    assert registry.production(NAME) == 3


def test_a_move_copied_to_another_place_of_the_history_is_named(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1, 2, 3)
    registry.bucket.put(f"{NAME}/history/000002.json", read(registry, f"{NAME}/history/000001.json"))
    with pytest.raises(VerificationError, match=r"000002\.json is a copy of move 1"):
        registry.history(NAME)


def test_without_the_signing_key_nothing_is_written(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    promoted(registry, tmp_path, 1, 2)
    reader = open_registry({key: value for key, value in registry_environ.items() if key != "UPDRAFT_SIGNING_KEY"})
    before = {key: registry.bucket.get(key) for key in registry.bucket.keys("")}
    moves: list[Callable[[], object]] = [
        lambda: reader.promote(NAME, 1, expect=2, who="a test", why="x"),
        lambda: reader.promote(NAME, 2, expect=2, who="a test", why="x"),
        lambda: reader.rollback(NAME, who="a test", why="x"),
        lambda: reader.hold(NAME, 1, who="a test", why="x"),
        lambda: reader.remove(NAME, who="a test", why="x"),
        lambda: reader.push(NAME, tmp_path / "model1", {}, "run 9"),
    ]
    for call in moves:
        with pytest.raises(ValueError, match="UPDRAFT_SIGNING_KEY"):
            call()
    assert {key: registry.bucket.get(key) for key in registry.bucket.keys("")} == before


def test_a_long_reason_is_cut_and_the_pointer_stays_readable(registry: Registry, tmp_path: Path) -> None:
    pushed(registry, tmp_path, 1)
    registry.promote(NAME, 1, expect=None, who="a test", why="ä" * 100_000)
    pointer = registry.pointer(NAME)
    assert pointer and len(pointer.why) == 2_000 and pointer.why.endswith("…")


def test_a_note_of_another_runs_number_is_not_believed(registry: Registry, tmp_path: Path) -> None:
    pushed(registry, tmp_path, 1)
    for number, note in enumerate((b'{"version": 1}', b'{"version": true}', b"[" * 10_000, b'{"version": 77}'), 2):
        registry.bucket.put(f"{NAME}/runs/run%20{number}.json", note)
        version = registry.push(NAME, tmp_path / "model1", {}, f"run {number}")
        again = registry.push(NAME, tmp_path / "model1", {}, f"run {number}")
        assert version.number == again.number == number


def test_a_forged_claim_does_not_pass_another_runs_version_off_as_this_ones(registry: Registry, tmp_path: Path) -> None:
    pushed(registry, tmp_path, 1)
    registry.bucket.put(f"{NAME}/runs/mine.json", b'{"version": 1}')
    registry.bucket.put(f"{NAME}/versions/0001/claim.json", b'{"run_id": "mine", "claimed_at": "2026"}')
    with pytest.raises(VerificationError, match="version 1 is of run 'run 1', though 'mine' claims it"):
        registry.push(NAME, tmp_path / "model1", {}, "mine")


def test_junk_between_the_versions_is_no_version(registry: Registry, tmp_path: Path) -> None:
    for key in ("versions/²²²²/x", "versions/99999999999999999999/x", "versions/abc/manifest.json", "versions/1/x"):
        registry.bucket.put(f"{NAME}/{key}", b"?")
    pushed(registry, tmp_path, 1)
    assert registry.numbers(NAME) == [1]
