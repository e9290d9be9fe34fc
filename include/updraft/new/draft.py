"""A guessed use case, before it is written."""

from __future__ import annotations

from dataclasses import dataclass, field

from updraft.new.column_roles import TargetSpec
from updraft.new.column_types import ColumnProfile
from updraft.new.read_file import FileSample


@dataclass
class Draft:
    """A guessed use case: the file's sample, its columns, the target's task, and notes for a person to check."""

    name: str
    sample: FileSample
    columns: list[ColumnProfile]
    spec: TargetSpec
    rename: dict[str, str]
    task_given: bool  # by the user, so it is not a guess
    notes: list[str] = field(default_factory=list)
    quarantined_share: float = 0.0

    def of(self, role: str) -> list[ColumnProfile]:
        return [column for column in self.columns if column.role == role]

    @property
    def target(self) -> ColumnProfile:
        return self.of("target")[0]
