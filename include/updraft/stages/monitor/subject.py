"""The version that is measured, with what it brought along: its signature, its reference, its evaluation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from updraft.errors import UserError
from updraft.model.signature import Signature
from updraft.model.version_files import SIGNATURE
from updraft.monitoring import reference
from updraft.monitoring.reference import REFERENCE, Reference
from updraft.registry.registry import NoSuchVersion, Registry
from updraft.stages.evaluate import EVALUATION
from updraft.stages.stage_folder import read_json

COLLECTED = "collected.json"


@dataclass(frozen=True)
class Subject:
    """A version of a use case, the contents of its files, and the last move of the registry when it was read."""

    name: str
    version: int
    sequence: int
    files: dict[str, bytes]

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"

    @property
    def signature(self) -> Signature:
        return Signature.model_validate_json(self.files[SIGNATURE])

    @property
    def reference(self) -> Reference:
        """What its training rows were like. Raises OutdatedReference."""
        return reference.read(self.files[REFERENCE], str(self))

    @property
    def evaluation(self) -> dict[str, Any]:
        """What its evaluation promised; {} where it has none."""
        found: dict[str, Any] = json.loads(self.files.get(EVALUATION, b"{}"))
        return found

    def write(self, out: Path) -> None:
        """Write the files that later stages read."""
        for name in (SIGNATURE, REFERENCE, EVALUATION):
            if name in self.files:
                (out / name).write_bytes(self.files[name])


def read_subject(registry: Registry, name: str, number: int | None = None, *more: str) -> Subject:
    """Read a version, verified, without a number the one in production, and `more` of its files.

    Raises NoSuchVersion, or UserError for a version without a reference.
    """
    now = registry.pointer(name)
    version = number or (now.production if now else None)
    if version is None:
        raise NoSuchVersion(f"{name}: nothing is in production; --version names one")
    known = registry.read_verified(name, version)[0].files
    if REFERENCE not in known:
        raise UserError(f"{name} version {version} has no {REFERENCE!r}: train again to watch it")
    wanted = [file for file in (SIGNATURE, REFERENCE, EVALUATION, *more) if file != EVALUATION or EVALUATION in known]
    return Subject(name, version, now.sequence if now else 0, registry.read(name, version, wanted))


def subject_in(collected: Path) -> Subject:
    """Read the subject that `collect` wrote."""
    facts = read_json(collected / COLLECTED)
    files = {name: (collected / name).read_bytes() for name in (SIGNATURE, REFERENCE)}
    if (collected / EVALUATION).exists():
        files[EVALUATION] = (collected / EVALUATION).read_bytes()
    return Subject(facts["use_case"], facts["version"], facts["sequence"], files)
