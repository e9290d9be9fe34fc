"""Which form of a version the service uses, and why."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from serving.models.live_model import UnusableVersion, load
from tests.support.compiled_models import compiled
from tests.support.mixed_frames import FRAME
from updraft.learning.compile import served_form
from updraft.learning.compile.parity import rows_of
from updraft.model import golden
from updraft.model.compiled.layout import COMPILED, PARITY, TREES
from updraft.registry.registry import Version
from updraft.usecase.blocks import EstimatorName

MODEL: tuple[EstimatorName, str] = ("HistGradientBoostingClassifier", "binary")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Version, dict[str, bytes]]:
    """Store a compiled version as `evaluate` and `push` do."""
    folder: Path = tmp_path_factory.mktemp("version")
    model, _ = compiled(*MODEL)
    model.save(folder)
    golden.write(model, [model.signature.example], folder)
    serving = served_form.write(model, FRAME, FRAME, 1, folder)
    assert serving["form"] == "compiled" and serving["needs"] == ["lightgbm"]
    assert serving["reason"] == "equal to the pipeline to the bit on 20,000 rows, 240 of them held out"
    version = Version("made", 1, {"serving": serving})
    return version, {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_certified_version_is_served_compiled_and_answers_as_its_pipeline(stored: Any) -> None:
    version, contents = stored
    live = load(version, contents)
    assert (live.model.form, live.form_reason) == ("compiled", version.manifest["serving"]["reason"])
    older = load(version, {name: contents[name] for name in contents if name not in (COMPILED, TREES, PARITY)})
    assert older.model.form == "pipeline"
    rows = rows_of(live.model.signature, FRAME)
    assert live.model.predict_rows(rows) == older.model.predict_rows(rows)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda it: it.pop(PARITY), "no certificate of parity"),
        (lambda it: it.update({PARITY: b"{}"}), "no certificate of parity"),
        (lambda it: it.update({COMPILED: it[COMPILED] + b" "}), "certifies other files"),
        (lambda it: it.pop(TREES), "certifies other files"),
        (
            lambda it: it.update({golden.GOLDEN: _other_scores(it[golden.GOLDEN])}),
            "expected",
        ),
    ],
)
def test_what_is_not_certified_is_not_used(stored: Any, spoil: Any, reason: str) -> None:
    version, contents = stored
    contents = dict(contents)
    spoil(contents)
    if reason == "expected":  # neither form reproduces it
        with pytest.raises(UnusableVersion, match="golden row 0: expected"):
            load(version, contents)
        return
    live = load(version, contents)
    assert live.model.form == "pipeline" and reason in live.form_reason


def test_a_certified_form_that_cannot_predict_is_not_used(stored: Any) -> None:
    version, contents = stored
    about = json.loads(contents[COMPILED])
    texts = [place for place, column in enumerate(compiled(*MODEL)[0].signature.columns) if column.type == "str"]
    next(it for it in about["inputs"] if it["kind"] == "number")["column"] = texts[0]
    spoilt = json.dumps(about).encode()
    certificate = json.loads(contents[PARITY])
    certificate["files"][COMPILED] = hashlib.sha256(spoilt).hexdigest()
    live = load(version, contents | {COMPILED: spoilt, PARITY: json.dumps(certificate).encode()})
    assert (live.model.form, live.form_reason) == ("pipeline", "the compiled form is not used: ValueError")


def _other_scores(content: bytes) -> bytes:
    recorded = json.loads(content)
    return json.dumps(recorded | {"scores": [score / 2 for score in recorded["scores"]]}).encode()
