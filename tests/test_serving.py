"""The service: what it answers, over a real registry and under its real server."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from sklearn.ensemble import RandomForestClassifier
from werkzeug.test import TestResponse

from serving.app import create_app
from serving.cache import Cache
from serving.shelf import Shelf
from tests.conftest import write_key_pair
from tests.servers import s3_server
from tests.small_models import NAME, OTHER, ROW, model, promote, push
from updraft.embedded.servers import free_port, wait_for_port
from updraft.model import Model
from updraft.registry import Registry, open_registry

ROOT = Path(__file__).parents[1]
TRAINED = model(threshold=0.3)
PREDICT = f"/predict/{NAME}"


@pytest.fixture
def shelf(registry: Registry, tmp_path: Path) -> Shelf:
    """A shelf on which nothing is yet."""
    return Shelf(registry, Cache(tmp_path / "cache"))


@pytest.fixture(scope="module")
def loaded(s3: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """A shelf that holds TRAINED, for tests that only read it."""
    folder = tmp_path_factory.mktemp("loaded")
    registry = open_registry({**s3, **write_key_pair(folder), "UPDRAFT_REGISTRY": "s3://test-serving"})
    promote(registry, push(registry, folder / "run", TRAINED))
    shelf = Shelf(registry, Cache(folder / "cache"))
    assert shelf.refresh()
    return shelf


@pytest.fixture
def client(loaded: Shelf) -> FlaskClient:
    """A client of the app with small limits: 64 KiB and 50 rows."""
    return create_app(loaded, max_body=2**16, max_rows=50).test_client()


def probabilities(it: Model, *rows: dict[str, Any]) -> list[float]:
    return it.predict(it.signature.frame(list(rows))).probabilities


def samples(client: FlaskClient) -> dict[tuple[str, ...], float]:
    """Read /metrics as {(name, label values in the order of the labels' names …): value}."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def assert_problem(answer: TestResponse, status: int) -> dict[str, Any]:
    """Hold an answer against RFC 9457 and against what must never get out."""
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    told: dict[str, Any] = json.loads(answer.data)
    assert told["status"] == status
    assert told["title"]
    assert told["detail"]
    assert told["type"] == "about:blank"
    for secret in ("Traceback", "site-packages", 'File "', str(ROOT), "line 1,", "<!doctype"):
        assert secret not in answer.text
    return told


# --- answers ----------------------------------------------------------------------------------------------------------


def test_one_row_is_answered_with_lists_of_one(client: FlaskClient) -> None:
    answer = client.post(PREDICT, json=ROW)
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.headers["X-Model-Version"] == "1"
    assert answer.json == {
        "use_case": NAME,
        "version": 1,
        "threshold": 0.3,
        "predictions": [1],
        "labels": ["interested"],
        "probabilities": probabilities(TRAINED, ROW),
    }


def test_a_batch_is_answered_in_its_order(client: FlaskClient) -> None:
    rows = [OTHER, ROW, OTHER | {"id": 7}]
    answer = client.post(PREDICT, json={"rows": rows}).json
    assert answer["probabilities"] == probabilities(TRAINED, OTHER, ROW, OTHER)
    assert answer["predictions"] == [0, 1, 0]
    assert answer["labels"] == ["not interested", "interested", "not interested"]


def test_it_decides_at_the_threshold_that_was_evaluated(client: FlaskClient) -> None:
    """A tutorial evaluated at 0.7 and served at 0.5: rows between 0.3 and 0.5 tell the difference."""
    rows = [ROW | {"Age": age, "Vehicle_Damage": damage} for age in range(18, 43) for damage in ("Yes", "No")]
    answer = client.post(PREDICT, json={"rows": rows}).json
    between = [label for label, p in zip(answer["predictions"], answer["probabilities"], strict=True) if 0.3 <= p < 0.5]
    assert between
    assert set(between) == {1}
    assert answer["predictions"] == [int(p >= 0.3) for p in answer["probabilities"]]


@pytest.mark.parametrize(
    "row",
    [
        ROW | {"Age": 44.0},  # a whole number is one, however it is written
        ROW | {"Region_Code": 28},
        ROW | {"id": 5},
        ROW | {"id": None},
        dict(reversed(ROW.items())),
    ],
    ids=["float for int", "int for float", "id", "null id", "other order"],
)
def test_the_same_row_in_another_dress_is_the_same_row(row: dict[str, Any], client: FlaskClient) -> None:
    assert client.post(PREDICT, json=row).json["probabilities"] == probabilities(TRAINED, ROW)


def test_a_charset_and_a_byte_order_mark_are_let_pass(client: FlaskClient) -> None:
    body = b"\xef\xbb\xbf" + json.dumps(ROW).encode()
    assert client.post(PREDICT, data=body, content_type="application/json; charset=utf-8").status_code == 200


def test_the_index_the_models_and_both_kinds_of_health(client: FlaskClient) -> None:
    assert client.get("/").json["use_cases"] == [NAME]
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.get("/readyz").json == {"status": "ready", "versions": {NAME: 1}}
    [told] = client.get("/models").json["models"]
    loaded_at = told.pop("loaded_at")
    assert loaded_at.endswith("+00:00")
    assert told == {
        "use_case": NAME,
        "title": "Would a customer buy vehicle insurance?",
        "version": 1,
        "candidate": "random_forest",
        "threshold": 0.3,
        "metrics": {"f1": 0.5},
        "run_id": "run",
        "refused": None,
    }


# --- errors -----------------------------------------------------------------------------------------------------------

ONE = json.dumps(ROW)


def one(**changes: Any) -> str:
    return json.dumps(ROW | changes)


def raw(name: str, text: str) -> str:
    """Make a row with a value of which json.dumps would not think."""
    return one(**{name: "@"}).replace('"@"', text)


BAD: dict[str, tuple[str | bytes, int, list[str]]] = {
    # what is not JSON
    "nothing": (b"", 400, []),
    "a space": (" ", 400, []),
    "a word": ("hello", 400, []),
    "half": (ONE[:-5], 400, []),
    "two": (ONE + ONE, 400, []),
    "single quotes": ("{'Age': 44}", 400, []),
    "trailing comma": (ONE[:-1] + ",}", 400, []),
    "a comment": (ONE + "//", 400, []),
    "NaN": (raw("Annual_Premium", "NaN"), 400, []),
    "Infinity": (raw("Annual_Premium", "Infinity"), 400, []),
    "-Infinity": (raw("Annual_Premium", "-Infinity"), 400, []),
    "latin-1": ('{"Gender": "Fräulein"}'.encode("latin-1"), 400, []),
    "utf-16": (ONE.encode("utf-16"), 400, []),
    "a null byte": (b"\0", 400, []),
    "a null byte in a string": (b'{"Gender": "\0"}', 400, []),
    "a newline in a string": ('{"Gender": "Ma\nle"}', 400, []),
    "deep lists": ("[" * 20_000 + "]" * 20_000, 400, []),
    "deep objects": ('{"a":' * 10_000 + "1" + "}" * 10_000, 400, []),
    "deep and open": ("[" * 60_000, 400, []),
    "5,000 digits": (raw("Age", "9" * 5_000), 400, []),
    "5,000 digits in the id": (raw("id", "9" * 5_000), 400, []),
    "a key twice": (ONE[:-1] + ', "Age": 45}', 400, []),
    "rows twice": ('{"rows": [], "rows": []}', 400, []),
    "half a surrogate pair": (raw("Gender", r'"\ud800"'), 400, []),
    "half a surrogate pair as a key": (ONE[:-1] + r', "\uDFFF": 1}', 400, []),
    # JSON, but no rows
    "null": ("null", 422, [""]),
    "a number": ("17", 422, [""]),
    "a string": ('"Age"', 422, [""]),
    "true": ("true", 422, [""]),
    "a bare list": (f"[{ONE}]", 422, [""]),
    "no rows": ('{"rows": []}', 422, ["/rows"]),
    "rows and more": (f'{{"rows": [{ONE}], "threshold": 0.1}}', 422, ["/rows"]),
    "51 rows": (json.dumps({"rows": [{}] * 51}), 413, []),
    "70,000 bytes": (one(Gender="M" * 70_000), 413, []),
    # rows that do not fit
    "an empty row": ("{}", 422, [f"/{name}" for name in ROW]),
    "rows is an object": (f'{{"rows": {ONE}}}', 422, [*(f"/{name}" for name in ROW), "/rows"]),
    "rows is null": ('{"rows": null}', 422, [*(f"/{name}" for name in ROW), "/rows"]),
    "a row is null": ('{"rows": [null]}', 422, ["/rows/0"]),
    "a row is a list": ('{"rows": [[1, 2]]}', 422, ["/rows/0"]),
    "the second row": (json.dumps({"rows": [ROW, ROW | {"Age": 1}]}), 422, ["/rows/1/Age"]),
    "two rows": (json.dumps({"rows": [ROW | {"Age": 1}, ROW | {"Gender": 1}]}), 422, ["/rows/0/Age", "/rows/1/Gender"]),
    "all faults of a row": (one(Age=1, Gender="X", Vintage=None), 422, ["/Gender", "/Age", "/Vintage"]),
    "an unknown field": (one(Colour="red"), 422, ["/Colour"]),
    "the target": (one(Response=1), 422, ["/Response"]),
    "a field with a slash": (one(**{"a/b~c": 1}), 422, ["/a~1b~0c"]),
    "a field of other case": (ONE.replace("Age", "age", 1), 422, ["/Age", "/age"]),
    "null for a number": (one(Age=None), 422, ["/Age"]),
    "null for a text": (one(Gender=None), 422, ["/Gender"]),
    "a text for an integer": (one(Age="44"), 422, ["/Age"]),
    "a text for a float": (one(Annual_Premium="40454"), 422, ["/Annual_Premium"]),
    "a number for a text": (one(Gender=1), 422, ["/Gender"]),
    "true for an integer": (one(Driving_License=True), 422, ["/Driving_License"]),
    "true for a float": (one(Region_Code=True), 422, ["/Region_Code"]),
    "false for a text": (one(Vehicle_Damage=False), 422, ["/Vehicle_Damage"]),
    "a fraction for an integer": (one(Age=44.5), 422, ["/Age"]),
    "10**30": (one(Age=10**30), 422, ["/Age"]),
    "10**30 for a float": (one(Annual_Premium=10**30), 422, ["/Annual_Premium"]),
    "4,000 digits for a float": (raw("Annual_Premium", "9" * 4_000), 422, ["/Annual_Premium"]),
    "4,000 digits for an integer": (raw("Age", "9" * 4_000), 422, ["/Age"]),
    "1e999": (raw("Annual_Premium", "1e999"), 422, ["/Annual_Premium"]),
    "-1e999 for an integer": (raw("Age", "-1e999"), 422, ["/Age"]),
    "1e30 for an integer": (raw("Age", "1e30"), 422, ["/Age"]),
    "out of range, low": (one(Age=17), 422, ["/Age"]),
    "out of range, high": (one(Annual_Premium=1_000_001), 422, ["/Annual_Premium"]),
    "an unknown category": (one(Vehicle_Age="3 Years"), 422, ["/Vehicle_Age"]),
    "an empty text": (one(Gender=""), 422, ["/Gender"]),
    "a text with a null byte": (one(Gender="Male\0"), 422, ["/Gender"]),
    "a whole surrogate pair": (one(Gender="🚗"), 422, ["/Gender"]),
    "an object as a value": (one(Age={"value": 44}), 422, ["/Age"]),
    "a list as a value": (one(Age=[44]), 422, ["/Age"]),
    "a list as a text": (one(Gender=["Male"]), 422, ["/Gender"]),
    "deep, but not too deep": (raw("Age", "[" * 300 + "]" * 300), 422, ["/Age"]),
    "an SQL injection": (one(Gender="'; DROP TABLE rows; --"), 422, ["/Gender"]),
    "a template": (one(Gender="{{7*7}}{% raise %}%s%n"), 422, ["/Gender"]),
}


@pytest.mark.parametrize(("body", "status", "pointers"), BAD.values(), ids=BAD)
def test_a_bad_body_is_the_callers_fault_and_says_where(
    body: str | bytes, status: int, pointers: list[str], client: FlaskClient
) -> None:
    told = assert_problem(client.post(PREDICT, data=body, content_type="application/json"), status)
    faults = told.get("errors", [])
    assert [fault["pointer"] for fault in faults] == pointers
    assert all(fault["detail"] for fault in faults)
    assert len(json.dumps(told)) < 4_000
    assert client.post(PREDICT, data=ONE, content_type="application/json").status_code == 200


def test_a_hundred_faults_are_told_at_most(client: FlaskClient) -> None:
    told = assert_problem(client.post(PREDICT, json={"rows": [{}] * 50}), 422)
    assert len(told["errors"]) == 100


@pytest.mark.parametrize(
    "kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "é"]
)
def test_another_content_type_is_refused(kind: str | None, client: FlaskClient) -> None:
    assert_problem(client.post(PREDICT, data=ONE, content_type=kind), 415)


def test_an_encoded_body_is_refused(client: FlaskClient) -> None:
    answer = client.post(PREDICT, data=ONE, content_type="application/json", headers={"Content-Encoding": "gzip"})
    assert "gzip" in assert_problem(answer, 415)["detail"]


def test_an_unknown_use_case_is_told_the_known_ones(client: FlaskClient) -> None:
    assert NAME in assert_problem(client.post("/predict/insurance", json=ROW), 404)["detail"]


@pytest.mark.parametrize(
    "path", ["/nowhere", "/predict", "/predict/", f"{PREDICT}/1", "/predict/..%2f..%2fetc", "/models/%00"]
)
def test_another_path_is_not_found(path: str, client: FlaskClient) -> None:
    assert_problem(client.post(path, json=ROW), 404)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", PREDICT), ("DELETE", "/models"), ("POST", "/healthz"), ("PUT", "/")]
)
def test_another_method_is_told_the_allowed_ones(method: str, path: str, client: FlaskClient) -> None:
    answer = client.open(path, method=method)
    assert_problem(answer, 405)
    assert answer.headers["Allow"]


@pytest.mark.parametrize("path", ["/train", "/reload", "/static/x", "/admin", "/openapi.json"])
def test_nobody_can_train_or_reload_over_http(path: str, client: FlaskClient) -> None:
    """A tutorial had GET /train open to the world."""
    assert client.get(path).status_code == client.post(path).status_code == 404


class Moody(RandomForestClassifier):
    """Answers its example, and nothing of an Age above 90."""

    answer = "raises"

    def predict_proba(self, X: Any) -> Any:
        scores = super().predict_proba(X)
        if X[:, -7].max() > 1.6:
            if self.answer == "raises":
                raise RuntimeError(f"secret of {ROOT}")
            scores[:] = float("nan")
        return scores


class Numb(Moody):
    """Answers NaN for an Age above 90."""

    answer = "nan"


@pytest.mark.parametrize("estimator", [Moody(), Numb()], ids=["raises", "answers NaN"])
def test_a_model_that_fails_on_a_good_row_is_our_fault_and_counted(
    estimator: Moody, shelf: Shelf, registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    promote(registry, push(registry, tmp_path / "run", model(estimator=estimator)))
    shelf.refresh()
    client = create_app(shelf).test_client()
    assert client.post(PREDICT, json=ROW).status_code == 200
    told = assert_problem(client.post(PREDICT, json=ROW | {"Age": 100}), 500)
    assert "secret" not in json.dumps(told)
    assert told["instance"] in caplog.text
    assert "Traceback" in caplog.text
    counted = samples(client)
    assert counted["updraft_requests_total", "predict", "500"] == 1
    assert counted["updraft_errors_total", "model"] == 1
    assert counted["updraft_rows_total", NAME] == 1


# --- before a model is there, and metrics ----------------------------------------------------------------------------


def test_health_tells_the_process_from_the_models(shelf: Shelf, registry: Registry, tmp_path: Path) -> None:
    """A tutorial said "healthy" with no model loaded."""
    client = create_app(shelf).test_client()
    assert client.get("/healthz").status_code == 200
    for asked in (False, True):  # before the first round, and after one that found nothing
        if asked:
            shelf.refresh()
        answer = client.get("/readyz")
        assert_problem(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
    version = push(registry, tmp_path / "run", TRAINED)
    shelf.refresh()
    assert client.get("/readyz").status_code == 503
    assert client.get("/models").json["models"] == [{"use_case": NAME, "version": None, "refused": None}]
    promote(registry, version)
    shelf.refresh()
    assert client.get("/readyz").status_code == 200


def test_a_use_case_without_a_model_is_unavailable_and_an_unknown_one_is_not_found(
    shelf: Shelf, registry: Registry, tmp_path: Path
) -> None:
    client = create_app(shelf).test_client()
    assert client.post(PREDICT, json=ROW).status_code == 503  # who knows? nobody has reached the registry yet
    push(registry, tmp_path / "run", TRAINED)
    shelf.refresh()
    answer = client.post(PREDICT, json=ROW)
    assert_problem(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
    assert_problem(client.post("/predict/vehicle_price", json=ROW), 404)


def test_metrics_count_failures_too_and_make_no_series_of_what_callers_write(loaded: Shelf) -> None:
    """A tutorial counted only successes."""
    client = create_app(loaded).test_client()
    client.post(PREDICT, json={"rows": [ROW, OTHER, OTHER]})
    client.post(PREDICT, json={})
    client.post(PREDICT, data="?", content_type="application/json")
    for name in ("intruder-1", "intruder-2"):
        client.post(f"/predict/{name}", json=ROW)
        client.get(f"/{name}")
    counted = samples(client)
    assert counted["updraft_requests_total", "predict", "200"] == 1
    assert counted["updraft_requests_total", "predict", "422"] == 1
    assert counted["updraft_requests_total", "predict", "400"] == 1
    assert counted["updraft_requests_total", "predict", "404"] == 2
    assert counted["updraft_requests_total", "none", "404"] == 2
    assert counted["updraft_errors_total", "schema"] == 1
    assert counted["updraft_errors_total", "bad_request"] == 1
    assert counted["updraft_errors_total", "not_found"] == 4
    assert counted["updraft_rows_total", NAME] == 3
    assert counted["updraft_predictions_total", "interested", NAME] == 1
    assert counted["updraft_predictions_total", "not interested", NAME] == 2
    assert counted["updraft_request_seconds_count", "predict"] == 5
    assert counted["updraft_model_version", NAME] == 1
    assert counted["updraft_registry_up",] == 1
    assert not [key for key in counted if "intruder" in "".join(key)]


def test_a_refused_version_is_told_and_counted(shelf: Shelf, registry: Registry, tmp_path: Path) -> None:
    promote(registry, push(registry, tmp_path / "good", TRAINED))
    shelf.refresh()
    bad = push(registry, tmp_path / "bad", TRAINED, spoil=lambda folder: (folder / "model.joblib").write_bytes(b"?"))
    promote(registry, bad)
    shelf.refresh()
    client = create_app(shelf).test_client()
    [told] = client.get("/models").json["models"]
    assert (told["version"], told["refused"]["version"]) == (1, 2)
    assert "does not load" in told["refused"]["reason"]
    assert str(tmp_path) not in client.get("/models").text
    assert samples(client)["updraft_refused_versions_total", NAME] == 1
    assert client.post(PREDICT, json=ROW).headers["X-Model-Version"] == "1"


# --- under the real server --------------------------------------------------------------------------------------------


@dataclass
class Service:
    """A running service: its port, its log, and one HTTP connection for each request."""

    port: int
    log: Path

    def ask(self, method: str, path: str, body: bytes | list[bytes] | None = None) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def predict(self, row: dict[str, Any]) -> dict[str, Any]:
        status, _, body = self.ask("POST", PREDICT, json.dumps(row).encode())
        assert status == 200, body
        answer: dict[str, Any] = json.loads(body)
        return answer

    def until(self, version: int, seconds: float = 20.0) -> None:
        """Wait until the service is ready with this version."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status, _, body = self.ask("GET", "/readyz")
            if status == 200 and json.loads(body)["versions"] == {NAME: version}:
                return
            time.sleep(0.05)
        raise AssertionError(f"not at version {version} after {seconds} s: {body!r}\n{self.log.read_text()}")


def command(port: int) -> list[str]:
    granian = [
        str(Path(sys.executable).with_name("granian")),
        "--interface",
        "wsgi",
        "--no-ws",
        "--blocking-threads",
        "4",
    ]
    return [*granian, "--host", "127.0.0.1", "--port", str(port), "serving.wsgi:app"]


def surroundings(environ: dict[str, str]) -> dict[str, str]:
    """Return the environment of a service: nothing of ours but PATH and the import path."""
    path = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT / 'include'}:{ROOT}"}
    return path | {key: value for key, value in environ.items() if key != "UPDRAFT_SIGNING_KEY"}


@contextmanager
def service(environ: dict[str, str], folder: Path, **settings: str) -> Iterator[Service]:
    """Run the service under granian, with its cache and its log in `folder`."""
    port, log = free_port(), folder / "service.log"
    own = {"SERVING_CACHE": str(folder / "cache"), "SERVING_POLL_SECONDS": "0.2"}
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command(port), env=surroundings(environ) | own | settings, cwd=ROOT, stdout=sink, stderr=subprocess.STDOUT
        )
    try:
        wait_for_port(port, process)
        yield Service(port, log)
    finally:
        process.terminate()
        process.wait(20)


@dataclass
class Load:
    """Clients that ask without a pause and hold each answer against what its version predicts."""

    service: Service
    expected: Callable[[int, int], float]
    rows: list[dict[str, Any]]
    seen: list[int] = field(default_factory=list)
    wrong: list[object] = field(default_factory=list)

    @contextmanager
    def running(self, clients: int) -> Iterator[None]:
        stop = threading.Event()
        threads = [threading.Thread(target=self._ask, args=(stop, start)) for start in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)

    def _ask(self, stop: threading.Event, index: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=30)) as connection:
            while not stop.is_set() and not self.wrong:
                index = (index + 1) % len(self.rows)
                try:
                    self._hold(connection, index)
                except Exception as error:
                    self.wrong.append(error)

    def _hold(self, connection: http.client.HTTPConnection, index: int) -> None:
        connection.request("POST", PREDICT, json.dumps(self.rows[index]), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        told = json.loads(answer.read())
        assert answer.status == 200, told
        assert answer.getheader("X-Model-Version") == str(told["version"])
        assert told["probabilities"] == [self.expected(told["version"], index)]
        self.seen.append(told["version"])


def test_versions_are_swapped_under_load_without_a_failure(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    models = {number: model(seed=number) for number in (1, 2, 3, 4)}
    rows = [ROW | {"Age": age, "Gender": gender} for age in range(20, 40) for gender in ("Male", "Female")]
    table = {number: probabilities(each, *rows) for number, each in models.items()}
    assert all(len({table[number][index] for number in table}) == len(table) for index in range(len(rows)))
    versions = [push(registry, tmp_path / f"run-{number}", each) for number, each in models.items()]
    promote(registry, versions[0])
    with service(registry_environ, tmp_path) as it:
        it.until(1)
        load = Load(it, lambda number, index: table[number][index], rows)
        with load.running(4):
            for version in versions[1:]:
                time.sleep(0.5)
                promoted = time.monotonic()
                promote(registry, version)
                it.until(version.number)
                assert time.monotonic() - promoted < 5
            time.sleep(0.5)
    assert load.wrong == []
    assert set(load.seen) == {1, 2, 3, 4}
    assert len(load.seen) > 100


def test_it_refuses_what_was_altered_outlives_the_registry_and_starts_without_it(
    key_files: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "s3").mkdir()
    with ExitStack() as registry_up:
        s3 = registry_up.enter_context(s3_server(tmp_path / "s3"))
        environ = {**s3, **key_files, "UPDRAFT_REGISTRY": "s3://models"}
        registry = open_registry(environ)
        promote(registry, push(registry, tmp_path / "run", TRAINED))
        with service(environ, tmp_path) as it:
            it.until(1)
            altered = push(registry, tmp_path / "other", model(seed=2))
            registry.bucket.put(f"{NAME}/versions/0002/signature.json", b"{}")
            _force(registry, altered.number)
            _until(lambda: _refused(it) == 2)
            assert it.predict(ROW)["probabilities"] == probabilities(TRAINED, ROW)
            registry_up.close()
            _until(lambda: b"updraft_registry_up 0.0" in it.ask("GET", "/metrics")[2], 60)
            assert it.predict(ROW)["version"] == 1
            assert it.ask("GET", "/readyz")[0] == 200
    with service(environ, tmp_path) as it:
        it.until(1, 60)
        assert it.predict(ROW)["probabilities"] == probabilities(TRAINED, ROW)
        assert it.ask("POST", "/predict/vehicle_price", json.dumps(ROW).encode())[0] == 503
    assert "Traceback" not in it.log.read_text()


def test_a_body_too_large_is_answered_before_it_is_held_in_memory(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    promote(registry, push(registry, tmp_path / "run", TRAINED))
    with service(registry_environ, tmp_path, SERVING_MAX_BODY_MB="1") as it:
        it.until(1)
        status, headers, body = it.ask("POST", PREDICT, b" " * (5 * 2**20))
        assert (status, headers["content-type"]) == (413, "application/problem+json")
        assert json.loads(body)["status"] == 413
        for chunks in (80, 16 + 1):
            chunked = [ONE.encode().ljust(2**16), *[b" " * 2**16] * (chunks - 1)]  # no Content-Length
            assert it.ask("POST", PREDICT, chunked)[0] == 413
        assert it.ask("POST", PREDICT, chunked[:16])[0] == 200
        assert it.predict(ROW)["version"] == 1


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
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
    ],
)
def test_a_bad_setting_is_one_line_and_no_traceback(
    name: str, value: str, told: str, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    environ = surroundings(registry_environ) | {"SERVING_CACHE": str(tmp_path), name: value}
    ended = subprocess.run(
        [sys.executable, "-c", "import serving.wsgi"], env=environ, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"serving: {told}"), ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_bad_setting_ends_the_server(registry_environ: dict[str, str]) -> None:
    environ = surroundings(registry_environ) | {"SERVING_MAX_ROWS": "many"}
    ended = subprocess.run(command(free_port()), env=environ, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0
    assert "serving: SERVING_MAX_ROWS: 'many'" in ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout


def _until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.05)


def _refused(it: Service) -> int | None:
    [told] = json.loads(it.ask("GET", "/models")[2])["models"]
    return told["refused"] and int(told["refused"]["version"])


def _force(registry: Registry, number: int) -> None:
    """Move the pointer as somebody does who can write to the bucket, past `promote`, which verifies."""
    pointer = registry.pointer(NAME)
    assert pointer is not None
    registry.bucket.put(f"{NAME}/pointer.json", json.dumps(pointer.entry() | {"production": number}).encode())
