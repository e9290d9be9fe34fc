"""The packages of the image `serving`: enough for the service and for LightGBM's C library, and no pipeline's."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from serving.body.request_rows import ARROW
from tests.support.compiled_models import fitted
from tests.support.environments import bin_of
from tests.support.service import PREDICT, granian, service, surroundings
from tests.support.slim_image import STARTS
from tests.support.small_models import NAME, ROW, loaded_model, promote, push
from updraft.defaults import ROOT
from updraft.demo.rows import generate
from updraft.learning.compile import served_form
from updraft.learning.compile.strange_texts import EMPTY, LETTERS, LONG_TEXTS
from updraft.local_stack.servers import free_port
from updraft.registry.registry import open_registry
from updraft.usecase import load

PIPELINES = {"joblib", "pandas", "pyarrow", "scikit-learn", "scipy"}
LOCKS = [*ROOT.glob("requirements*.txt"), *(ROOT / "serving").glob("requirements*.txt")]


def pins(file: str) -> list[str]:
    """List the lines of a lock that name a package."""
    return re.findall(r"^[a-z0-9].*==.*?(?= \\$)", (ROOT / "serving" / file).read_text(), re.M)


def names(file: str) -> set[str]:
    return {line.partition("==")[0] for line in pins(file)}


@pytest.fixture(scope="module")
def slim(takes_long: None) -> Path:
    """Return the programs of an environment as the image has it."""
    return bin_of("--no-deps", *pins("requirements.txt"))


def test_the_locks_differ_by_what_pipelines_and_arrow_streams_need() -> None:
    assert not names("requirements.txt") & PIPELINES
    assert names("requirements-full.txt") >= PIPELINES
    assert set(pins("requirements.txt")) < set(pins("requirements-full.txt"))


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-full.txt"])
def test_the_images_have_the_event_loop_that_is_measured(file: str) -> None:
    # granian takes the first of these that is installed, and make bench-serving runs with the packages of development.
    loops = {"rloop", "uvloop", "winloop"}
    assert loops & names(file) == loops & names("../requirements-dev.txt") == {"uvloop"}


@pytest.mark.parametrize("file", LOCKS, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_lock_has_hashes_for_every_package_and_no_address(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    packages = re.findall(r"^[a-z0-9].*$", text, re.M)
    hashed = re.findall(r"^[a-z0-9].*==.* \\\n(?= +--hash=sha256:[0-9a-f]{64})", text, re.M)
    assert packages and len(hashed) == len(packages)
    assert "://" not in text


def test_the_service_and_lightgbms_library_load_without_what_pipelines_need(slim: Path) -> None:
    done = subprocess.run(
        [slim / "python", "-c", STARTS], cwd=ROOT, env=surroundings({}), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_the_server_takes_uvloop(slim: Path) -> None:
    # What it looks for at each start: `--loop auto`, its default.
    code = "from granian._loops import loops; print(type(loops.get('auto')).__module__)"
    done = subprocess.run([slim / "python", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "uvloop"


@pytest.mark.usefixtures("starts_servers")
def test_a_version_that_needs_its_pipeline_is_refused_with_the_reason(
    slim: Path, s3: dict[str, str], key_files: dict[str, str], tmp_path: Path
) -> None:
    environ = {**s3, **key_files, "UPDRAFT_REGISTRY": "s3://test-slim"}
    registry = open_registry(environ)
    promote(registry, push(registry, tmp_path / "run", loaded_model()))
    port = free_port()
    command = [str(slim / "granian"), *granian(port)[1:]]
    with service(environ, tmp_path, command=command, port=port) as running:
        answers = {path: running.ask("GET", path) for path in ("/healthz", "/readyz", "/models")}
        answers[PREDICT] = running.ask("POST", PREDICT, json.dumps(ROW).encode())
    assert {path: status for path, (status, _, _) in answers.items()} == {
        "/healthz": 200, "/readyz": 503, "/models": 200, PREDICT: 503,
    }  # fmt: skip
    reason = f"{NAME} version 1: needs joblib: use the image serving-full"
    assert json.loads(answers["/models"][2])["models"][0]["refused"]["reason"] == reason
    for path in ("/readyz", PREDICT):
        _, headers, body = answers[path]
        assert reason in json.loads(body)["detail"] and headers["retry-after"], path


@pytest.mark.usefixtures("starts_servers")
def test_texts_are_scored_as_their_pipeline_does(
    slim: Path, s3: dict[str, str], key_files: dict[str, str], tmp_path: Path
) -> None:
    case = load("sms_spam", ROOT)
    frame = generate(case, 400)
    made = fitted(case, "LinearSVC", frame, **case.candidates["linear_svc"].params)
    environ = {**s3, **key_files, "UPDRAFT_REGISTRY": "s3://test-slim-text"}
    registry = open_registry(environ)
    version = push(
        registry, tmp_path / "run", made, spoil=lambda folder: served_form.write(made, frame, frame, 1, folder)
    )
    promote(registry, version)
    (column,) = made.signature.columns
    texts = [*frame["message"].head(20), *EMPTY, *LETTERS.values(), LONG_TEXTS[1][: column.longest]]
    texts = [text for text in texts if "\ufffd" not in text and not list(column.violations(text))]
    port = free_port()
    command = [str(slim / "granian"), *granian(port)[1:]]
    with service(environ, tmp_path, command=command, port=port) as running:
        body = json.dumps({"columns": {"message": texts}}).encode()
        status, _, answer = running.ask("POST", "/predict/made", body)
        ones = [running.ask("POST", "/predict/made", json.dumps({"message": text}).encode()) for text in texts[-20:]]
        form = json.loads(running.ask("GET", "/models")[2])["models"][0]["form"]
        without = running.ask("POST", "/predict/made", b"", ARROW)
    expected = made.predict_rows(made.signature.check([{"message": text} for text in texts]))
    assert (status, form) == (200, "compiled")
    assert without[0] == 415
    assert "use the image serving-full" in json.loads(without[2])["detail"]
    assert json.loads(answer)["predictions"] == expected.predictions
    assert json.loads(answer)["probabilities"] == expected.probabilities
    assert [json.loads(body)["probabilities"] for _, _, body in ones] == [[it] for it in expected.probabilities[-20:]]
