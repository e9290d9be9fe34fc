"""`engine: dask` in a cluster of processes: the same models, and clear errors where a cluster cannot be used."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from distributed import Client, KilledWorker
from joblib import Parallel, delayed, parallel_config

from tests.support.dask_cluster import SECONDS, Cluster, cluster
from tests.support.small_cases import integer, real, small_case, text
from updraft.defaults import ROOT
from updraft.errors import UserError
from updraft.learning import dask_cluster
from updraft.learning.dask_cluster import ClusterError, OtherVersions
from updraft.learning.dask_engine import Backend, DaskWorkers
from updraft.learning.splits import FOLD
from updraft.model.model import Model
from updraft.stages.stage_folder import TRAIN, read_json, write_json
from updraft.stages.train import train
from updraft.stages.training_memory import TooLittleMemory
from updraft.usecase import UseCase

COLUMNS = [*(real(f"x{number}") for number in range(6)), text("colour"), integer("y")]
ROWS = 600
CANDIDATES: dict[str, dict[str, Any]] = {
    "forest": {
        "estimator": "RandomForestClassifier",
        "params": {"n_estimators": 12},
        "search": {"grid": {"max_depth": [3, 6]}},
    },
    "boosted": {
        "estimator": "HistGradientBoostingClassifier",
        "params": {"max_iter": 10},
        "search": {"grid": {"max_leaf_nodes": [5, 15]}},
    },
    "logistic": {"estimator": "LogisticRegression"},
    "svc": {"estimator": "LinearSVC", "search": {"grid": {"C": [0.1, 1.0]}}},  # one at a time in a process
}


@pytest.fixture(scope="module")
def two_workers(starts_servers: None, takes_long: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Yield a cluster with two workers of different numbers of threads, which would use more of OpenMP's and BLAS's."""
    with cluster(tmp_path_factory.mktemp("dask")) as running:
        for threads in ("1", "2"):
            running.start_worker("--nthreads", threads, OMP_NUM_THREADS="3", OPENBLAS_NUM_THREADS="3")
        running.wait_for(2)
        yield running


