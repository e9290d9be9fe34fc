"""A run's configuration: YAML and suite as they were when the run began, kept in its folder for all of its stages.

Whatever becomes of the live files meanwhile, half-saved, changed or removed, is a matter of later runs.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from updraft.defaults import ROOT
from updraft.stages.runs import IncompleteUpload, MissingFiles, RunFiles
from updraft.stages.stage_folder import read_json, recreate_folder, write_json
from updraft.usecase import BadUseCase, UseCase, files_of, load, no_such_use_case
from updraft.usecase.rows_definition import RowsDefinition

log = logging.getLogger(__name__)

FOLDER, RECORD = "configuration", "configuration.json"


D = TypeVar("D", bound=RowsDefinition)


@dataclass(frozen=True)
class Kind(Generic[D]):
    """What a run is of: where YAML and suite lie, by name and root, how they are loaded, the error for an unknown name.

    `load` takes the folder of the two files and, for the paths in them, the repository's root.
    """

    files_of: Callable[[str, Path], tuple[Path, Path]]
    load: Callable[[str, Path, Path], D]
    no_such: Callable[[str, Path], BadUseCase]


USE_CASE = Kind[UseCase](files_of, load, no_such_use_case)


def begin(name: str, files: RunFiles, attempts: int, root: Path = ROOT) -> UseCase:
    """Keep a use case for a run: see `begin_run`."""
    return begin_run(USE_CASE, name, files, attempts, root)


def resume(name: str, files: RunFiles, root: Path = ROOT) -> UseCase:
    """Return the use case that a run began with: see `resume_run`."""
    return resume_run(USE_CASE, name, files, root)


def begin_run(kind: Kind[D], name: str, files: RunFiles, attempts: int, root: Path = ROOT) -> D:
    """Keep the live YAML and suite for a run and return what they define; BadUseCase lists their faults.

    `attempts` tells a further try, which goes on with what the first one kept, from a cleared task, which takes the
    live files: it is the number of tries that the task may take in all, which Airflow raises when a task is cleared.
    """
    try:
        folder = _download(kind, name, files)
        if read_json(folder / RECORD)["attempts"] == attempts:
            return resume_run(kind, name, files, root)
    except (MissingFiles, IncompleteUpload):
        pass
    folder = _keep(kind, name, files.folder / FOLDER, attempts, root)
    files.upload(folder, folder)
    return _log(kind.load(name, folder, root))


def resume_run(kind: Kind[D], name: str, files: RunFiles, root: Path = ROOT) -> D:
    """Return what a run began with; log which of the live files differ by now."""
    folder = _download(kind, name, files)
    case = _log(kind.load(name, folder, root))
    if differences := _differences(kind, name, folder, root):
        log.warning("%s: the run goes on with what it began with; cleared from `%s`, it takes the live files",
                    "; ".join(differences), files.first)  # fmt: skip
    return case


def _download(kind: Kind[D], name: str, files: RunFiles) -> Path:
    folder = files.download(files.uri(files.folder / FOLDER))
    for path in (folder / RECORD, *kind.files_of(name, folder)):
        if not path.is_file():
            raise MissingFiles(path, files.first)
    return folder


def _keep(kind: Kind[D], name: str, folder: Path, attempts: int, root: Path) -> Path:
    """Copy the live files into `folder`, which stays as it was when the copies have faults."""
    draft = recreate_folder(folder.with_name(f".{folder.name}"))
    try:
        for live, copy in zip(kind.files_of(name, root), kind.files_of(name, draft), strict=True):
            copy.parent.mkdir(parents=True)
            if live.is_file():  # a missing suite is one of the faults that `load` lists
                shutil.copyfile(live, copy)
            elif live.suffix == ".yaml":
                raise kind.no_such(name, root)
        case = kind.load(name, draft, root)
        write_json(draft / RECORD, {"sha256": case.configuration_sha256, "attempts": attempts})
        shutil.rmtree(folder, ignore_errors=True)
        return draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _log(case: D) -> D:
    log.info("configuration %s", case.configuration_sha256[:12])
    return case


def _differences(kind: Kind[D], name: str, folder: Path, root: Path) -> list[str]:
    """Say of each live file that is not the run's what became of it."""
    differences = []
    for live, copy in zip(kind.files_of(name, root), kind.files_of(name, folder), strict=True):
        try:
            changed = live.read_bytes() != copy.read_bytes()
        except OSError:
            differences.append(f"{live.relative_to(root)} is gone")
        else:
            differences += [f"{live.relative_to(root)} has changed"] if changed else []
    return differences
