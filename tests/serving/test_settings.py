"""The service's settings: each that is wrong is named, and docs/serving.md lists those that are read."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from serving.settings import Settings, read, read_shipping
from serving.training.trigger import open_trainer
from updraft.defaults import ROOT

WRONG = [
    ("UPDRAFT_REGISTRY", "", "UPDRAFT_REGISTRY"),
    ("UPDRAFT_REGISTRY", "http://127.0.0.1/models", "UPDRAFT_REGISTRY"),
    ("UPDRAFT_VERIFY_KEY", "", "UPDRAFT_VERIFY_KEY"),
    ("UPDRAFT_VERIFY_KEY", "/nowhere/verify.pem", "UPDRAFT_VERIFY_KEY"),
    ("UPDRAFT_VERIFY_KEY", __file__, "UPDRAFT_VERIFY_KEY"),
    ("AWS_ENDPOINT_URL_S3", "nonsense", "AWS_ENDPOINT_URL_S3"),
    ("SERVING_POLL_SECONDS", "soon", "SERVING_POLL_SECONDS: 'soon'"),
    ("SERVING_POLL_SECONDS", "0", "SERVING_POLL_SECONDS: '0'"),
    ("SERVING_MAX_BODY_MB", "-1", "SERVING_MAX_BODY_MB: '-1'"),
    ("SERVING_MAX_ROWS", "nan", "SERVING_MAX_ROWS: 'nan'"),
    ("SERVING_CACHE", f"{__file__}/cache", "SERVING_CACHE"),
    ("SERVING_DATA", f"{__file__}/data", "SERVING_DATA"),
    ("SERVING_THREADS", "0", "SERVING_THREADS: '0'"),
    ("SERVING_WAITING", "-1", "SERVING_WAITING: '-1'"),
    ("SERVING_WAIT_SECONDS", "inf", "SERVING_WAIT_SECONDS: 'inf'"),
    ("SERVING_BODY_SECONDS", "never", "SERVING_BODY_SECONDS: 'never'"),
    ("SERVING_PROXIES", "one", "SERVING_PROXIES: 'one'"),
    ("SERVING_LOG_DAYS", "0", "SERVING_LOG_DAYS: '0'"),
    ("SERVING_LOG_MAX_MB", "0", "SERVING_LOG_MAX_MB: '0'"),
    ("SERVING_LOG_LEVEL", "LOUD", "SERVING_LOG_LEVEL: 'LOUD', expected INFO or DEBUG or WARNING or ERROR"),
    ("SERVING_LOG_FORMAT", "xml", "SERVING_LOG_FORMAT: 'xml', expected plain or json"),
    ("SERVING_LOG_REQUESTS", "some", "SERVING_LOG_REQUESTS: 'some', expected all or errors"),
    ("SERVING_LOOP_MS", "-1", "SERVING_LOOP_MS: '-1', expected a number from 0 to 1,000"),
    ("SERVING_PREDICTION_LOG", "yes", "SERVING_PREDICTION_LOG: 'yes', expected on or off"),
    ("SERVING_API_KEYS", "short:key", "SERVING_API_KEYS: line 1: the key has 3 characters"),
    ("SERVING_API_KEYS_FILE", "/nowhere/keys", "SERVING_API_KEYS_FILE: cannot read the file"),
    ("SERVING_TRAINS_PER_MINUTE", "few", "SERVING_TRAINS_PER_MINUTE: 'few'"),
    ("SERVING_TRAIN_TOKEN", "0123456789abcdef", "AIRFLOW_URL"),
    ("SERVING_HOSTS", "example.com, a b:80", "SERVING_HOSTS: 'b:80'"),
    ("SERVING_HOSTS", "https://example.com", "SERVING_HOSTS: 'https://example.com'"),
    ("SERVE_ONLY", "vehicle_insurance, Nonsense!", "SERVE_ONLY: 'Nonsense!'"),
]


@pytest.fixture
def environ(registry_environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    return registry_environ | {"SERVING_CACHE": str(tmp_path / "cache"), "SERVING_DATA": str(tmp_path / "data")}


def start(environ: dict[str, str]) -> Settings:
    """Read all that is read at a start."""
    found = read(environ)
    open_trainer(environ, found.data, found.trains_per_minute)
    return found


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_a_bad_setting_is_named_in_one_line(name: str, value: str, message: str, environ: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"\w") as refusal:
        start(environ | {name: value})
    assert str(refusal.value).startswith(message)
    assert "\n" not in str(refusal.value)


def test_the_defaults_lie_in_the_stacks_home_else_in_the_users_cache(environ: dict[str, str], tmp_path: Path) -> None:
    bare = {name: value for name, value in environ.items() if not name.startswith("SERVING_")}
    assert read(bare | {"UPDRAFT_HOME": str(tmp_path)}).data == tmp_path / "serving-data"
    assert read(bare | {"XDG_CACHE_HOME": str(tmp_path)}).cache == tmp_path / "updraft" / "serving"
    assert (tmp_path / "serving-data").stat().st_mode & 0o777 == 0o700


def test_a_cache_that_others_may_write_to_ends_the_start_in_one_line(environ: dict[str, str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    with pytest.raises(ValueError, match=r"SERVING_CACHE: .*cache': others may write to it") as refusal:
        read(environ)
    assert "\n" not in str(refusal.value)


def test_the_documentation_lists_what_is_read(environ: dict[str, str], tmp_path: Path) -> None:
    names: set[str] = set()

    class Asked(dict[str, str]):
        def get(self, name: str, *default: object) -> str | None:  # type: ignore[override]
            names.add(name)
            return super().get(name, *default)  # type: ignore[arg-type]

    asked = Asked(environ | {"SERVING_TRAIN_TOKEN": "0123456789abcdef", "AIRFLOW_URL": "http://127.0.0.1:1"})
    asked |= {"AIRFLOW_USER": "service", "AIRFLOW_PASSWORD": "password"}
    start(asked)
    login = {"SERVING_PREDICTIONS_ACCESS_KEY_ID": "key", "SERVING_PREDICTIONS_SECRET_ACCESS_KEY": "secret"}
    asked |= {"SERVING_PREDICTIONS": "s3://predictions", "SERVING_DATA": str(tmp_path), **login}
    read_shipping(asked)
    ours = {name for name in names if name.startswith(("SERV", "AIRFLOW_"))}
    documented = set(
        re.findall(r"`((?:SERV\w*|AIRFLOW)_\w+)`", (ROOT / "docs" / "serving.md").read_text(encoding="utf-8"))
    )
    assert documented == ours


ENTRY_POINTS = {ROOT / "serving" / "wsgi.py", ROOT / "serving" / "shipper" / "__main__.py"}


def test_nobody_else_reads_the_environment() -> None:
    for path in (ROOT / "serving").rglob("*.py"):
        read = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
        assert path in ENTRY_POINTS or not {"environ", "getenv", "environb"} & {
            node.attr for node in read if isinstance(node.value, ast.Name) and node.value.id == "os"
        }, path
