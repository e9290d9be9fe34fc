"""A model in service, loaded from the verified contents of a version's files."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from threadpoolctl import threadpool_limits

from serving.body.fast_json import Decoder
from updraft.model import golden
from updraft.model.compiled.booster import NoLightGBM
from updraft.model.compiled.compiled_model import BadCompiled, CompiledModel
from updraft.model.compiled.layout import BASELINE, COMPILED, PARITY, Parity
from updraft.model.compiled.layout import FILES as COMPILED_FILES
from updraft.model.prediction import ServedModel
from updraft.model.signature import Signature
from updraft.model.version_files import MODEL, SIGNATURE
from updraft.registry.registry import VerificationError, Version

FILES = (MODEL, SIGNATURE, golden.GOLDEN, *COMPILED_FILES, PARITY, BASELINE)  # what is loaded of a version
TIMINGS = 5  # of one row, of which the fastest counts: others wait for the processor
LIBRARIES = {"joblib": "joblib", "pandas": "pandas", "scipy": "scipy", "sklearn": "scikit-learn"}

log = logging.getLogger(__name__)


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
    form_reason: str = ""  # why it is served in the form that it is


def load(version: Version, contents: Mapping[str, bytes]) -> LiveModel:
    """Load the VERIFIED contents of a version's files and check that the model reproduces its example and golden rows.

    The compiled form is used where the version has it with its certificate, else the pipeline, which is not read
    otherwise. Raises UnusableVersion, and VerificationError where `contents` reads a file that was exchanged.
    """
    if missing := {MODEL, SIGNATURE} - contents.keys():
        raise UnusableVersion(f"{version}: does not load (no {min(missing)})")
    try:
        model, reason = _load_form(version, contents)
        if model.signature.use_case != version.name:
            raise UnusableVersion(f"{version}: the model is for {model.signature.use_case!r}")
        decoder = Decoder(model.signature)
        # For the whole process: requests already run in parallel, and one row is faster without BLAS threads.
        threadpool_limits(limits=1)
        row_seconds = _row_seconds(model)
    except (UnusableVersion, VerificationError):
        raise
    except golden.NotReproduced as error:
        raise UnusableVersion(f"{version}: {error}") from None
    except ValidationError as error:
        raise UnusableVersion(f"{version}: does not load: {_what_is_wrong(error)}") from None
    except Exception as error:
        raise UnusableVersion(f"{version}: does not load ({type(error).__name__})") from error
    return LiveModel(
        version.name, version.number, model, decoder, version.manifest, datetime.now(UTC), row_seconds, reason
    )


def _what_is_wrong(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    file = SIGNATURE if error.title == Signature.__name__ else error.title
    return f"{file} has no valid {key!r} ({first['msg'].lower()}): it is of a later Updraft, or broken"


def _row_seconds(model: ServedModel) -> float:
    rows = model.signature.check([model.signature.example], plain=True)
    best = float("inf")
    for _ in range(TIMINGS):
        start = time.perf_counter()
        model.predict_rows(rows)
        best = min(best, time.perf_counter() - start)
    return best


def _load_form(version: Version, contents: Mapping[str, bytes]) -> tuple[ServedModel, str]:
    """Load the compiled form or else the pipeline, and why it is that one."""
    served = version.manifest.get("serving")
    reason = served["reason"] if isinstance(served, dict) and isinstance(served.get("reason"), str) else ""
    if COMPILED in contents:
        try:
            compiled = _load_compiled(contents)
            _replay(compiled, contents)
        except VerificationError:
            raise
        except Exception as error:  # whatever is wrong with it, the pipeline serves
            told = isinstance(error, (BadCompiled, NoLightGBM, golden.NotReproduced))
            reason = f"the compiled form is not used: {error if told else type(error).__name__}"
            log.warning("%s: %s", version, reason)
        else:
            return compiled, reason
    try:
        model = _load_pipeline(version, contents)
    except UnusableVersion as error:
        raise UnusableVersion(f"{error}; {reason}" if COMPILED in contents else str(error)) from None
    _replay(model, contents)
    return model, reason or "the version has no compiled form"


def _load_compiled(contents: Mapping[str, bytes]) -> ServedModel:
    """Load the compiled form. Raises BadCompiled without a certificate for these very files."""
    try:
        certified = Parity.model_validate_json(contents.get(PARITY, b"")).files
    except ValidationError:
        raise BadCompiled(f"no certificate of parity in {PARITY}") from None
    files = {name: contents[name] for name in COMPILED_FILES if name in contents}
    if certified != {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}:
        raise BadCompiled(f"{PARITY} certifies other files")
    if BASELINE in contents:
        files[BASELINE] = contents[BASELINE]
    return CompiledModel(Signature.model_validate_json(contents[SIGNATURE]), files)


def _replay(model: ServedModel, contents: Mapping[str, bytes]) -> None:
    model.predict_rows(model.signature.check([model.signature.example], plain=True))
    if golden.GOLDEN in contents:
        golden.replay(model, contents[golden.GOLDEN])


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
