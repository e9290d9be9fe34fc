"""A guessed use case, before it is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from updraft.new.column_roles import TargetSpec, duplicates
from updraft.new.column_types import ColumnProfile
from updraft.new.guess_demo import guess_demo
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

    @cached_property
    def demo(self) -> dict[str, Any]:
        """The `demo` block; the YAML is written more than once, and this takes seconds."""
        return guess_demo(self.columns, self.target, self.spec)

    @cached_property
    def duplicates(self) -> float:
        """Share of the rows that repeat another one."""
        return duplicates(self.columns)
