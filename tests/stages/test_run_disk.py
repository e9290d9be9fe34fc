"""A full disk, a nearly full one, and files that are gone, each in one line."""

from __future__ import annotations

import errno
import logging
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.trained import Trained
from updraft.model.model import Model
from updraft.stages.run_disk import DiskFull, explain_file_errors, folder_size, size, warn_when_nearly_full
from updraft.stages.runs import MissingFiles
from updraft.stages.stage_folder import write_json
from updraft.stages.transform import transform
from updraft.usecase import UseCase


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """Let no file of this process grow beyond `limit` bytes: the kernel refuses, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("what", ["parquet", "json", "model", "parquet in a block"])
def test_whatever_does_not_fit_is_one_line_with_the_path_and_the_room(
    what: str, tmp_path: Path, frame: pd.DataFrame, trained: Trained
) -> None:
    out = tmp_path / "train"
    out.mkdir()
    (out / "first").write_bytes(bytes(1500))
    model = Model.load(trained.models[0])
    with pytest.raises(DiskFull) as caught, explain_file_errors(tmp_path, out), small_files(2000):
        if what == "parquet":
            frame.to_parquet(out / "dataset.parquet")
        elif what == "json":
            write_json(out / "report.json", "x" * 5000)
        elif what == "model":
            model.save(out)
        else:
            table = pa.Table.from_pandas(frame)
            with pq.ParquetWriter(out / "dataset.parquet", table.schema) as parquet:
                parquet.write_table(table)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(str(out)) and "is too large: more is needed than the" in line and "are free" in line


def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match=r"the disk is full: more is needed than the 0 bytes written so far"):
        with explain_file_errors(tmp_path, tmp_path), Path("/dev/full").open("w") as file:
            file.write("x")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), FileNotFoundError(errno.ENOENT, "gone", "/elsewhere")])
def test_other_errors_are_passed_on(error: OSError, tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught, explain_file_errors(tmp_path, tmp_path):
        raise error
    assert caught.value is error


def test_a_file_of_the_run_that_is_gone_says_what_to_clear(case: UseCase, tmp_path: Path) -> None:
    dataset = tmp_path / "ingest" / "dataset.parquet"
    with pytest.raises(MissingFiles, match=f"{dataset} is gone; clear the run from `ingest`"):
        with explain_file_errors(tmp_path, tmp_path / "transform"):
            transform(case, dataset, tmp_path / "transform")


def test_a_disk_that_is_nearly_full_is_said_to_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    total, used, _ = shutil.disk_usage(tmp_path)
    for limit, lines in ((used / total + 0.05, 0), (used / total - 0.05, 1)):
        warn_when_nearly_full(tmp_path / "not" / "yet", limit)
        assert len(caplog.messages) == lines
    assert f"the disk of {tmp_path}/not/yet is" in caplog.messages[0]


def test_sizes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(bytes(1700))
    Path(tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert (folder_size(tmp_path), size(1700), size(12), size(3.2e12)) == (1700, "1.7 kB", "12 bytes", "3.2 TB")
