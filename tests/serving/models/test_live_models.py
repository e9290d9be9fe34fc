"""The shelf over a real registry on a real S3 server: what it lets in, what it refuses, what it keeps."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sklearn.ensemble import RandomForestClassifier

from serving.models.live_models import Shelf, load
from serving.models.version_cache import Cache
from tests.support.small_models import NAME, OTHER, ROW, model, promote, push
from updraft.model import golden
from updraft.model.model import Model
from updraft.registry.registry import Registry, open_registry


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def shelf(registry: Registry, cache: Cache) -> Shelf:
    return Shelf(registry, cache)


@pytest.fixture
def put(registry: Registry, tmp_path: Path) -> Callable[..., int]:
    """Push a model and promote it; give its number."""

    def put(it: Model, **spoilt: Any) -> int:
        folder = tmp_path / "runs" / f"run-{len(list(tmp_path.glob('runs/*')))}"
        version = push(registry, folder, it, **spoilt)
        promote(registry, version)
        return version.number

    return put


@pytest.fixture
def unreachable(registry: Registry) -> Registry:
    """A registry with the same key, at a port that nobody listens on."""
    client = boto3.client(
        "s3",
        "us-east-1",
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="nobody",
        aws_secret_access_key="nothing",
        config=Config(retries={"total_max_attempts": 1}),
    )
    return Registry(client, registry.bucket.name, verify_key=registry.verify_key)


def probability(shelf: Shelf, row: dict[str, Any] = ROW, name: str = NAME) -> float:
    it = shelf.live[name].model
    return it.predict(it.signature.frame([row])).probabilities[0]


def test_an_empty_registry_is_no_fault(shelf: Shelf) -> None:
    assert shelf.refresh()
    assert (shelf.live, shelf.names, shelf.reachable) == ({}, [], True)


def test_a_version_that_nobody_promoted_does_not_serve(shelf: Shelf, registry: Registry, tmp_path: Path) -> None:
    push(registry, tmp_path / "run", model())
    assert shelf.refresh()
    assert (shelf.live, shelf.names) == ({}, [NAME])


def test_a_promoted_version_serves_what_was_trained(shelf: Shelf, put: Callable[..., int]) -> None:
    trained = model()
    number = put(trained)
    assert shelf.refresh()
    assert shelf.live[NAME].version == number
    expected = trained.predict(trained.signature.frame([ROW, OTHER]))
    assert [probability(shelf, ROW), probability(shelf, OTHER)] == expected.probabilities


def test_a_new_version_replaces_the_old_one_at_one_stroke(shelf: Shelf, put: Callable[..., int]) -> None:
    put(model())
    shelf.refresh()
    taken, state = shelf.live[NAME], shelf.live
    second = put(model(seed=1))
    shelf.refresh()
    assert shelf.live[NAME].version == second
    assert state[NAME] is taken  # a request that took the old one goes on with it


def test_a_rollback_is_followed(shelf: Shelf, registry: Registry, put: Callable[..., int]) -> None:
    first = put(model())
    shelf.refresh()
    before = probability(shelf)
    put(model(seed=1))
    shelf.refresh()
    assert probability(shelf) != before
    registry.rollback(NAME, who="tests", why="worse")
    shelf.refresh()
    assert (shelf.live[NAME].version, probability(shelf)) == (first, before)


def test_nothing_is_loaded_again_while_the_pointer_stands(shelf: Shelf, put: Callable[..., int]) -> None:
    put(model())
    shelf.refresh()
    live = shelf.live[NAME]
    assert shelf.refresh()
    assert shelf.live[NAME] is live


def test_a_registry_made_anew_is_not_taken_for_the_old_one(
    shelf: Shelf, registry: Registry, put: Callable[..., int]
) -> None:
    assert put(model()) == 1
    shelf.refresh()
    before = probability(shelf)
    registry.bucket.base = "anew/"
    assert put(model(seed=1)) == 1
    shelf.refresh()
    assert probability(shelf) != before


def test_new_use_cases_appear_and_gone_ones_keep_serving(
    shelf: Shelf, registry: Registry, put: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    put(model())
    shelf.refresh()
    put(model("vehicle_price"))
    shelf.refresh()
    assert shelf.names == ["vehicle_insurance", "vehicle_price"]
    _remove(registry, "vehicle_price/")
    assert [shelf.refresh(), shelf.refresh()] == [True, True]
    assert probability(shelf, name="vehicle_price") > 0
    assert caplog.text.count("gone from the registry") == 1


def test_a_changed_byte_is_refused_once_and_the_old_version_stays(
    shelf: Shelf, registry: Registry, put: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    first = put(model())
    shelf.refresh()
    before = probability(shelf)
    bad = put(model(seed=1))
    _flip_a_byte(registry, f"{NAME}/versions/{bad:04d}/model.joblib")
    assert [shelf.refresh(), shelf.refresh(), shelf.refresh()] == [True, True, True]
    assert (shelf.live[NAME].version, probability(shelf)) == (first, before)
    refusal = shelf.refusals[NAME]
    assert refusal.version == bad
    assert "model.joblib" in refusal.reason
    assert caplog.text.count("is refused") == 1
    good = put(model(seed=2))
    shelf.refresh()
    assert shelf.live[NAME].version == good


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("signer", ["stranger", "nobody"])
def test_nothing_of_an_untrusted_version_is_unpickled(
    signer: str, registry: Registry, cache: Cache, tmp_path: Path, put: Callable[..., int]
) -> None:
    exploded = tmp_path / "exploded"
    bad = put(model(), spoil=lambda folder: (folder / "model.joblib").write_bytes(pickle.dumps(Bomb(exploded))))
    if signer == "stranger":
        registry.verify_key = Ed25519PrivateKey.generate().public_key()
    else:
        _remove(registry, f"{NAME}/versions/{bad:04d}/manifest.sig")
    shelf = Shelf(registry, cache)
    shelf.refresh()
    assert (dict(shelf.live), shelf.refusals[NAME].version) == ({}, bad)
    assert not exploded.exists()
    assert not list(cache.root.rglob("*.joblib"))


class Fails(RandomForestClassifier):
    def predict_proba(self, X: object) -> Any:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("make", "spoil", "reason"),
    [
        (model, lambda folder: (folder / "model.joblib").write_bytes(b"no pickle"), "does not load"),
        (model, lambda folder: (folder / "signature.json").unlink(), "does not load (FileNotFoundError)"),
        (model, lambda folder: (folder / "signature.json").write_text("{}"), "does not load (ValidationError)"),
        (model, lambda folder: model("vehicle_price").save(folder), "the model is of 'vehicle_price'"),
        (lambda: model(estimator=Fails()), None, "does not load (RuntimeError)"),
    ],
    ids=["no pickle", "no signature", "empty signature", "other use case", "fails on its example"],
)
def test_a_signed_version_that_does_not_work_is_refused(
    make: Callable[[], Model], spoil: Any, reason: str, shelf: Shelf, put: Callable[..., int], tmp_path: Path
) -> None:
    first = put(model())
    shelf.refresh()
    bad = put(make(), spoil=spoil)
    assert shelf.refresh()
    assert shelf.live[NAME].version == first
    assert shelf.refusals[NAME].version == bad
    assert reason in shelf.refusals[NAME].reason
    assert str(tmp_path) not in shelf.refusals[NAME].reason


def test_after_a_restart_the_last_good_version_serves_beside_a_bad_pointer(
    shelf: Shelf, registry: Registry, cache: Cache, put: Callable[..., int]
) -> None:
    first = put(model())
    shelf.refresh()
    bad = put(model(seed=1))
    _flip_a_byte(registry, f"{NAME}/versions/{bad:04d}/model.joblib")
    again = Shelf(registry, cache)
    again.refresh()
    assert (again.live[NAME].version, again.refusals[NAME].version) == (first, bad)


def test_a_broken_pointer_changes_nothing_and_is_read_again(
    shelf: Shelf, registry: Registry, put: Callable[..., int]
) -> None:
    first = put(model())
    shelf.refresh()
    whole = registry.bucket.get(f"{NAME}/pointer.json")
    assert whole is not None
    words = whole[0].replace(b'"production": 1', b'"production": "x"')
    for broken in (b"", b"{}", b"[1]", b'{"production": 1}', words):
        registry.bucket.put(f"{NAME}/pointer.json", broken)
        shelf.refresh()
        assert shelf.live[NAME].version == first
    registry.bucket.put(f"{NAME}/pointer.json", whole[0])
    second = put(model(seed=1))
    assert shelf.refresh()
    assert shelf.live[NAME].version == second


def test_one_bad_use_case_does_not_hold_up_another(shelf: Shelf, registry: Registry, put: Callable[..., int]) -> None:
    put(model())
    registry.bucket.put(f"{NAME}/pointer.json", b"?")
    put(model("vehicle_price"))
    assert shelf.refresh()  # what would not help is not tried again
    assert list(shelf.live) == ["vehicle_price"]


def test_a_start_without_the_registry_serves_out_of_the_cache(
    shelf: Shelf, cache: Cache, unreachable: Registry, put: Callable[..., int]
) -> None:
    put(model())
    shelf.refresh()
    second = put(model(seed=1))
    shelf.refresh()
    again = Shelf(unreachable, cache)
    assert not again.refresh()
    assert again.reachable is False
    assert (again.live[NAME].version, probability(again)) == (second, probability(shelf))


def test_a_rollback_is_remembered_by_the_cache(
    shelf: Shelf, registry: Registry, cache: Cache, unreachable: Registry, put: Callable[..., int]
) -> None:
    first = put(model())
    shelf.refresh()
    put(model(seed=1))
    shelf.refresh()
    registry.rollback(NAME, who="tests", why="worse")
    shelf.refresh()
    again = Shelf(unreachable, cache)
    again.refresh()
    assert again.live[NAME].version == first


CHANGES: dict[str, Callable[[Path, Path], bytes]] = {
    "model.joblib": lambda _, other: other.read_bytes(),
    "signature.json": lambda own, _: own.read_bytes().replace(b'"threshold": 0.5', b'"threshold": 0.1'),
    "manifest.json": lambda own, _: own.read_bytes() + b" ",
}


@pytest.mark.parametrize("file", CHANGES)
def test_a_cache_that_was_changed_is_refused_and_the_one_before_serves(
    file: str, shelf: Shelf, cache: Cache, unreachable: Registry, put: Callable[..., int]
) -> None:
    first = put(model())
    shelf.refresh()
    second = put(model(seed=1))
    shelf.refresh()
    path = cache.folder(NAME, second) / file
    path.write_bytes(CHANGES[file](path, cache.folder(NAME, first) / file))
    load(NAME, second, path.parent)  # it would load
    again = Shelf(unreachable, cache)
    again.refresh()
    assert (again.live[NAME].version, again.refusals[NAME].version) == (first, second)


def test_a_version_may_not_stand_in_for_another_in_the_cache(
    shelf: Shelf, cache: Cache, unreachable: Registry, put: Callable[..., int]
) -> None:
    """Both are signed: the number and the name in the manifest must be those of the folder."""
    first = put(model())
    shelf.refresh()
    second = put(model(seed=1))
    shelf.refresh()
    shutil.rmtree(cache.folder(NAME, second))
    shutil.copytree(cache.folder(NAME, first), cache.folder(NAME, second))
    again = Shelf(unreachable, cache)
    again.refresh()
    assert (again.live[NAME].version, again.refusals[NAME].version) == (first, second)


def test_a_cache_without_sense_is_no_fault(cache: Cache, unreachable: Registry) -> None:
    for name, note in {"a": "", "b": "{}", "c": '["x"]', "d": "[3]", "e": "[null]"}.items():
        (cache.root / name).mkdir(parents=True)
        (cache.root / name / "kept.json").write_text(note)
    shelf = Shelf(unreachable, cache)
    assert not shelf.refresh()
    assert dict(shelf.live) == {}


def test_the_registry_comes_back(
    shelf: Shelf, registry: Registry, cache: Cache, unreachable: Registry, put: Callable[..., int]
) -> None:
    put(model())
    shelf.refresh()
    again = Shelf(unreachable, cache)
    again.refresh()
    live = again.live[NAME]
    unreachable.bucket = registry.bucket
    assert again.refresh()
    assert again.live[NAME] is live  # the same version: nothing is loaded twice
    second = put(model(seed=1))
    again.refresh()
    assert (again.live[NAME].version, again.reachable) == (second, True)


def test_the_cache_keeps_the_version_that_serves_and_the_one_before(
    shelf: Shelf, cache: Cache, put: Callable[..., int]
) -> None:
    numbers = []
    for seed in range(4):
        numbers.append(put(model(seed=seed)))
        shelf.refresh()
    home = cache.root / NAME
    assert sorted(path.name for path in home.iterdir() if path.is_dir()) == [f"{number:04d}" for number in numbers[-2:]]
    assert json.loads((home / "kept.json").read_text()) == [numbers[-1], numbers[-2]]


def test_a_cache_that_cannot_be_written_leaves_the_old_version_and_is_tried_again(
    shelf: Shelf, cache: Cache, put: Callable[..., int]
) -> None:
    number = put(model())
    cache.root.write_text("a file where the folder should be")
    assert not shelf.refresh()
    assert (dict(shelf.live), dict(shelf.refusals)) == ({}, {})
    cache.root.unlink()
    assert shelf.refresh()
    assert shelf.live[NAME].version == number


def test_workers_that_share_a_cache_do_not_spoil_each_others_versions(
    registry: Registry, cache: Cache, put: Callable[..., int]
) -> None:
    shelves = [Shelf(registry, cache) for _ in range(4)]
    for seed in range(4):
        number = put(model(seed=seed))
        threads = [threading.Thread(target=shelf.refresh) for shelf in shelves]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [dict(shelf.refusals) for shelf in shelves] == [{}] * 4
        assert [shelf.live[NAME].version for shelf in shelves] == [number] * 4


def test_the_watch_brings_a_promotion_within_an_interval(
    shelf: Shelf, put: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    thread = shelf.watch(0.2)
    try:
        number = put(model())
        until = time.monotonic() + 10
        while NAME not in shelf.live and time.monotonic() < until:
            time.sleep(0.02)
        assert shelf.live[NAME].version == number
    finally:
        shelf.close()
        thread.join(10)
    assert not thread.is_alive()


def _flip_a_byte(registry: Registry, key: str) -> None:
    found = registry.bucket.get(key)
    assert found is not None
    body = bytearray(found[0])
    body[len(body) // 2] ^= 1
    registry.bucket.put(key, bytes(body))


def _remove(registry: Registry, start: str) -> None:
    client, base = registry.bucket.client, registry.bucket.base
    for each in client.list_objects_v2(Bucket=registry.bucket.name, Prefix=base + start)["Contents"]:
        client.delete_object(Bucket=registry.bucket.name, Key=each["Key"])


def test_a_version_that_does_not_answer_as_it_did_in_training_is_refused(
    shelf: Shelf, registry: Registry, tmp_path: Path
) -> None:
    """Whole and signed, and yet not what was evaluated: such as under another release of a library."""

    def promise(folder: Path) -> None:
        golden.write(model(seed=1), [ROW, OTHER], folder)

    good = push(registry, tmp_path / "good", model(seed=1), spoil=promise)
    promote(registry, good)
    assert shelf.refresh()
    other = push(registry, tmp_path / "other", model(seed=2), spoil=promise)
    promote(registry, other)
    shelf.refresh()
    assert shelf.live[NAME].version == good.number
    assert shelf.refusals[NAME].version == other.number
    assert "golden row 0: expected 0." in shelf.refusals[NAME].reason


def test_only_what_it_is_told_to_serve_is_fetched(registry: Registry, tmp_path: Path) -> None:
    promote(registry, push(registry, tmp_path / "one", model()))
    promote(registry, push(registry, tmp_path / "two", model("another_case")))
    shelf = Shelf(registry, Cache(tmp_path / "cache"), only=["another_case", "not_there_yet"])
    assert shelf.refresh()
    assert shelf.names == ["another_case"]
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["another_case"]


def test_a_start_with_the_pointer_or_the_bucket_gone_serves_what_was_good(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    promote(registry, push(registry, tmp_path / "run", model()))
    cache = Cache(tmp_path / "cache")
    assert Shelf(registry, cache).refresh()
    emptied = open_registry({**registry_environ, "UPDRAFT_REGISTRY": "s3://updraft-tests-not-there"})
    shelf = Shelf(emptied, cache)
    assert shelf.refresh()
    assert (shelf.names, shelf.live[NAME].version) == ([NAME], 1)
    registry.bucket.client.delete_object(Bucket=registry.bucket.name, Key=f"{registry.bucket.base}{NAME}/pointer.json")
    shelf = Shelf(registry, cache)
    assert shelf.refresh()
    assert shelf.live[NAME].version == 1


def test_a_version_that_comes_later_than_its_pointer_is_let_in_and_its_refusal_forgotten(
    shelf: Shelf, registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    promote(registry, push(registry, tmp_path / "one", model()))
    shelf.refresh()
    late = push(registry, tmp_path / "two", model(seed=1))
    promote(registry, late)
    key = f"{NAME}/versions/0002/manifest.json"
    manifest, _ = registry.bucket.get(key) or (b"", "")
    registry.bucket.client.delete_object(Bucket=registry.bucket.name, Key=registry.bucket.base + key)
    for _ in range(3):
        assert shelf.refresh()
    assert (shelf.live[NAME].version, shelf.refusals[NAME].version) == (1, 2)
    assert caplog.text.count("is refused") == 1
    registry.bucket.put(key, manifest)
    assert shelf.refresh()
    assert shelf.live[NAME].version == 2
    assert NAME not in shelf.refusals


def test_a_pointer_that_is_not_believed_is_told_and_slows_no_other_use_case(
    shelf: Shelf, registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    promote(registry, push(registry, tmp_path / "one", model()))
    shelf.refresh()
    registry.bucket.put(f"{NAME}/pointer.json", b"junk")
    for _ in range(3):
        assert shelf.refresh()
    assert (shelf.live[NAME].version, shelf.refusals[NAME].version) == (1, None)
    assert caplog.text.count("is refused") == 1
