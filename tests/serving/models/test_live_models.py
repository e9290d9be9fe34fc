"""LiveModels over a real registry on a real S3 server: what goes live, what is refused, what is cached."""

from __future__ import annotations

import itertools
import json
import logging
import os
import pickle
import re
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sklearn.ensemble import RandomForestClassifier

from serving.models.live_model import FILES, load
from serving.models.live_models import LiveModels
from serving.models.version_cache import Cache, require_private
from tests.support.compiled_models import compiled
from tests.support.key_pairs import write_key_pair
from tests.support.mixed_frames import FRAME
from tests.support.small_models import NAME, OTHER, ROW, model, promote, push
from updraft.learning.compile import served_form
from updraft.model import golden
from updraft.model.compiled.layout import COMPILED, TREES
from updraft.model.model import Model
from updraft.model.version_files import MODEL
from updraft.registry import version_folder
from updraft.registry.registry import Registry, VerificationError, Version, open_registry
from updraft.registry.s3 import Bucket
from updraft.registry.sign import sign
from updraft.registry.signing_keys import Keys


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def live_models(registry: Registry, cache: Cache) -> LiveModels:
    return LiveModels(registry, cache)


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
    return Registry(Bucket(client, registry.bucket.name), Keys(None, registry.keys.verifying))


def probability(live_models: LiveModels, row: dict[str, Any] = ROW, name: str = NAME) -> float:
    it = live_models.live[name].model
    return it.predict(it.signature.frame([row])).probabilities[0]


def test_an_empty_registry_is_no_fault(live_models: LiveModels) -> None:
    assert live_models.refresh()
    assert (live_models.live, live_models.names, live_models.reachable) == ({}, [], True)


def test_a_version_that_nobody_promoted_does_not_serve(
    live_models: LiveModels, registry: Registry, tmp_path: Path
) -> None:
    push(registry, tmp_path / "run", model())
    assert live_models.refresh()
    assert (live_models.live, live_models.names) == ({}, [NAME])


def test_a_promoted_version_serves_what_was_trained(live_models: LiveModels, put: Callable[..., int]) -> None:
    trained = model()
    number = put(trained)
    assert live_models.refresh()
    assert live_models.live[NAME].version == number
    expected = trained.predict(trained.signature.frame([ROW, OTHER]))
    assert [probability(live_models, ROW), probability(live_models, OTHER)] == expected.probabilities


def test_a_new_version_replaces_the_old_one_at_one_stroke(live_models: LiveModels, put: Callable[..., int]) -> None:
    put(model())
    live_models.refresh()
    taken, state = live_models.live[NAME], live_models.live
    second = put(model(seed=1))
    live_models.refresh()
    assert live_models.live[NAME].version == second
    assert state[NAME] is taken  # a request that took the old one goes on with it


def test_a_rollback_is_followed(live_models: LiveModels, registry: Registry, put: Callable[..., int]) -> None:
    first = put(model())
    live_models.refresh()
    before = probability(live_models)
    put(model(seed=1))
    live_models.refresh()
    assert probability(live_models) != before
    registry.rollback(NAME, who="tests", why="worse")
    live_models.refresh()
    assert (live_models.live[NAME].version, probability(live_models)) == (first, before)


def test_nothing_is_loaded_again_while_the_pointer_stands(live_models: LiveModels, put: Callable[..., int]) -> None:
    put(model())
    live_models.refresh()
    live = live_models.live[NAME]
    assert live_models.refresh()
    assert live_models.live[NAME] is live


def test_a_recreated_registry_is_not_mistaken_for_the_old_one(
    live_models: LiveModels, registry: Registry, put: Callable[..., int]
) -> None:
    assert put(model()) == 1
    live_models.refresh()
    before = probability(live_models)
    registry.bucket.base = "recreated/"
    assert put(model(seed=1)) == 1
    live_models.refresh()
    assert probability(live_models) != before


