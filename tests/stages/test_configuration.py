"""The configuration that a run keeps: what happens to the live files meanwhile changes nothing for it."""

from __future__ import annotations

import logging
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.repository import add_file_case, copy_repository
from updraft.registry.s3 import Bucket, s3_client
from updraft.stages.configuration import FOLDER, begin, resume
from updraft.stages.runs import MissingFiles, RunFiles
from updraft.stages.runs_on_s3 import S3RunFiles
from updraft.usecase import BadUseCase, load

NAME = "insurance_file"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = copy_repository(tmp_path_factory.mktemp("repository"))
    add_file_case(root, NAME, rows=10)
    return root


@pytest.fixture
def yaml(repository: Path) -> Path:
    """Give the live YAML, which the test may change; the suite, too, is what it was."""
    path = repository / "include" / "usecases" / f"{NAME}.yaml"
    path.write_text((repository / "include" / "usecases" / "vehicle_insurance.yaml").read_text())
    shutil.copy(repository / "expectations" / "vehicle_insurance.json", repository / "expectations" / f"{NAME}.json")
    return path


@pytest.fixture
def suite(repository: Path, yaml: Path) -> Path:
    return repository / "expectations" / f"{NAME}.json"


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles(tmp_path / "run")


def test_a_run_goes_on_with_what_it_began_with_and_its_paths_lead_to_the_repository(
    repository: Path, yaml: Path, files: RunFiles
) -> None:
    yaml.write_text(yaml.read_text().replace("{mongodb: {collection: vehicle_insurance}}", "{file: {path: rows.csv}}"))
    case = begin(NAME, files, 3, repository)
    yaml.write_text(yaml.read_text().replace("seed: 42", "seed: 7") + "owner: somebody\n")
    assert resume(NAME, files, repository) == case != load(NAME, repository)
    assert case.configuration_sha256 == load(NAME, files.folder / FOLDER).configuration_sha256
    assert case.suite.is_relative_to(files.folder)
    assert case.source.file is not None and case.source.file.path == str(repository / "rows.csv")


@pytest.mark.parametrize(
    "spoil", [lambda path: path.write_text(path.read_text()[:200]), Path.unlink], ids=["half", "gone"]
)
def test_a_further_try_keeps_its_configuration_and_a_cleared_task_meets_the_faults(
    repository: Path, yaml: Path, suite: Path, files: RunFiles, spoil: Callable[[Path], object]
) -> None:
    case = begin(NAME, files, 3, repository)
    for live, fault in ((suite, f"expectations/{NAME}.json"), (yaml, NAME)):
        spoil(live)
        assert begin(NAME, files, 3, repository) == case
        with pytest.raises(BadUseCase, match=fault) as caught:
            begin(NAME, files, 4, repository)
        assert str(files.folder) not in str(caught.value)
        assert resume(NAME, files, repository) == case


def test_a_cleared_task_takes_the_live_files(repository: Path, yaml: Path, files: RunFiles) -> None:
    first = begin(NAME, files, 3, repository)
    yaml.write_text(yaml.read_text() + "owner: somebody\n")
    second = begin(NAME, files, 4, repository)
    assert (second.owner, resume(NAME, files, repository)) == ("somebody", second)
    assert second.configuration_sha256 != first.configuration_sha256


def test_live_files_that_differ_are_named_in_one_line(
    repository: Path, yaml: Path, suite: Path, files: RunFiles, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    begin(NAME, files, 3, repository)
    resume(NAME, files, repository)
    assert caplog.messages == []
    yaml.write_text("title: half a\n")
    suite.unlink()
    resume(NAME, files, repository)
    (line,) = caplog.messages
    assert line == (
        f"include/usecases/{NAME}.yaml has changed; expectations/{NAME}.json is gone: the run goes on with what it "
        "began with; cleared from `ingest`, it takes the live files"
    )


@pytest.mark.parametrize("gone", ["", "configuration.json", f"expectations/{NAME}.json"])
def test_a_configuration_that_is_gone_says_what_to_clear(
    repository: Path, yaml: Path, files: RunFiles, gone: str
) -> None:
    begin(NAME, files, 3, repository)
    path = files.folder / FOLDER / gone
    path.unlink() if gone else shutil.rmtree(path)
    with pytest.raises(MissingFiles, match=f"{path} is gone; clear the run from `ingest`"):
        resume(NAME, files, repository)
    assert begin(NAME, files, 3, repository) == resume(NAME, files, repository)


def test_on_s3_another_machine_reads_it(
    repository: Path, yaml: Path, suite: Path, s3: dict[str, str], tmp_path: Path
) -> None:
    bucket = Bucket(s3_client(s3), "test-kept", f"runs/{secrets.token_hex(6)}")
    bucket.create_if_missing()
    with pytest.raises(MissingFiles, match="configuration is gone"):
        resume(NAME, S3RunFiles(bucket, tmp_path / "here"), repository)
    case = begin(NAME, S3RunFiles(bucket, tmp_path / "here"), 3, repository)
    suite.write_text("{")
    for machine in ("there", "elsewhere"):
        found = resume(NAME, S3RunFiles(bucket, tmp_path / machine), repository)
        assert found == case.model_copy(update={"suite": found.suite})
    assert (
        begin(NAME, S3RunFiles(bucket, tmp_path / "third"), 3, repository).configuration_sha256
        == case.configuration_sha256
    )