@pytest.fixture
def lone(starts_servers: None, takes_long: None, tmp_path: Path) -> Iterator[Cluster]:
    """Yield a cluster without workers."""
    with cluster(tmp_path, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0", PYTHONPATH=str(ROOT)) as running:
        yield running


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write training rows as `transform` does."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("split")
    frame = pd.DataFrame({f"x{number}": random.random(ROWS) for number in range(6)})
    frame["colour"] = random.choice(["red", "green", "blue"], ROWS)
    frame["y"] = (frame["x0"] + random.random(ROWS) > 1).astype("int64")
    frame[FOLD] = (np.arange(ROWS) % 3).astype("int8")
    frame.to_parquet(folder / TRAIN, index=False)
    rule = {"seed": 42, "split": {"by": "hash"}, "rows": ROWS, "null_targets": 0, "duplicates": 0}
    write_json(folder / "split.json", rule | {"holdout": None, "other_columns": []})
    return folder


def made(engine: str = "dask", **yaml: Any) -> UseCase:
    return small_case(COLUMNS, candidates=CANDIDATES, engine=engine, **yaml)


def assert_same(here: Path, there: Path, split: Path) -> None:
    """Compare two trained candidates: bytes, validation and scores."""
    for file in ("model.joblib", "signature.json"):
        assert (there / file).read_bytes() == (here / file).read_bytes(), file
    summaries = [read_json(folder / "training.json") for folder in (here, there)]
    for summary in summaries:
        for key in ("seconds", "engine", "threads"):
            del summary[key]
    assert summaries[0] == summaries[1]
    frame = pd.read_parquet(split / TRAIN)
    differences = Model.load(here).scores(frame) - Model.load(there).scores(frame)
    assert np.abs(differences).max() <= 1e-15


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_models_and_scores_are_those_of_one_machine(
    candidate: str,
    two_workers: Cluster,
    split: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "updraft")
    monkeypatch.setenv("DASK_URL", two_workers.address)
    here = train(made("threads"), candidate, split, tmp_path / "here")
    there = train(made(), candidate, split, tmp_path / "there")
    assert_same(here, there, split)
    summary = read_json(there / "training.json")
    assert (summary["engine"], summary["threads"]) == ("dask", 2 if candidate == "svc" else 3)
    fits = 3 * (1 if candidate == "logistic" else 2)
    assert f"{fits} of {fits} fits made on 2 workers of Dask" in caplog.text
    assert f"{candidate}: 2 workers of Dask: training takes about" in caplog.text


def test_a_single_fit_on_a_holdout_grows_its_trees_on_the_workers(
    two_workers: Cluster, split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pd.read_parquet(split / TRAIN)
    folder = tmp_path / "split"
    folder.mkdir()
    frame[FOLD] = np.where(np.arange(ROWS) % 4, -1, 0).astype("int8")
    frame.to_parquet(folder / TRAIN, index=False)
    write_json(folder / "split.json", read_json(split / "split.json") | {"holdout": 0.25})
    monkeypatch.setenv("DASK_URL", two_workers.address)
    forest = {"estimator": "RandomForestClassifier", "params": {"n_estimators": 12}}
    cases = [
        small_case(COLUMNS, candidates={"one": forest}, engine=engine, validation={"holdout": 0.25})
        for engine in ("threads", "dask")
    ]
    before = tasks_done(two_workers)
    here, there = (train(case, "one", folder, tmp_path / case.engine.name) for case in cases)
    assert_same(here, there, folder)
    assert tasks_done(two_workers) > before


def tasks_done(running: Cluster) -> int:
    """Count the tasks that the workers have done."""
    with Client(running.address, set_as_default=False, timeout=SECONDS) as client:
        return sum(client.run(lambda dask_worker: dask_worker.state.executed_count).values())


class AtFirstFit(logging.Handler):
    """Do something when the log says that the first fits are made."""

    def __init__(self, do: Any) -> None:
        super().__init__()
        self.do: Any = do

    def emit(self, record: logging.LogRecord) -> None:
        if "fits made" in record.getMessage() and self.do:
            do, self.do = self.do, None
            do()


@contextmanager
def at_first_fit(do: Any) -> Iterator[None]:
    """Do something when the log says that the first fits are made; it has to come to that."""
    handler, logger = AtFirstFit(do), logging.getLogger("updraft.learning.dask_engine")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert handler.do is None


@pytest.mark.parametrize("lost", [1, 2])
def test_workers_that_die_during_the_fits(
    lost: int,
    lone: Cluster,
    split: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "updraft")
    monkeypatch.setenv("DASK_URL", lone.address)
    for _ in range(2):
        lone.start_worker("--nthreads", "1")
    lone.wait_for(2)

    def kill() -> None:
        for process in lone.workers[:lost]:
            process.kill()
            process.wait()

    with at_first_fit(kill):
        if lost == 1:
            there = train(made(), "boosted", split, tmp_path / "there")
            assert_same(train(made("threads"), "boosted", split, tmp_path / "here"), there, split)
        else:
            with pytest.raises(ClusterError, match=r"Dask lost workers: .*none is left"):
                train(made(), "boosted", split, tmp_path / "there")
            assert not list((tmp_path / "there").iterdir())


def end_process(number: int) -> int:
    if number == 1:
        os._exit(1)
    return number


def test_a_fit_that_kills_its_workers_ends(lone: Cluster) -> None:
    for _ in range(4):
        lone.start_worker("--nthreads", "1", PYTHONPATH=str(ROOT))
    lone.wait_for(4)
    with Client(lone.address, set_as_default=False, timeout=SECONDS) as client:
        engine = DaskWorkers(client, 1, None)
        with pytest.raises(ClusterError, match=f"{KilledWorker.__name__}.*given up after 3 tries"):
            list(engine.run([partial(end_process, number) for number in range(3)]))


def test_a_tree_that_kills_its_workers_ends(lone: Cluster) -> None:
    """joblib's backend alone waits for ever (1.5): when this ends without `Backend.submit`, that is of no more use."""
    for _ in range(2):
        lone.start_worker("--nthreads", "1", PYTHONPATH=str(ROOT))
    lone.wait_for(2)
    with Client(lone.address, set_as_default=False, timeout=SECONDS) as client:
        with parallel_config(backend=Backend(client=client)), pytest.raises(KilledWorker):
            Parallel()(delayed(end_process)(number) for number in range(3))


def test_a_scheduler_that_does_not_answer(split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "SECONDS", 1)
    monkeypatch.setenv("DASK_URL", "tcp://127.0.0.1:1")
    with pytest.raises(ClusterError, match=r"^DASK_URL: Dask's scheduler at tcp://127\.0\.0\.1:1 does not answer: "):
        train(made(), "forest", split, tmp_path / "out")


def test_a_scheduler_without_workers(
    lone: Cluster, split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "SECONDS", 5)
    monkeypatch.setenv("DASK_URL", lone.address)
    with pytest.raises(ClusterError, match=f"DASK_URL: .*{lone.address} has no workers after 5 s"):
        train(made(), "forest", split, tmp_path / "out")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", "DASK_URL is not set"),
        ("http://host:8786", "'http://host:8786' is no such address"),
        ("tcp://host", "'tcp://host' is no such address"),
        ("tcp://host:port", "'tcp://host:port' is no such address"),
        ("tcp://me:hidden@host:8786", "what it holds is no such address"),
    ],
)
def test_an_address_that_is_none(
    url: str, shown: str, split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_URL", url)
    with pytest.raises(UserError) as refusal:
        train(made(), "forest", split, tmp_path / "out")
    assert shown in str(refusal.value) and "expected tcp://host:8786 or tls://" in str(refusal.value)
    assert "hidden" not in str(refusal.value)


def changed_code(folder: Path) -> Path:
    """Copy Updraft with a change in what decides about models."""
    code = folder / "code"
    shutil.copytree(ROOT / "include" / "updraft", code / "updraft", ignore=shutil.ignore_patterns("__pycache__"))
    with (code / "updraft" / "learning" / "splits.py").open("a") as file:
        file.write("# changed\n")
    return code


@pytest.mark.parametrize("same", [True, False])
def test_a_worker_that_joins_during_the_fits(
    same: bool,
    lone: Cluster,
    split: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "updraft")
    monkeypatch.setenv("DASK_URL", lone.address)
    lone.start_worker("--nthreads", "1")
    lone.wait_for(1)

    def join() -> None:
        lone.start_worker("--nthreads", "1", **({} if same else {"PYTHONPATH": str(changed_code(tmp_path))}))
        lone.wait_for(2)

    with at_first_fit(join):
        if same:
            there = train(made(), "forest", split, tmp_path / "there")
            assert_same(train(made("threads"), "forest", split, tmp_path / "here"), there, split)
        else:
            with pytest.raises(OtherVersions, match="the code of Updraft is "):
                train(made(), "forest", split, tmp_path / "there")
            assert not list((tmp_path / "there").iterdir())


TRAIN_THERE = """
import logging, sys
from pathlib import Path
from tests.stages.test_train_on_dask import made, train
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
train(made(), "boosted", Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_training_that_is_killed_leaves_nothing_on_the_cluster(
    two_workers: Cluster, split: Path, tmp_path: Path
) -> None:
    environ = os.environ | {"DASK_URL": two_workers.address, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", TRAIN_THERE, str(split), str(tmp_path / "out")]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert any("fits made on 2 workers of Dask" in line for line in process.stdout)
        process.kill()
    gc.collect()
    with Client(two_workers.address, set_as_default=False, timeout=SECONDS) as client:
        end, left = time.monotonic() + 60, True
        while left:
            assert time.monotonic() < end, client.who_has()
            time.sleep(0.1)
            kept = client.run(lambda dask_worker: len(dask_worker.data)).values()
            left = any(kept) or client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) > 0


def test_two_trainings_at_a_time_and_one_after_the_scheduler_is_started_anew(
    lone: Cluster, split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_URL", lone.address)
    lone.start_worker("--nthreads", "2")
    lone.wait_for(1)
    here = train(made("threads"), "boosted", split, tmp_path / "here")
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda name: train(made(), "boosted", split, tmp_path / name), ["one", "two"]))
    for there in both:
        assert_same(here, there, split)
    assert lone.scheduler
    lone.scheduler.kill()
    lone.scheduler.wait()
    lone.start_scheduler()
    if lone.workers[0].wait(60) is not None:  # it ends without its scheduler; its container starts it anew
        lone.start_worker("--nthreads", "2")
    assert_same(here, train(made(), "boosted", split, tmp_path / "later"), split)


def test_workers_with_other_libraries_or_another_updraft_are_refused(
    lone: Cluster, split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_URL", lone.address)
    libraries = tmp_path / "libraries"
    (libraries / "scikit_learn-1.0.2.dist-info").mkdir(parents=True)
    (libraries / "scikit_learn-1.0.2.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: scikit-learn\nVersion: 1.0.2\n"
    )
    lone.start_worker("--nthreads", "1", PYTHONPATH=str(libraries))
    lone.wait_for(1)
    with pytest.raises(OtherVersions, match=r"worker tcp://127\.0\.0\.1:\d+: scikit-learn 1\.0\.2, and here 1\.\d"):
        train(made(), "forest", split, tmp_path / "out")
    lone.workers[0].kill()
    lone.workers[0].wait()

    lone.start_worker("--nthreads", "1", PYTHONPATH=str(changed_code(tmp_path)))
    lone.wait_for(1)
    with pytest.raises(OtherVersions, match=r"the code of Updraft is [0-9a-f]{12}, and here [0-9a-f]{12}; workers"):
        train(made(), "forest", split, tmp_path / "out")


def test_workers_that_are_too_small_are_refused(
    lone: Cluster, split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_URL", lone.address)
    lone.start_worker("--nthreads", "1", "--memory-limit", "50MB", DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE="False")
    lone.wait_for(1)
    with pytest.raises(TooLittleMemory, match=r"600 rows takes about .* on each worker of Dask, and 0 bytes are free"):
        train(made(), "forest", split, tmp_path / "out")


def test_workers_that_dask_has_paused_are_named(
    lone: Cluster, split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_URL", lone.address)
    monkeypatch.setattr(dask_cluster, "SECONDS", 5)
    lone.start_worker("--nthreads", "1", "--memory-limit", "50MB")
    lone.wait_for_status("paused")
    with pytest.raises(ClusterError, match=r"has no workers after 5 s; 1 lack memory, so that Dask has paused them$"):
        train(made(), "forest", split, tmp_path / "out")