def test_new_use_cases_appear_and_gone_ones_keep_serving(
    live_models: LiveModels, registry: Registry, put: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    put(model())
    live_models.refresh()
    put(model("vehicle_price"))
    live_models.refresh()
    assert live_models.names == ["vehicle_insurance", "vehicle_price"]
    _remove(registry, "vehicle_price/")
    assert [live_models.refresh(), live_models.refresh()] == [True, True]
    assert probability(live_models, name="vehicle_price") > 0
    assert caplog.text.count("gone from the registry") == 1


def test_a_changed_byte_is_refused_once_and_the_old_version_stays(
    live_models: LiveModels, registry: Registry, put: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    first = put(model())
    live_models.refresh()
    before = probability(live_models)
    bad = put(model(seed=1))
    _flip_a_byte(registry, f"{NAME}/versions/{bad:04d}/model.joblib")
    assert [live_models.refresh(), live_models.refresh(), live_models.refresh()] == [True, True, True]
    assert (live_models.live[NAME].version, probability(live_models)) == (first, before)
    refusal = live_models.refusals[NAME]
    assert refusal.version == bad
    assert "model.joblib" in refusal.reason
    assert caplog.text.count("is refused") == 1
    good = put(model(seed=2))
    live_models.refresh()
    assert live_models.live[NAME].version == good


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
        stranger, folder = Keys(Ed25519PrivateKey.generate()), f"{NAME}/versions/{bad:04d}"
        manifest, _ = registry.bucket.get(f"{folder}/manifest.json") or (b"", "")
        registry.bucket.put(f"{folder}/manifest.sig", stranger.sign(manifest))
    else:
        _remove(registry, f"{NAME}/versions/{bad:04d}/manifest.sig")
    live_models = LiveModels(registry, cache)
    live_models.refresh()
    assert (dict(live_models.live), live_models.refusals[NAME].version) == ({}, bad)
    assert not exploded.exists()
    assert not list(cache.root.rglob("*.joblib"))


class Fails(RandomForestClassifier):
    def predict_proba(self, X: object) -> Any:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("make", "spoil", "reason"),
    [
        (model, lambda folder: (folder / "model.joblib").write_bytes(b"no pickle"), "does not load"),
        (model, lambda folder: (folder / "signature.json").unlink(), "does not load (no signature.json)"),
        (model, lambda folder: (folder / "signature.json").write_text("{}"), "signature.json has no valid 'use_case'"),
        (model, lambda folder: model("vehicle_price").save(folder), "the model is for 'vehicle_price'"),
        (lambda: model(estimator=Fails()), None, "does not load (RuntimeError)"),
    ],
    ids=["no pickle", "no signature", "empty signature", "other use case", "fails on its example"],
)
def test_a_signed_version_that_does_not_work_is_refused(
    make: Callable[[], Model], spoil: Any, reason: str, live_models: LiveModels, put: Callable[..., int], tmp_path: Path
) -> None:
    first = put(model())
    live_models.refresh()
    bad = put(make(), spoil=spoil)
    assert live_models.refresh()
    assert live_models.live[NAME].version == first
    assert live_models.refusals[NAME].version == bad
    assert reason in live_models.refusals[NAME].reason
    assert str(tmp_path) not in live_models.refusals[NAME].reason


def test_after_a_restart_the_last_good_version_serves_beside_a_bad_pointer(
    live_models: LiveModels, registry: Registry, cache: Cache, put: Callable[..., int]
) -> None:
    first = put(model())
    live_models.refresh()
    bad = put(model(seed=1))
    _flip_a_byte(registry, f"{NAME}/versions/{bad:04d}/model.joblib")
    again = LiveModels(registry, cache)
    again.refresh()
    assert (again.live[NAME].version, again.refusals[NAME].version) == (first, bad)


def test_a_broken_pointer_changes_nothing_and_is_read_again(
    live_models: LiveModels, registry: Registry, put: Callable[..., int]
) -> None:
    first = put(model())
    live_models.refresh()
    whole = registry.bucket.get(f"{NAME}/pointer.json")
    assert whole is not None
    words = whole[0].replace(b'"production": 1', b'"production": "x"')
    for broken in (b"", b"{}", b"[1]", b'{"production": 1}', words):
        registry.bucket.put(f"{NAME}/pointer.json", broken)
        live_models.refresh()
        assert live_models.live[NAME].version == first
    registry.bucket.put(f"{NAME}/pointer.json", whole[0])
    second = put(model(seed=1))
    assert live_models.refresh()
    assert live_models.live[NAME].version == second


def test_one_bad_use_case_does_not_hold_up_another(
    live_models: LiveModels, registry: Registry, put: Callable[..., int]
) -> None:
    put(model())
    registry.bucket.put(f"{NAME}/pointer.json", b"?")
    put(model("vehicle_price"))
    assert live_models.refresh()  # what would not help is not tried again
    assert list(live_models.live) == ["vehicle_price"]


def test_a_start_without_the_registry_serves_out_of_the_cache(
    live_models: LiveModels, cache: Cache, unreachable: Registry, put: Callable[..., int]
) -> None:
    put(model())
    live_models.refresh()
    second = put(model(seed=1))
    live_models.refresh()
    again = LiveModels(unreachable, cache)
    assert not again.refresh()
    assert again.reachable is False
    assert (again.live[NAME].version, probability(again)) == (second, probability(live_models))


def test_a_rollback_is_remembered_by_the_cache(
    live_models: LiveModels, registry: Registry, cache: Cache, unreachable: Registry, put: Callable[..., int]
) -> None:
    first = put(model())
    live_models.refresh()
    put(model(seed=1))
    live_models.refresh()
    registry.rollback(NAME, who="tests", why="worse")
    live_models.refresh()
    again = LiveModels(unreachable, cache)
    again.refresh()
    assert again.live[NAME].version == first


CHANGES: dict[str, Callable[[Path, Path], bytes]] = {
    "model.joblib": lambda _, other: other.read_bytes(),
    "signature.json": lambda own, _: own.read_bytes().replace(b'"threshold": 0.5', b'"threshold": 0.1'),
    "manifest.json": lambda own, _: own.read_bytes() + b" ",
}


@pytest.mark.parametrize("file", CHANGES)
def test_a_cache_that_was_changed_is_refused_and_the_one_before_serves(
    file: str, live_models: LiveModels, cache: Cache, unreachable: Registry, put: Callable[..., int]
) -> None:
    first = put(model())
    live_models.refresh()
    second = put(model(seed=1))
    live_models.refresh()
    path = cache.folder(NAME, second) / file
    path.write_bytes(CHANGES[file](path, cache.folder(NAME, first) / file))
    contents = {name: (path.parent / name).read_bytes() for name in ("model.joblib", "signature.json")}
    load(Version(NAME, second, {}), contents)  # it would load
    again = LiveModels(unreachable, cache)
    again.refresh()
    assert (again.live[NAME].version, again.refusals[NAME].version) == (first, second)


def test_what_is_exchanged_while_it_is_loaded_is_never_unpickled(
    registry: Registry, cache: Cache, unreachable: Registry, put: Callable[..., int], tmp_path: Path
) -> None:
    """A loop puts its own pickle in the place of the model, and the model back, as fast as it can."""
    number = put(model())
    LiveModels(registry, cache).refresh()
    path, exploded = cache.folder(NAME, number) / "model.joblib", tmp_path / "exploded"
    bomb, whole, stop = pickle.dumps(Bomb(exploded)), path.read_bytes(), threading.Event()

    def swap() -> None:
        for content in itertools.cycle((bomb, whole)):
            if stop.is_set():
                return
            draft = cache.root / "draft"
            draft.write_bytes(content)
            with suppress(OSError):  # the folder may be replaced at this moment
                draft.rename(path)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        served, end = 0, time.monotonic() + 3
        while time.monotonic() < end:
            for source in (registry, unreachable):
                live_models = LiveModels(source, cache)
                live_models.refresh()
                served += NAME in live_models.live
                assert not exploded.exists()
    finally:
        stop.set()
        swapper.join()
    assert served


@pytest.mark.parametrize("file", ["model.joblib", "manifest.json", "manifest.sig"])
@pytest.mark.parametrize("odd", ["link", "fifo", "folder"])
def test_what_is_no_file_in_the_cache_is_replaced_and_waits_for_nobody(
    odd: str,
    file: str,
    registry: Registry,
    cache: Cache,
    unreachable: Registry,
    put: Callable[..., int],
    tmp_path: Path,
) -> None:
    number = put(model())
    LiveModels(registry, cache).refresh()
    path = cache.folder(NAME, number) / file
    whole = tmp_path / "elsewhere"
    path.rename(whole)
    {"link": lambda: path.symlink_to(whole), "fifo": lambda: os.mkfifo(path), "folder": path.mkdir}[odd]()
    offline = LiveModels(unreachable, cache)
    offline.refresh()
    assert (dict(offline.live), offline.refusals[NAME].version) == ({}, number)
    online = LiveModels(registry, cache)
    assert online.refresh()
    assert (online.live[NAME].version, dict(online.refusals)) == (number, {})


def link(root: Path) -> None:
    (root / "a" / "kept.json").symlink_to("/etc/hostname")


def fifo(root: Path) -> None:
    os.mkfifo(root / "a" / ".lock")


def open_folder(root: Path) -> None:
    (root / "a").chmod(0o770)
    root.chmod(0o755)


def open_root(root: Path) -> None:
    root.chmod(0o777)


def open_file(root: Path) -> None:
    (root / "a" / "kept.json").write_text("[]")
    (root / "a" / "kept.json").chmod(0o666)
    for folder in (root, root / "a"):
        folder.chmod(0o755)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (link, "kept.json' is a link"),
        (fifo, ".lock' is a FIFO"),
        (open_folder, "a': others may write to it"),
        (open_root, "others may write to it"),
        (open_file, "kept.json': others may write to it"),
    ],
)
def test_a_cache_that_others_can_change_or_that_holds_no_files_is_refused_at_the_start(
    spoil: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    root = tmp_path / "cache"
    (root / "a" / "0001").mkdir(mode=0o700, parents=True)
    root.chmod(0o700)
    require_private(root)
    spoil(root)
    with pytest.raises(ValueError, match=re.escape(words)) as raised:
        require_private(root)
    assert "\n" not in str(raised.value)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="is a link"):
        require_private(tmp_path / "link")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_cache_of_somebody_else_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o700)
    os.chown(tmp_path / "cache", 12345, 12345)
    with pytest.raises(ValueError, match="belongs to user 12345"):
        require_private(tmp_path / "cache")


