"""`train`: split → model, one candidate at a time."""

from __future__ import annotations

import logging
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from updraft.addresses import Connections, from_environment
from updraft.learning.estimators import build, forget_addresses
from updraft.learning.example_row import example_row
from updraft.learning.fits import Engine, Threads, alone, threads_for_fits
from updraft.learning.metrics import gain
from updraft.learning.score import format_metrics
from updraft.learning.search import Combination, choose, combinations
from updraft.model.columns import Column
from updraft.model.feature_store import FeatureStore
from updraft.model.model import Model
from updraft.model.signature import Signature, ValueName
from updraft.stages.narrow_frame import read_narrow
from updraft.stages.stage_folder import TRAIN, read_json, recreate_folder, write_json
from updraft.stages.training_memory import fits_at_once
from updraft.usecase import UseCase
from updraft.usecase.blocks import Policy, Scalar

log = logging.getLogger(__name__)

TRAINING = "training.json"
LIBRARIES = ("scikit-learn", "pandas", "numpy", "joblib")


def train(case: UseCase, candidate: str, split: Path, out: Path, connections: Connections | None = None) -> Path:
    """Fit one candidate on the training rows; write the model and `training.json` to the folder `out` and return it.

    The parameters (with a `search`), the metrics by which candidates are compared, and the decision threshold come from
    cross-validation on the training rows, or from their holdout; the last fit is on all of them. Fits run side by side
    in threads, and a forest's trees in those that would be idle, which changes none: equal rows, seed and
    libraries give equal bytes. By `engine: dask` both run on the workers of a cluster, which `connections` finds (the
    environment without). What that takes of memory is logged before it begins, and fewer run at once where all would
    be too much.

    Raises BadParameter when the estimator does not accept its parameters, BadData when a fold cannot be fitted,
    TooLittleMemory or MemoryTaken when even one fit at a time would be too much; ClusterError or OtherVersions of a
    cluster.
    """
    recreate_folder(out)
    started = time.monotonic()
    tried = combinations(case, candidate)
    with _engine(case, candidate, tried, split, connections or from_environment(os.environ)) as engine:
        frame = read_narrow(case, split / TRAIN)
        chosen = choose(case, candidate, tried, frame, engine)
        pipeline = build(case, case.candidates[candidate].estimator, chosen.params)
        engine.fit(pipeline, frame[case.feature_names], frame[case.target])
    log.info("%s: fitted on %s rows, %.1f s in all, %s", candidate, f"{len(frame):,}",
             time.monotonic() - started, engine)  # fmt: skip
    forget_addresses(pipeline)
    Model(_signature(case, candidate, frame, chosen.threshold, split), pipeline).save(out)
    summary: dict[str, Any] = {
        "candidate": candidate,
        "params": chosen.params,
        "validation": chosen.metrics,
        "threshold": chosen.threshold,
        "engine": engine.name,
        "threads": engine.threads,
        "threads_of_a_fit": 1,
        "choose_by": case.choose_by,
        "rows": len(frame),
        "folds": chosen.folds,
        "validated_rows": chosen.validated,
        "seed": case.seed,
    }
    summary |= {"configuration_sha256": case.configuration_sha256}
    write_json(out / TRAINING, summary | {"seconds": round(time.monotonic() - started, 2)})
    suffix = "" if chosen.threshold is None else f"; threshold {chosen.threshold:.4f}"
    log.info(
        "%s: %s %s%s",
        candidate,
        "cross-validated" if chosen.folds else "validated",
        format_metrics(chosen.metrics),
        suffix,
    )
    return out


@contextmanager
def _engine(
    case: UseCase, candidate: str, tried: Sequence[Combination], split: Path, connections: Connections
) -> Iterator[Engine]:
    """Yield where fits run, as many at once as fit into the memory there."""
    if case.engine.name == "threads":
        threads = min(threads_for_fits(each.pipeline["model"]) for each in tried)
        yield Threads(fits_at_once(case, candidate, tried, split, threads))
        return
    # Not imported where it is not used: that takes a second.
    from updraft.learning.dask_cluster import connect
    from updraft.learning.dask_engine import DaskWorkers
    from updraft.stages.worker_memory import check_newcomers, fits_at_once_on_workers

    with connect(case.engine, connections) as client:
        fits_at_once(case, candidate, tried, split, 1)  # the last fit, and the rows, are here
        limit = 1 if any(alone(each.pipeline["model"]) for each in tried) else sys.maxsize
        at_once = fits_at_once_on_workers(case, candidate, tried, split, limit, client)
        yield DaskWorkers(client, at_once, tried[0].pipeline["model"])
        check_newcomers(client)


def _signature(case: UseCase, candidate: str, frame: pd.DataFrame, threshold: float | None, split: Path) -> Signature:
    rule = read_json(split / "split.json")
    return Signature(
        use_case=case.name,
        title=case.title,
        task=case.task,
        candidate=candidate,
        columns=tuple(case.feature_columns),
        text=case.text,
        id=case.id,
        id_type=next((column.type for column in case.columns if column.name == case.id), "str"),
        target=case.target,
        labels=case.labels,
        positive=case.positive,
        threshold=threshold,
        split={"seed": rule["seed"], **rule["split"]},
        versions={"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        example=example_row(case, frame),
        warn_unseen=_warning_only(case, "unseen", case.serving.unseen),
        warn_out_of_range=_warning_only(case, "out_of_range", case.serving.out_of_range),
        private=case.serving.private,
        reading=case.read,
        left_out=tuple(_left_out(case, rule["other_columns"])),
        titles=case.titles,
        value_names={name: tuple(_value_names(case.column(name), names)) for name, names in case.values.items()},
        store=_feature_store(case),
    )


def _feature_store(case: UseCase) -> FeatureStore | None:
    """Return where the service looks up columns that a request leaves out."""
    block = case.features
    if block is None or block.store is None:
        return None
    return FeatureStore(
        url=block.store,
        entity=case.column(block.entity),
        view=block.view or case.name,
        columns=case.stored_columns,
        timeout_seconds=block.timeout_seconds,
    )


def _left_out(case: UseCase, other_columns: list[str]) -> Iterator[str]:
    """Yield the columns that the training data had and the model does not use."""
    used = {*case.feature_names, case.target, case.id}
    yield from (column.name for column in case.columns if column.name not in used)
    yield from other_columns


def _value_names(column: Column, names: Mapping[Scalar, str]) -> Iterator[ValueName]:
    """Yield the names of a column's values, each value in the column's type, as requests have it."""
    for value, name in names.items():
        yield ValueName.model_validate({"value": column.convert(value), "name": name})


def _warning_only(case: UseCase, bound: str, policies: dict[str, Policy]) -> tuple[str, ...]:
    """Name the columns of which a value beyond a bound is predicted: by the YAML, else as the suite tolerates some."""
    tolerated = {column.name: "warn" for column in case.feature_columns if bound in column.tolerated}
    return tuple(name for name, policy in {**tolerated, **policies}.items() if policy == "warn")


def choose_candidate(case: UseCase, validation: dict[str, dict[Any, float]]) -> str:
    """Return the candidate with the best validated score; on a tie the first in the YAML."""
    names = [name for name in case.candidates if name in validation]
    return max(names, key=lambda name: gain(case.choose_by, validation[name][case.choose_by], 0.0))
