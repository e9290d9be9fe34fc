"""What training takes of memory: stated before it begins, in real processes with real limits."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.support.small_cases import integer, real, small_case, text
from updraft.errors import UserError
from updraft.learning.estimators import ESTIMATORS
from updraft.learning.memory_need import FACTORS
from updraft.learning.search import combinations
from updraft.learning.splits import FOLD
from updraft.stages.free_memory import free_memory
from updraft.stages.stage_folder import TRAIN, write_json
from updraft.stages.train import train
from updraft.stages.training_memory import MemoryTaken, TooLittleMemory, measure
from updraft.usecase import UseCase

COLUMNS = [*(real(f"x{number}") for number in range(12)), integer("y")]
BOOSTED = {"estimator": "HistGradientBoostingClassifier", "params": {"max_iter": 3}}
MANY = 500_000


def numbers(candidate: dict[str, Any]) -> UseCase:
    return small_case(COLUMNS, candidates={"one": candidate}, folds=2)


def write_split(folder: Path, rows: int) -> Path:
    """Write training rows as `transform` does, of a dataset with a quarter more rows."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({f"x{number}": random.random(rows) for number in range(12)})
    frame["y"] = (frame["x0"] + random.random(rows) > 1).astype("int64")
    frame[FOLD] = (np.arange(rows) % 2).astype("int8")
    folder.mkdir()
    frame.to_parquet(folder / TRAIN, index=False)
    split = {"seed": 42, "split": {"by": "hash"}, "rows": rows * 5 // 4, "null_targets": 0, "duplicates": 0}
    write_json(folder / "split.json", split | {"holdout": None, "other_columns": []})
    return folder


def test_every_estimator_has_its_factors() -> None:
    assert FACTORS.keys() == ESTIMATORS.keys()


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"cgroup": "5:cpu:/a\n4:memory:/a/b\n", "memory/a/b": (900, 500, 100)}, 501),
        ({"cgroup": "4:memory:/a/b\n", "memory/a/b": (900, 500, 100), "memory/a": (950, 800, 0)}, 151),
        ({"cgroup": "4:memory:/docker/0123\n", "memory": (700, 600, 50)}, 151),  # seen from inside a container
        ({"cgroup": "4:memory:/a\n", "memory/a": (2**63 - 4096, 500, 0)}, None),
        ({"cgroup": "0::/a/b\n", "a/b": ("max", 500, 0), "a": (600, 550, 20)}, 71),
        ({"cgroup": "0::/\n", "": (800, 100, 10)}, 711),
        ({}, None),
    ],
)  # fmt: skip
def test_the_limits_of_containers(tmp_path: Path, files: dict[str, Any], free: int | None) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(files.pop("cgroup", ""))
    for name, (limit, used, inactive) in files.items():
        folder = tmp_path / "sys/fs/cgroup" / name
        folder.mkdir(parents=True, exist_ok=True)
        first = name.startswith("memory")
        (folder / ("memory.limit_in_bytes" if first else "memory.max")).write_text(f"{limit}\n")
        (folder / ("memory.usage_in_bytes" if first else "memory.current")).write_text(f"{used}\n")
        total = "total_" if first else ""
        (folder / "memory.stat").write_text(f"cache 7\n{total}inactive_file {inactive}\n{total}active_file 1\n")
    found = free_memory({}, tmp_path)
    assert (found.free, found.origin) == (free, "the container's memory limit") if free else found.free > 10**6


@pytest.mark.parametrize(("setting", "size"), [("64GB", 64e9), ("64Gi", 2**36), ("64g", 64e9), ("64000000000", 64e9)])
def test_the_setting_replaces_what_is_found(setting: str, size: float) -> None:
    found = free_memory({"UPDRAFT_MEMORY": setting})
    assert size * 0.9 < found.free < size and setting in found.origin


@pytest.mark.parametrize("setting", ["much", "-5GB", "5 TBs", "GB"])
def test_a_setting_that_is_no_size_is_refused(setting: str) -> None:
    with pytest.raises(UserError, match=r"UPDRAFT_MEMORY: '.+' is no amount of memory; expected"):
        free_memory({"UPDRAFT_MEMORY": setting})


def test_a_refusal_says_what_would_fit_and_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("UPDRAFT_MEMORY", "1MB")
    split = write_split(tmp_path / "split", 4000)
    with pytest.raises(TooLittleMemory) as refusal:
        train(numbers(BOOSTED), "one", split, tmp_path / "out")
    assert len(str(refusal.value).splitlines()) == 1
    assert "candidate 'one': training on 4,000 rows takes about" in str(refusal.value)
    assert "0 bytes are free (UPDRAFT_MEMORY 1MB)" in str(refusal.value) and "`ignored`" in str(refusal.value)
    assert not list((tmp_path / "out").iterdir())

    monkeypatch.setenv("UPDRAFT_MEMORY", "100GB")
    caplog.set_level(logging.INFO)
    train(numbers(BOOSTED), "one", split, tmp_path / "out")
    assert "one: training takes about" in caplog.text and "for each of 4,000 rows" in caplog.text