def test_the_cache_that_the_service_writes_is_private_whatever_the_umask(
    registry: Registry, put: Callable[..., int], tmp_path: Path
) -> None:
    put(model())
    root = tmp_path / "shared" / "cache"
    root.mkdir(parents=True)
    root.chmod(0o755)
    before = os.umask(0o000)
    try:
        LiveModels(registry, Cache(root)).refresh()
    finally:
        os.umask(before)
    require_private(root)


def test_the_cache_follows_a_rotation_of_the_key(
    registry: Registry, registry_environ: dict[str, str], cache: Cache, put: Callable[..., int], tmp_path: Path
) -> None:
    number = put(model())
    old, new = registry_environ, write_key_pair(tmp_path)
    both = {"UPDRAFT_VERIFY_KEY": f"{new['UPDRAFT_VERIFY_KEY']}:{old['UPDRAFT_VERIFY_KEY']}"}
    LiveModels(registry, cache).refresh()
    assert list(sign(open_registry({**old, **new, **both}), NAME, who="tests"))
    for environ in ({**old, **both, "UPDRAFT_SIGNING_KEY": ""}, {**old, **new}):
        live_models = LiveModels(open_registry(environ), cache)
        assert live_models.refresh()
        assert (live_models.live[NAME].version, dict(live_models.refusals)) == (number, {})


