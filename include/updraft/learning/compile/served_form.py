"""In which form a model will be served, decided once: compiled where that is certified, else by its pipeline."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from updraft.learning.compile.errors import NotCompiled
from updraft.learning.compile.parity import certify
from updraft.learning.compile.pipeline import compile_model
from updraft.model.compiled.booster import NoLightGBM
from updraft.model.compiled.compiled_model import BadCompiled, CompiledModel
from updraft.model.compiled.layout import PARITY, TREES, Parity
from updraft.model.model import Model

log = logging.getLogger(__name__)


def write(model: Model, frame: pd.DataFrame, train: pd.DataFrame, seed: int, out: Path) -> dict[str, Any]:
    """Compile a model and write its files and their certificate to `out`; `frame` holds the held-out rows, `train`
    those of the training, from which explanations take their baseline.

    Returns the form, the reason for it, and the libraries that it needs. Whatever goes wrong, the pipeline serves.
    """
    try:
        files = compile_model(model, train)
        parity = certify(model, CompiledModel(model.signature, files), files, frame, seed)
    except (NotCompiled, BadCompiled, NoLightGBM) as error:
        reason = str(error)
    except Exception as error:  # a fault of the compiler must not cost the training
        log.exception("the model is not compiled")
        reason = f"compiling it failed ({type(error).__name__})"
    else:
        for name, content in files.items():
            (out / name).write_bytes(content)
        (out / PARITY).write_text(parity.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return _told("compiled", _equal(parity), ["lightgbm"] if TREES in files else [])
    return _told("pipeline", reason, ["scikit-learn", "pandas"])


def _equal(parity: Parity) -> str:
    to = "to the bit" if parity.exact else f"within {parity.largest_difference:.1g}"
    return f"equal to the pipeline {to} on {parity.rows:,} rows, {parity.held_out:,} of them held out"


def _told(form: str, reason: str, needs: list[str]) -> dict[str, Any]:
    log.info("served %s: %s", "compiled" if form == "compiled" else "by scikit-learn", reason)
    return {"form": form, "reason": reason, "needs": needs}
