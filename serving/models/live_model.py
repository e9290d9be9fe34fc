"""A model in service, loaded from the verified contents of a version's files."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from threadpoolctl import threadpool_limits

from serving.body.fast_json import Decoder
from updraft.model import golden
from updraft.model.prediction import ServedModel
from updraft.model.version_files import MODEL, SIGNATURE
from updraft.registry.registry import Version

FILES = (MODEL, SIGNATURE, golden.GOLDEN)  # what is loaded of a version
TIMINGS = 5  # of one row, of which the fastest counts: others wait for the processor
LIBRARIES = {"joblib": "joblib", "pandas": "pandas", "scipy": "scipy", "sklearn": "scikit-learn"}


class UnusableVersion(Exception):
    """A version that is signed and complete but does not load, or does not reproduce its own example."""


@dataclass(frozen=True)
class LiveModel:
    """A model in service. A request reads it once, so that its whole response comes from the version it names.

    `row_seconds` is how long it took to predict a single row.
    """

    use_case: str
    version: int
    model: ServedModel
    decoder: Decoder
    manifest: Mapping[str, Any]
    loaded_at: datetime
    row_seconds: float


def load(version: Version, contents: Mapping[str, bytes]) -> LiveModel:
    """Load the VERIFIED contents of a version's files and check that the model reproduces its example and golden rows.

    Raises UnusableVersion if it does not.
    """
    if missing := {MODEL, SIGNATURE} - contents.keys():
        raise UnusableVersion(f"{version}: does not load (no {min(missing)})")
    try:
        model = _load_pipeline(version, contents)
        if model.signature.use_case != version.name:
            raise UnusableVersion(f"{version}: the model is for {model.signature.use_case!r}")
        decoder = Decoder(model.signature)
        model.predict_rows(model.signature.check([model.signature.example], plain=True))
        if golden.GOLDEN in contents:
            golden.replay(model, contents[golden.GOLDEN])
        # For the whole process: requests already run in parallel, and one row is faster without BLAS threads.
        threadpool_limits(limits=1)
        row_seconds = _row_seconds(model)
    except UnusableVersion:
        raise
    except golden.NotReproduced as error:
        raise UnusableVersion(f"{version}: {error}") from None
    except Exception as error:
        raise UnusableVersion(f"{version}: does not load ({type(error).__name__})") from error
    return LiveModel(version.name, version.number, model, decoder, version.manifest, datetime.now(UTC), row_seconds)


def _row_seconds(model: ServedModel) -> float:
    rows = model.signature.check([model.signature.example], plain=True)
    best = float("inf")
    for _ in range(TIMINGS):
        start = time.perf_counter()
        model.predict_rows(rows)
        best = min(best, time.perf_counter() - start)
    return best


def _load_pipeline(version: Version, contents: Mapping[str, bytes]) -> ServedModel:
    """Load the pipeline, which needs libraries that a compiled model does not need."""
    try:
        from updraft.model.model import Model, OutdatedModel

        try:
            return Model.from_bytes(contents[SIGNATURE], contents[MODEL])
        except OutdatedModel as error:
            raise UnusableVersion(f"{version}: {error}") from None
    except ModuleNotFoundError as error:
        top = (error.name or "").partition(".")[0]
        if top not in LIBRARIES:
            raise
        raise UnusableVersion(f"{version}: needs {LIBRARIES[top]}: use the image serving-full") from None
