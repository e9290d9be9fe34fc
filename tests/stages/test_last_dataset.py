"""A source that gives what came since the last validated dataset: nothing twice, nothing lost, whatever fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support.small_cases import integer, small_case, text
from updraft.datasets.store import DatasetMoved, Datasets, open_datasets
from updraft.errors import BadData
from updraft.registry.registry import Registry
from updraft.sources.batch_reader import BatchReader
from updraft.sources.format import Chunk
from updraft.sources.source import Batch
from updraft.stages.ingest import ingest
from updraft.stages.keep import keep
from updraft.stages.last_dataset import last_dataset
from updraft.stages.stage_folder import read_json
from updraft.stages.validate import ValidationFailed, validate
from updraft.usecase import UseCase

Log = list[dict[str, Any]]


class Messages:
    """A list of messages as a source: a position is the number of those that were read."""

    is_log = True

    def __init__(self, log: Log, case: UseCase, start: int) -> None:
        self._log, self._start = log[start:], start
        self._reader = BatchReader(self, [column.name for column in case.columns], case, textual=False)
        self.columns, self.absent, self.others = self._reader.columns, self._reader.absent, self._reader.others
        self.total: int | None = len(self._log)

    def batches(self) -> Iterator[Batch]:
        if self._log:
            yield self._reader.read(Chunk(list(self._log), range(self._start, self._start + len(self._log))))

    def provenance(self) -> dict[str, Any]:
        return {"kind": "messages"}

    def position(self) -> dict[str, Any]:
        return {"offset": self._start + len(self._log)}


@pytest.fixture
def datasets(registry_environ: dict[str, str]) -> Datasets:
    opened = open_datasets({**registry_environ, "UPDRAFT_DATASETS": f"{registry_environ['UPDRAFT_REGISTRY']}-datasets"})
    assert opened is not None
    return opened


@pytest.fixture
def small(tmp_path: Path) -> UseCase:
    columns = [integer("id"), integer("y", allowed=(0, 1)), text("x")]
    return small_case(columns, folder=tmp_path, id="id", quarantine_budget=0.5)


def read(case: UseCase, log: Log, datasets: Datasets | None, out: Path, *, anew: bool = False) -> Path:
    out.mkdir(exist_ok=True)
    with last_dataset(case, datasets, out, anew=anew) as last:
        start = (last.position or {"offset": 0})["offset"]
        return ingest(case, Messages(log, case, start), out / "ingest", last=last)


def run(
    case: UseCase, log: Log, datasets: Datasets, registry: Registry, out: Path, *, anew: bool = False
) -> pd.DataFrame:
    dataset = validate(case, read(case, log, datasets, out, anew=anew), out / "validate")
    keep(case, dataset, datasets, lambda: registry, out.name)
    return pd.read_parquet(dataset)


def message(id_: int, x: str = "a", y: int = 0) -> dict[str, Any]:
    return {"id": id_, "y": y, "x": x}


def test_each_run_adds_what_came_since_and_a_changed_row_replaces_itself(
    small: UseCase, datasets: Datasets, registry: Registry, tmp_path: Path
) -> None:
    log = [message(1), message(2)]
    assert list(run(small, log, datasets, registry, tmp_path / "1")["id"]) == [1, 2]
    log += [message(3), message(1, "changed")]
    rows = run(small, log, datasets, registry, tmp_path / "2")
    assert dict(zip(rows["id"], rows["x"], strict=True)) == {2: "a", 3: "a", 1: "changed"}
    last = datasets.last(small.name)
    assert last is not None and (last.base, last.rows, last.new_rows, last.replaced) == (1, 3, 2, 1)
    assert not list((tmp_path / "2").glob(".*"))


def test_the_rows_are_those_of_one_read_of_everything(
    small: UseCase, datasets: Datasets, registry: Registry, tmp_path: Path
) -> None:
    log = [message(number % 7, str(number)) for number in range(20)]
    for end in (5, 5, 12, 20):
        step_by_step = run(small, log[:end], datasets, registry, tmp_path / f"up to {end} {datasets.numbers('small')}")
    at_once = pd.read_parquet(read(small, log, None, tmp_path / "at once"))
    pd.testing.assert_frame_equal(step_by_step, at_once)


def test_nothing_new_leaves_the_rows_as_they_are(
    small: UseCase, datasets: Datasets, registry: Registry, tmp_path: Path
) -> None:
    log = [message(1), message(2)]
    first = run(small, log, datasets, registry, tmp_path / "1")
    pd.testing.assert_frame_equal(run(small, log, datasets, registry, tmp_path / "2"), first)
    assert len({manifest.md5 for manifest in datasets.manifests(small.name)}) == 1


def test_a_run_may_read_all_anew_and_the_next_one_goes_on_from_it(
    small: UseCase, datasets: Datasets, registry: Registry, tmp_path: Path
) -> None:
    log = [message(1), message(2)]
    run(small, log, datasets, registry, tmp_path / "1")
    log[:] = [message(4, "other"), message(5), message(6)]  # the source was filled anew
    assert list(run(small, log, datasets, registry, tmp_path / "2", anew=True)["id"]) == [4, 5, 6]
    log += [message(7)]
    assert list(run(small, log, datasets, registry, tmp_path / "3")["id"]) == [4, 5, 6, 7]
    assert [each.base for each in datasets.manifests(small.name)] == [None, 1, 2]


def test_a_change_that_does_not_fit_leaves_the_row_as_it_was_and_is_said(
    small: UseCase, datasets: Datasets, registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = [message(1), message(2)]
    run(small, log, datasets, registry, tmp_path / "1")
    log += [{**message(2, "new"), "y": "x"}, message(3)]
    rows = run(small, log, datasets, registry, tmp_path / "2")
    assert dict(zip(rows["id"], rows["x"], strict=True)) == {1: "a", 2: "a", 3: "a"}
    assert "1 rows did not fit: where one is a change of a row of dataset 1, that row stays as it was" in caplog.text


def test_nothing_at_all_is_an_error(small: UseCase, datasets: Datasets, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="small: the source gave no rows"):
        read(small, [], datasets, tmp_path / "1")


def test_a_refused_batch_is_read_again_and_none_of_it_is_kept(
    small: UseCase, datasets: Datasets, registry: Registry, tmp_path: Path
) -> None:
    log = [message(1), message(2)]
    run(small, log, datasets, registry, tmp_path / "1")
    log += [message(3, y=7)]
    with pytest.raises(ValidationFailed):
        run(small, log, datasets, registry, tmp_path / "2")
    log += [{"id": "x"}, {"id": "y"}, {"id": "z"}]
    with pytest.raises(BadData, match="do not fit"):
        run(small, log, datasets, registry, tmp_path / "3")
    assert datasets.numbers(small.name) == [1]
    del log[3:]
    log += [message(3), message(4)]
    assert list(run(small, log, datasets, registry, tmp_path / "4")["id"]) == [1, 2, 3, 4]
    last = datasets.last(small.name)
    assert last is not None and last.position == {"offset": 5}


def test_a_run_that_failed_after_it_kept_its_rows_and_begins_again_adds_them_once(
    small: UseCase, datasets: Datasets, registry: Registry, tmp_path: Path
) -> None:
    log = [message(1)]
    run(small, log, datasets, registry, tmp_path / "1")
    log += [message(2)]
    run(small, log, datasets, registry, tmp_path / "2")  # and then `train` fails; the person clears from `ingest`
    assert list(run(small, log, datasets, registry, tmp_path / "2")["id"]) == [1, 2]


def test_of_two_runs_at_once_the_later_one_is_told_to_begin_again(
    small: UseCase, datasets: Datasets, registry: Registry, tmp_path: Path
) -> None:
    log = [message(1)]
    run(small, log, datasets, registry, tmp_path / "1")
    slow = read(small, [*log, message(2)], datasets, tmp_path / "slow")
    run(small, [*log, message(2), message(3)], datasets, registry, tmp_path / "fast")
    with pytest.raises(DatasetMoved, match="clear the run from `ingest`"):
        keep(small, slow, datasets, lambda: registry, "slow")


def test_other_columns_or_a_lost_file_mean_that_all_is_read_anew(
    small: UseCase, datasets: Datasets, registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = [message(1), message(2)]
    run(small, log, datasets, registry, tmp_path / "1")
    wider = small.model_copy(update={"columns": (*small.columns, text("z"))})
    log = [row | {"z": "new"} for row in log]
    dataset = read(wider, log, datasets, tmp_path / "2")
    assert list(pd.read_parquet(dataset)["z"]) == ["new", "new"]
    assert "all rows are read again: source, read, id or columns are not those of dataset 1" in caplog.text
    keep(wider, dataset, datasets, lambda: registry, "2")
    assert datasets.numbers(small.name) == [1, 2]

    for key in list(datasets.bucket.keys("small/files/")):
        datasets.bucket.delete(f"small/files/{key}")
    dataset = read(wider, [*log, message(3) | {"z": None}], datasets, tmp_path / "3")
    assert list(pd.read_parquet(dataset)["id"]) == [1, 2, 3]
    assert "all rows are read again: small: its dataset is no longer at" in caplog.text
    keep(wider, dataset, datasets, lambda: registry, "3")
    assert read_json(dataset.with_name("dataset.json"))["base"] == 2


def test_keep_0_stores_nothing_and_a_shell_moves_no_position(
    small: UseCase, datasets: Datasets, registry: Registry, tmp_path: Path
) -> None:
    dataset = read(small, [message(1)], datasets, tmp_path / "1")
    none = small.model_copy(update={"datasets": small.datasets.model_copy(update={"keep": 0})})
    keep(none, dataset, datasets, lambda: registry, "1")
    assert datasets.numbers(small.name) == []
    keep(small, dataset, datasets, lambda: registry, "shell", goes_on=False)
    assert datasets.numbers(small.name) == [1] and datasets.last(small.name) is None
