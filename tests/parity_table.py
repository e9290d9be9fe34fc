"""Compare compiled models with their pipelines: `python -m tests.parity_table` writes docs/bench/parity.md.

Every estimator on every kind of column of a synthetic frame, and every candidate of the shipped use cases on the public
data sets, where they are there: scores and decisions of held-out and of drawn rows, as `evaluate` certifies them.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from threadpoolctl import threadpool_limits

from tests.support.compiled_models import KINDS, compiled, fitted, kinds_of, tasks_of
from tests.support.mixed_frames import FRAME
from tests.support.small_cases import SHARED_DATA
from updraft.defaults import ROOT
from updraft.learning.compile.errors import NotCompiled
from updraft.learning.compile.parity import ROWS, certify
from updraft.learning.compile.pipeline import compile_model
from updraft.learning.estimators import ESTIMATORS
from updraft.model.compiled.compiled_model import CompiledModel
from updraft.model.model import Model
from updraft.sources.files import File
from updraft.stages.ingest import ingest
from updraft.stages.stage_folder import TEST, TRAIN, read_frame
from updraft.stages.transform import transform
from updraft.stages.validate import validate
from updraft.usecase import UseCase, load

FILES = {
    "california_housing": "california_housing/california_sklearn_format.csv",
    "network_security": "network_security/phisingData.csv",
    "sms_spam": "sms_spam/spam.csv",
    "vehicle_insurance": "vehicle_insurance/data.csv",
    "vehicle_price": "vehicle_price/uk_used_cars_all.csv.gz",
}
log = logging.getLogger(__name__)
PAGE = ROOT / "docs" / "bench" / "parity.md"
TEXT = """# Compiled models beside their pipelines

Written by `python -m tests.parity_table`: {models} models, {compiled} of them compiled, and {rows:,} rows, whose scores
and decisions were all compared. Held-out rows are topped up with drawn ones: nulls, unseen values, thresholds and what
lies beside them, extremes, strange texts. Batches are compared with batches, single rows with single rows. Kinds of
columns: {kinds}.

Differences are those of two scores, divided by the score where that is larger than 1.
"""


@dataclass(frozen=True)
class Line:
    """What came of one model."""

    name: str
    rows: int
    one_by_one: int
    outcome: str
    size: int = 0

    def __str__(self) -> str:
        size = f"{self.size / 1e3:,.0f} kB" if self.size else ""
        return f"| {self.name} | {self.rows:,} | {self.one_by_one:,} | {self.outcome} | {size} |"


def compare(name: str, model: Model, files: Callable[[], dict[str, bytes]], frame: pd.DataFrame, rows: int) -> Line:
    """Certify a model; what is refused says why."""
    try:
        content = files()
        served = CompiledModel(model.signature, content)
        parity = certify(model, served, content, frame, seed=1, rows=rows)
    except NotCompiled as error:
        return Line(name, 0, 0, f"pipeline: {error}")
    exact = "equal to the bit" if not parity.largest_difference else f"within {parity.largest_difference:.0e}"
    return Line(name, parity.rows, parity.one_by_one, exact, sum(map(len, content.values())))


def synthetic(rows: int) -> list[Line]:
    """Compare every estimator on every kind of column."""
    lines = []
    for name in ESTIMATORS:
        for task in tasks_of(name):
            for kind in kinds_of(name):
                model, files = compiled(name, task, kind)
                lines.append(compare(f"{name}, {task}, {kind}", model, files.copy, FRAME, rows))
                log.info("%s", lines[-1])
    return lines


def public(rows: int) -> list[Line]:
    """Compare every candidate of each shipped use case on its public data."""
    lines = []
    for name, file in FILES.items():
        if not (SHARED_DATA / file).exists():
            continue
        case = load(name, ROOT)
        train, test = _sides(case, SHARED_DATA / file)
        for label, candidate in case.candidates.items():
            model = fitted(case, candidate.estimator, train, **candidate.params)
            title = f"{name}, {label} ({candidate.estimator})"
            lines.append(compare(title, model, partial(compile_model, model), test, rows))
            log.info("%s", lines[-1])
    return lines


def _sides(case: UseCase, file: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        dataset = ingest(case, File(file, case), folder / "ingest")
        split = transform(case, validate(case, dataset, folder / "validate"), folder / "transform")
        train, test = (read_frame(case, split / side) for side in (TRAIN, TEST))
        return train, test


def page(parts: dict[str, list[Line]]) -> str:
    """Write the page."""
    head = "| model | rows | of them one by one | compiled scores are | files |\n|---|---|---|---|---|\n"
    total = sum(line.rows for lines in parts.values() for line in lines)
    pipelines = sum("pipeline" in line.outcome for lines in parts.values() for line in lines)
    models = sum(map(len, parts.values()))
    kinds = "; ".join(f"*{kind}*: {', '.join(names)}" for kind, names in KINDS.items())
    text = TEXT.format(models=models, rows=total, compiled=models - pipelines, kinds=kinds)
    for title, lines in parts.items():
        text += f"\n## {title}\n\n{head}" + "".join(f"{line}\n" for line in lines)
    return text


def main() -> None:
    """Compare and write the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=ROWS, help="of each model on public data")
    options.add_argument("--synthetic-rows", type=int, default=3_000, help="of each model on the synthetic frame")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen = options.parse_args()
    with threadpool_limits(limits=1):
        parts = {"Public data": public(chosen.rows), "Synthetic frame": synthetic(chosen.synthetic_rows)}
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page({title: lines for title, lines in parts.items() if lines}), encoding="utf-8")


if __name__ == "__main__":
    main()