def test_a_version_may_not_stand_in_for_another_in_the_cache(
    live_models: LiveModels, cache: Cache, unreachable: Registry, put: Callable[..., int]
) -> None:
    """Both are signed: the number and the name in the manifest must be those of the folder."""
    first = put(model())
    live_models.refresh()
    second = put(model(seed=1))
    live_models.refresh()
    shutil.rmtree(cache.folder(NAME, second))
    shutil.copytree(cache.folder(NAME, first), cache.folder(NAME, second))
    again = LiveModels(unreachable, cache)
    again.refresh()
    assert (again.live[NAME].version, again.refusals[NAME].version) == (first, second)


def test_a_cache_without_sense_is_no_fault(cache: Cache, unreachable: Registry) -> None:
    for name, note in {"a": "", "b": "{}", "c": '["x"]', "d": "[3]", "e": "[null]"}.items():
        (cache.root / name).mkdir(parents=True)
        (cache.root / name / "kept.json").write_text(note)
    live_models = LiveModels(unreachable, cache)
    assert not live_models.refresh()
    assert dict(live_models.live) == {}


def test_the_registry_comes_back(
    live_models: LiveModels, registry: Registry, cache: Cache, unreachable: Registry, put: Callable[..., int]
) -> None:
    put(model())
    live_models.refresh()
    again = LiveModels(unreachable, cache)
    again.refresh()
    live = again.live[NAME]
    unreachable.bucket = registry.bucket
    assert again.refresh()
    assert again.live[NAME] is live  # the same version: nothing is loaded twice
    second = put(model(seed=1))
    again.refresh()
    assert (again.live[NAME].version, again.reachable) == (second, True)