def test_the_limit_that_is_offered_is_below_what_is_free(tmp_path: Path) -> None:
    from updraft.stages.training_memory import _what_would_fit

    case, split = numbers(BOOSTED), write_split(tmp_path / "split", 6000)
    memory = measure(case, "one", combinations(case, "one"), split)
    free = memory.bytes(4000, 1)
    said = _what_would_fit(case, memory, split, 6000, free)
    limit = int(said.partition("limit ")[2].split()[0])
    assert 4500 <= limit <= 5000  # of the dataset, of which four fifths are training rows
    assert memory.bytes(limit * 4 // 5, 1) <= free


def test_trees_that_have_no_bound_are_what_a_forest_is_told_to_save(tmp_path: Path) -> None:
    from updraft.stages.training_memory import _what_would_fit

    forest = {"estimator": "RandomForestClassifier", "params": {"n_estimators": 500}}
    split = write_split(tmp_path / "split", 20_000)
    said = {}
    for name, params in (("deep", {}), ("shallow", {"max_depth": 3})):
        case = numbers(forest | {"params": forest["params"] | params})
        memory = measure(case, "one", combinations(case, "one"), split)
        said[name] = _what_would_fit(case, memory, split, 20_000, 10**6)
    assert "of it are trees: fewer, or a lower max_depth" in said["deep"]
    assert "columns take" in said["shallow"]


def test_the_knn_imputer_takes_memory_for_the_rows_that_lack_a_number() -> None:
    """Their distances to all rows: of 11,000 rows with 12 numbers, 30 % of them with a null, they took 783 MB."""
    from updraft.learning.memory_need import measure_fit

    frame = pd.DataFrame({f"x{number}": np.linspace(0, 1, 5000) for number in range(12)})
    frame["y"] = [0, 1] * 2500
    lacking = frame.assign(x0=frame["x0"].where(np.arange(5000) % 10 >= 3))
    need = {}
    for by in ("knn", "median"):
        case = small_case(COLUMNS, candidates={"one": BOOSTED}, impute={"by": by})
        (combination,) = combinations(case, "one")
        for name, sample in (("none", frame), ("some", lacking)):
            need[by, name] = measure_fit(case, "HistGradientBoostingClassifier", combination, sample).bytes(11_000)
    assert need["knn", "none"] - need["median", "none"] < 1e6
    assert 783e6 < need["knn", "some"] - need["knn", "none"] < 2 * 783e6


def test_a_vocabulary_grows_as_its_last_rows_say() -> None:
    """Half of the words of these texts are few and soon all known, the others are new with each row."""
    from updraft.learning.memory_need import measure_fit

    rows = 20_000
    frame = pd.DataFrame({
        "words": [f"w{number % 50} new{number}" for number in range(rows)],
        "y": [0, 1] * (rows // 2),
    })
    case = small_case([text("words"), integer("y")], text=["words"], tfidf={"ngrams": [1, 1]})
    fit = measure_fit(case, "LogisticRegression", combinations(case, "simple")[0], frame.head(4000))
    assert fit.words.seen == 4050 and fit.words.count(rows / 4000) == pytest.approx(rows + 50, rel=0.01)


SCRIPT = """
import json, os, resource, sys
from pathlib import Path
kind, limit, split, out = sys.argv[1], int(sys.argv[2]), *map(Path, sys.argv[3:5])
group = Path(sys.argv[5]) if sys.argv[5:] else None
if kind == "container":  # whose limit is of all that the process has loaded, too
    (group / "cgroup.procs").write_text(str(os.getpid()))
from tests.stages.test_training_memory import BOOSTED, numbers
import logging, psutil
from updraft.learning.search import combinations
from updraft.stages.train import train
from updraft.stages.training_memory import measure
import sklearn.ensemble, scipy.sparse, pyarrow.parquet
logging.basicConfig(level=logging.INFO, format="%(message)s")
case = numbers(BOOSTED)
if kind == "container":
    measure(case, "one", combinations(case, "one"), split)  # leaves 2 to 34 MB with Arrow, by chance
    parts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    files = int(parts["total_inactive_file"]) + int(parts["total_active_file"])
    loaded = int((group / "memory.usage_in_bytes").read_text()) - files
    (group / "memory.limit_in_bytes").write_text(str(loaded + limit))
else:
    pyarrow.parquet.ParquetFile(split / "train.parquet").read_row_group(0)  # starts its threads, which reserve memory
memory = psutil.Process().memory_info()
if kind == "address space":
    resource.setrlimit(resource.RLIMIT_AS, (memory.vms + limit,) * 2)
elif kind == "cgroup":
    (group / "cgroup.procs").write_text(str(os.getpid()))
Path("/proc/self/clear_refs").write_text("5")  # begins VmHWM anew
train(case, "one", split, out)
peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
print(json.dumps(peak - memory.rss))
"""


def trained_in_a_process(kind: str, limit: int, split: Path, out: Path, *more: str, **environ: str) -> Any:
    command = [sys.executable, "-c", SCRIPT, kind, str(limit), str(split), str(out), *more]
    variables = {**os.environ, "OMP_NUM_THREADS": "2", "LOKY_MAX_CPU_COUNT": "2", **environ}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=variables)


@pytest.fixture(scope="module")
def large_split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_split(tmp_path_factory.mktemp("large") / "split", MANY)


@pytest.fixture(scope="module")
def need(large_split: Path) -> int:
    """What is stated of one fit at a time."""
    case = numbers(BOOSTED)
    return measure(case, "one", combinations(case, "one"), large_split).bytes(MANY, 1)


@pytest.fixture
def cgroup(request: pytest.FixtureRequest) -> Iterator[tuple[Path, Any]]:
    """Make a cgroup below this process's own; only root can."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    mount = Path("/sys/fs/cgroup/memory")
    own = next((mount / path.lstrip("/") for _, names, path in lines if names == "memory"), None)
    if own is None or not os.access(own, os.W_OK):
        pytest.skip("no cgroup (v1) can be made here: that takes root")
    folder = own / f"updraft-test-{os.getpid()}"
    folder.mkdir()
    yield folder, lambda size: (folder / "memory.limit_in_bytes").write_text(str(size))
    folder.rmdir()


@pytest.mark.usefixtures("takes_long")
def test_what_is_stated_is_more_than_training_takes_and_not_much(large_split: Path, need: int, tmp_path: Path) -> None:
    done = trained_in_a_process("none", 0, large_split, tmp_path / "out", UPDRAFT_MEMORY="100GB")
    assert done.returncode == 0, done.stderr
    peak = json.loads(done.stdout)
    stated = float(done.stderr.partition("takes about ")[2].split()[0]) * 1e6
    assert peak < stated < 2 * peak


@pytest.mark.usefixtures("takes_long")
@pytest.mark.parametrize("share", [1.1, 0.3])
def test_a_process_with_little_address_space(share: float, large_split: Path, need: int, tmp_path: Path) -> None:
    limit = int(need * share) + (2 * 72 * 2**20 if share > 1 else 0)  # of the heaps of a fit's thread and Arrow's
    done = trained_in_a_process("address space", limit, large_split, tmp_path / "out")
    if share > 1:
        assert done.returncode == 0, done.stderr
        assert "with one fit at a time, not 2, so that it fits" in done.stderr
        return
    assert "TooLittleMemory" in done.stderr and "(ulimit -v)" in done.stderr
    forced = trained_in_a_process("address space", limit, large_split, tmp_path / "out", UPDRAFT_MEMORY="100GB")
    assert forced.returncode != 0 and ("MemoryError" in forced.stderr or "can't start new thread" in forced.stderr)


@pytest.mark.usefixtures("takes_long")
@pytest.mark.parametrize("share", [1.02, 0.55])
def test_a_container_with_little_memory(
    share: float, cgroup: tuple[Path, Any], large_split: Path, need: int, tmp_path: Path
) -> None:
    folder, set_limit = cgroup
    limit = int(need * share)
    done = trained_in_a_process("container", limit, large_split, tmp_path / "out", str(folder))
    if share > 1:
        assert done.returncode == 0, done.stderr
        return
    assert "TooLittleMemory" in done.stderr and "(the container's memory limit); a run with limit" in done.stderr
    set_limit(2**40)
    forced = trained_in_a_process(
        "container", limit, large_split, tmp_path / "out", str(folder), UPDRAFT_MEMORY="100GB"
    )
    assert forced.returncode == -9


HOG = """
import os, sys
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
taken = b"x" * int(sys.argv[2])
print("taken", flush=True)
sys.stdin.read()
"""


@contextmanager
def taken_by_another(folder: Path, size: int) -> Iterator[None]:
    """Have another process of the cgroup hold so much memory."""
    command = [sys.executable, "-c", HOG, str(folder), str(size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "taken\n"
        yield
        process.communicate()


@pytest.mark.usefixtures("takes_long")
def test_what_others_have_taken_is_no_refusal_for_good_and_the_next_try_succeeds(
    cgroup: tuple[Path, Any], large_split: Path, need: int, tmp_path: Path
) -> None:
    folder, set_limit = cgroup
    limit = need + 500 * 2**20  # with what the process of the training has loaded
    set_limit(limit)
    with taken_by_another(folder, limit - need // 2):
        first = trained_in_a_process("cgroup", 0, large_split, tmp_path / "out", str(folder))
    assert first.returncode == 1 and "MemoryTaken" in first.stderr, first.stderr
    assert "are free (the container's memory limit); others have taken the rest of" in first.stderr
    assert not issubclass(MemoryTaken, UserError)  # of which a task that raises it is not tried again
    second = trained_in_a_process("cgroup", 0, large_split, tmp_path / "out", str(folder))
    assert second.returncode == 0, second.stderr
