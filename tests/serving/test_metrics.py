"""`updraft_version_refused`: whether the service tells Prometheus of a version that it does not let in."""

from __future__ import annotations

from pathlib import Path

from serving.app import create_app
from serving.models.live_models import LiveModels
from serving.models.version_cache import Cache
from tests.support.service import service
from tests.support.small_models import NAME, model, promote, push
from updraft.registry.registry import Registry, Version

REFUSED = f'updraft_version_refused{{use_case="{NAME}"}} '


def refused(exposition: str) -> list[float]:
    """Give the values of the figure; a second one would be a second series of the same labels."""
    return [float(line.removeprefix(REFUSED)) for line in exposition.splitlines() if line.startswith(REFUSED)]


def put(registry: Registry, folder: Path, *, bad: bool = False) -> Version:
    spoil = (lambda files: (files / "model.joblib").write_bytes(b"?")) if bad else None
    version = push(registry, folder, model(), spoil=spoil)
    promote(registry, version)
    return version


def test_a_refused_version_is_reported_while_the_pointer_names_it(registry: Registry, tmp_path: Path) -> None:
    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    client = create_app(live_models).test_client()

    def scraped() -> list[float]:
        for _ in range(2):
            live_models.refresh()
        return refused(client.get("/metrics").text)

    assert scraped() == []
    put(registry, tmp_path / "1", bad=True)
    assert scraped() == [1]
    good = put(registry, tmp_path / "2")
    assert scraped() == [0]
    put(registry, tmp_path / "3", bad=True)
    assert scraped() == [1]
    promote(registry, good)
    assert scraped() == [0]
    assert NAME not in live_models.refusals


def test_an_invalid_pointer_is_reported_until_it_is_valid_again(registry: Registry, tmp_path: Path) -> None:
    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    client = create_app(live_models).test_client()
    put(registry, tmp_path / "1")
    live_models.refresh()
    whole, _ = registry.bucket.get(f"{NAME}/pointer.json") or (b"", "")
    for content, value in ((whole, 0), (b"junk", 1), (whole, 0), (b"junk", 1)):
        registry.bucket.put(f"{NAME}/pointer.json", content)
        live_models.refresh()
        assert refused(client.get("/metrics").text) == [value]
    registry.bucket.client.delete_object(Bucket=registry.bucket.name, Key=f"{registry.bucket.base}{NAME}/pointer.json")
    live_models.refresh()
    assert refused(client.get("/metrics").text) == [0]


def test_two_workers_report_a_refused_version_once(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    put(registry, tmp_path / "run", bad=True)
    (tmp_path / "service").mkdir()
    with service(registry_environ, tmp_path / "service", "--workers", "2") as it:
        for _ in range(8):
            assert refused(it.ask("GET", "/metrics")[2].decode()) == [1]