def test_the_cache_keeps_the_version_that_serves_and_the_one_before(
    live_models: LiveModels, cache: Cache, put: Callable[..., int]
) -> None:
    numbers = []
    for seed in range(4):
        numbers.append(put(model(seed=seed)))
        live_models.refresh()
    home = cache.root / NAME
    assert sorted(path.name for path in home.iterdir() if path.is_dir()) == [f"{number:04d}" for number in numbers[-2:]]
    assert json.loads((home / "kept.json").read_text()) == [numbers[-1], numbers[-2]]


def test_a_cache_that_cannot_be_written_leaves_the_old_version_and_is_tried_again(
    live_models: LiveModels, cache: Cache, put: Callable[..., int]
) -> None:
    number = put(model())
    cache.root.write_text("a file where the folder should be")
    assert not live_models.refresh()
    assert (dict(live_models.live), dict(live_models.refusals)) == ({}, {})
    cache.root.unlink()
    assert live_models.refresh()
    assert live_models.live[NAME].version == number


def test_workers_that_share_a_cache_do_not_spoil_each_others_versions(
    registry: Registry, cache: Cache, put: Callable[..., int]
) -> None:
    shelves = [LiveModels(registry, cache) for _ in range(4)]
    for seed in range(4):
        number = put(model(seed=seed))
        threads = [threading.Thread(target=live_models.refresh) for live_models in shelves]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [dict(live_models.refusals) for live_models in shelves] == [{}] * 4
        assert [live_models.live[NAME].version for live_models in shelves] == [number] * 4


def test_the_watch_brings_a_promotion_within_an_interval(
    live_models: LiveModels, put: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    thread = live_models.watch(0.2)
    try:
        number = put(model())
        until = time.monotonic() + 10
        while NAME not in live_models.live and time.monotonic() < until:
            time.sleep(0.02)
        assert live_models.live[NAME].version == number
    finally:
        live_models.close()
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
    live_models: LiveModels, registry: Registry, tmp_path: Path
) -> None:
    """Whole and signed, and yet not what was evaluated: such as under another release of a library."""

    def promise(folder: Path) -> None:
        golden.write(model(seed=1), [ROW, OTHER], folder)

    good = push(registry, tmp_path / "good", model(seed=1), spoil=promise)
    promote(registry, good)
    assert live_models.refresh()
    other = push(registry, tmp_path / "other", model(seed=2), spoil=promise)
    promote(registry, other)
    live_models.refresh()
    assert live_models.live[NAME].version == good.number
    assert live_models.refusals[NAME].version == other.number
    assert "golden row 0: expected 0." in live_models.refusals[NAME].reason


def test_only_the_selected_use_cases_are_downloaded(registry: Registry, tmp_path: Path) -> None:
    promote(registry, push(registry, tmp_path / "one", model()))
    promote(registry, push(registry, tmp_path / "two", model("another_case")))
    live_models = LiveModels(registry, Cache(tmp_path / "cache"), only=["another_case", "not_there_yet"])
    assert live_models.refresh()
    assert live_models.names == ["another_case"]
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["another_case"]


