"""A run's configuration: YAML and suite as they were when the run began, kept in its folder for all of its stages.

Whatever becomes of the live files meanwhile, half-saved, changed or removed, is a matter of later runs.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from updraft.defaults import ROOT
from updraft.stages.runs import IncompleteUpload, MissingFiles, RunFiles
from updraft.stages.stage_folder import read_json, recreate_folder, write_json
from updraft.usecase import UseCase, files_of, load, no_such_use_case

log = logging.getLogger(__name__)

FOLDER, RECORD = "configuration", "configuration.json"


def begin(name: str, files: RunFiles, attempts: int, root: Path = ROOT) -> UseCase:
    """Keep the live YAML and suite for a run and return the use case that they make; BadUseCase lists their faults.

    `attempts` tells a further try, which goes on with what the first one kept, from a cleared task, which takes the
    live files: it is the number of tries that the task may take in all, which Airflow raises when a task is cleared.
    """
    try:
        folder = _download(name, files)
        if read_json(folder / RECORD)["attempts"] == attempts:
            return resume(name, files, root)
    except (MissingFiles, IncompleteUpload):
        pass
    folder = _keep(name, files.folder / FOLDER, attempts, root)
    files.upload(folder, folder)
    return _log(load(name, folder, root))


def resume(name: str, files: RunFiles, root: Path = ROOT) -> UseCase:
    """Return the use case that a run began with; log which of the live files differ by now."""
    folder = _download(name, files)
    case = _log(load(name, folder, root))
    if differences := _differences(name, folder, root):
        log.warning("%s: the run goes on with what it began with; cleared from `ingest`, it takes the live files",
                    "; ".join(differences))  # fmt: skip
    return case


def _download(name: str, files: RunFiles) -> Path:
    folder = files.download(files.uri(files.folder / FOLDER))
    for path in (folder / RECORD, *files_of(name, folder)):
        if not path.is_file():
            raise MissingFiles(path)
    return folder


def _keep(name: str, folder: Path, attempts: int, root: Path) -> Path:
    """Copy the live files into `folder`, which stays as it was when the copies have faults."""
    draft = recreate_folder(folder.with_name(f".{folder.name}"))
    try:
        for live, copy in zip(files_of(name, root), files_of(name, draft), strict=True):
            copy.parent.mkdir(parents=True)
            if live.is_file():  # a missing suite is one of the faults that `load` lists
                shutil.copyfile(live, copy)
            elif live.suffix == ".yaml":
                raise no_such_use_case(name, root)
        case = load(name, draft, root)
        write_json(draft / RECORD, {"sha256": case.configuration_sha256, "attempts": attempts})
        shutil.rmtree(folder, ignore_errors=True)
        return draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _log(case: UseCase) -> UseCase:
    log.info("configuration %s", case.configuration_sha256[:12])
    return case


def _differences(name: str, folder: Path, root: Path) -> list[str]:
    """Say of each live file that is not the run's what became of it."""
    differences = []
    for live, copy in zip(files_of(name, root), files_of(name, folder), strict=True):
        try:
            changed = live.read_bytes() != copy.read_bytes()
        except OSError:
            differences.append(f"{live.relative_to(root)} is gone")
        else:
            differences += [f"{live.relative_to(root)} has changed"] if changed else []
    return differences