def test_a_start_with_the_pointer_or_the_bucket_gone_serves_what_was_good(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    promote(registry, push(registry, tmp_path / "run", model()))
    cache = Cache(tmp_path / "cache")
    assert LiveModels(registry, cache).refresh()
    emptied = open_registry({**registry_environ, "UPDRAFT_REGISTRY": "s3://updraft-tests-not-there"})
    live_models = LiveModels(emptied, cache)
    assert live_models.refresh()
    assert (live_models.names, live_models.live[NAME].version) == ([NAME], 1)
    registry.bucket.client.delete_object(Bucket=registry.bucket.name, Key=f"{registry.bucket.base}{NAME}/pointer.json")
    live_models = LiveModels(registry, cache)
    assert live_models.refresh()
    assert live_models.live[NAME].version == 1


def test_a_version_that_comes_later_than_its_pointer_is_let_in_and_its_refusal_forgotten(
    live_models: LiveModels, registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    promote(registry, push(registry, tmp_path / "one", model()))
    live_models.refresh()
    late = push(registry, tmp_path / "two", model(seed=1))
    promote(registry, late)
    key = f"{NAME}/versions/0002/manifest.json"
    manifest, _ = registry.bucket.get(key) or (b"", "")
    registry.bucket.client.delete_object(Bucket=registry.bucket.name, Key=registry.bucket.base + key)
    for _ in range(3):
        assert live_models.refresh()
    assert (live_models.live[NAME].version, live_models.refusals[NAME].version) == (1, 2)
    assert caplog.text.count("is refused") == 1
    registry.bucket.put(key, manifest)
    assert live_models.refresh()
    assert live_models.live[NAME].version == 2
    assert NAME not in live_models.refusals


def test_an_invalid_pointer_is_reported_and_slows_no_other_use_case(
    live_models: LiveModels, registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    promote(registry, push(registry, tmp_path / "one", model()))
    live_models.refresh()
    registry.bucket.put(f"{NAME}/pointer.json", b"junk")
    for _ in range(3):
        assert live_models.refresh()
    assert (live_models.live[NAME].version, live_models.refusals[NAME].version) == (1, None)
    assert caplog.text.count("is refused") == 1


def test_an_old_pointer_that_was_put_back_is_refused_also_after_a_restart(
    registry: Registry, cache: Cache, put: Callable[..., int]
) -> None:
    put(model())
    old, _ = registry.bucket.get(f"{NAME}/pointer.json") or (b"", "")
    second = put(model(seed=1))
    new, _ = registry.bucket.get(f"{NAME}/pointer.json") or (b"", "")
    live_models = LiveModels(registry, cache)
    live_models.refresh()
    registry.bucket.put(f"{NAME}/pointer.json", old)
    for models in (live_models, LiveModels(registry, cache)):
        assert models.refresh()
        assert (models.live[NAME].version, models.refusals[NAME].version) == (second, None)
        assert "move 2 was seen before" in models.refusals[NAME].reason
        assert f"`updraft registry sign {NAME} --above 2`" in models.refusals[NAME].reason
    registry.bucket.put(f"{NAME}/pointer.json", new)
    assert live_models.refresh()
    assert NAME not in live_models.refusals


def test_a_restored_registry_is_followed_once_it_goes_on_above(
    registry: Registry, cache: Cache, put: Callable[..., int]
) -> None:
    put(model())
    kept = {key: registry.bucket.get(key) for key in registry.bucket.keys("")}
    put(model(seed=1))
    live_models = LiveModels(registry, cache)
    live_models.refresh()
    _remove(registry, NAME)
    for key, content in kept.items():
        registry.bucket.put(key, content[0] if content else b"")
    promote(registry, registry.version(NAME, 1))  # changes nothing
    live_models.refresh()
    assert live_models.live[NAME].version == 2
    assert list(sign(registry, NAME, who="tests", above=2))
    live_models.refresh()
    assert (live_models.live[NAME].version, dict(live_models.refusals)) == (1, {})


def test_a_pointer_of_another_registry_with_the_same_key_is_refused(
    registry: Registry, registry_environ: dict[str, str], cache: Cache, put: Callable[..., int], tmp_path: Path
) -> None:
    """Also with its versions and its history, and after a restart; until the key's holder takes it over."""
    put(model())
    live_models = LiveModels(registry, cache)
    live_models.refresh()
    staging = open_registry(registry_environ | {"UPDRAFT_REGISTRY": f"{registry_environ['UPDRAFT_REGISTRY']}-staging"})
    for seed in (1, 2):
        promote(staging, push(staging, tmp_path / f"staging {seed}", model(seed=seed)))
    for key in staging.bucket.keys(""):
        registry.bucket.put(key, (staging.bucket.get(key, limit=2**30) or (b"", ""))[0])
    for models in (live_models, LiveModels(registry, cache)):
        assert models.refresh()
        assert (models.live[NAME].version, models.refusals[NAME].version) == (1, None)
        assert "copied from another registry" in models.refusals[NAME].reason
    command = re.search(r"--registry-id (\w+) --above (\d+)`", live_models.refusals[NAME].reason)
    assert command
    assert list(sign(registry, NAME, who="tests", registry_id=command[1], above=int(command[2])))
    live_models.refresh()
    assert (live_models.live[NAME].version, dict(live_models.refusals)) == (2, {})


def test_a_refusal_disappears_with_its_cause(
    live_models: LiveModels, registry: Registry, put: Callable[..., int]
) -> None:
    put(model())
    live_models.refresh()
    put(model(seed=1), spoil=lambda folder: (folder / "model.joblib").write_bytes(b"no pickle"))
    live_models.refresh()
    assert live_models.refusals[NAME].version == 2
    registry.rollback(NAME, who="tests", why="it does not load")
    live_models.refresh()
    assert (live_models.live[NAME].version, dict(live_models.refusals), live_models.refused) == (1, {}, frozenset())


def test_a_removed_use_case_is_dropped_and_does_not_come_back_from_the_cache(
    live_models: LiveModels,
    registry: Registry,
    cache: Cache,
    unreachable: Registry,
    put: Callable[..., int],
    tmp_path: Path,
) -> None:
    put(model())
    put(model("vehicle_price"))
    live_models.refresh()
    before, _ = registry.bucket.get(f"{NAME}/pointer.json") or (b"", "")
    registry.remove(NAME, who="tests", why="replaced")
    assert live_models.refresh()
    assert (list(live_models.live), live_models.names) == (["vehicle_price"], ["vehicle_price"])
    for source in (unreachable, registry):
        again = LiveModels(source, cache)
        again.refresh()
        assert (list(again.live), again.names) == (["vehicle_price"], ["vehicle_price"])
    registry.bucket.put(f"{NAME}/pointer.json", before)  # put back by somebody who can write
    again.refresh()
    assert NAME not in again.live and "move 2 was seen before" in again.refusals[NAME].reason
    assert list(sign(registry, NAME, who="tests"))
    back = push(registry, tmp_path / "back", model(seed=5))
    promote(registry, back)
    live_models.refresh()
    assert live_models.live[NAME].version == back.number


HOSTILE = (b"[" * 60_000, b'{"a":' * 900 + b"1" + b"}" * 900, b"0" * 70_000, b"9" * 50_000, b'{"name": "\\ud800"}')


@pytest.mark.parametrize("content", HOSTILE, ids=["lists", "objects", "large", "digits", "surrogate"])
@pytest.mark.parametrize("key", ["pointer.json", "versions/0001/manifest.json", "versions/0001/manifest.sig"])
def test_one_broken_object_does_not_end_the_round_of_all(
    key: str, content: bytes, registry: Registry, cache: Cache, put: Callable[..., int]
) -> None:
    put(model("a_first"))
    put(model("vehicle_price"))
    registry.bucket.put(f"a_first/{key}", content)
    live_models = LiveModels(registry, cache)
    assert live_models.refresh()
    assert list(live_models.live) == ["vehicle_price"]
    assert "a_first" in live_models.refusals and "\n" not in live_models.refusals["a_first"].reason


def test_the_pipeline_of_a_compiled_version_is_read_only_when_it_has_to_serve(
    put: Callable[..., int], registry: Registry, cache: Cache
) -> None:
    made, _ = compiled("DecisionTreeClassifier", "binary", "numbers")
    number = put(made, spoil=lambda folder: served_form.write(made, FRAME, FRAME, 1, folder))
    folder = registry.pull("made", number, cache.folder("made", number))
    version, files = version_folder.open_folder("made", number, folder, FILES, registry.keys)
    (folder / MODEL).write_bytes(b"somebody else's")
    assert load(version, files).model.form == "compiled"
    with pytest.raises(VerificationError, match=r"'model\.joblib' in this folder is not the one that was signed"):
        load(version, {name: files[name] for name in files if name != COMPILED})
    (folder / TREES).write_bytes(b"somebody else's")
    with pytest.raises(VerificationError, match=r"'trees\.bin' in this folder is not the one that was signed"):
        load(version, files)


def test_a_cache_that_is_changed_while_it_is_read_is_downloaded_again(
    live_models: LiveModels, put: Callable[..., int], cache: Cache
) -> None:
    number = put(model())
    assert live_models.refresh()
    (cache.folder(NAME, number) / MODEL).write_bytes(b"somebody else's")
    again = LiveModels(live_models._registry, cache)
    assert again.refresh() and probability(again) == probability(live_models)
