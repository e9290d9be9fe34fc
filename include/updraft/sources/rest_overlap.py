"""Rows that come on two pages: what moved between them while they were read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from updraft.model.columns import quoted
from updraft.sources.documents import ABSENT, follow
from updraft.sources.json_rows import Record
from updraft.sources.source import BadSource
from updraft.usecase.rows_definition import RowsDefinition


class Ids:
    """The ids of all pages so far, with the hashes of their rows; none where the use case has no id.

    `repeated` counts the rows that came again as they were.
    """

    def __init__(self, case: RowsDefinition, place: str) -> None:
        self._names = [*(theirs for theirs, ours in case.read.rename.items() if ours == case.id), case.id]
        self._place = place
        self._seen: dict[Any, bytes] = {}
        self.repeated = 0

    def new(self, placed: Sequence[Record]) -> list[Record]:
        """Return a page's rows without those of earlier pages; raise BadSource where one has changed since."""
        kept: list[Record] = []
        of_page: dict[Any, bytes] = {}
        for place, row in placed:
            key = self._key(row)
            if key is not None:
                digest = hashlib.sha256(json.dumps(row, sort_keys=True).encode()).digest()
                of_page[key] = digest
                if key in self._seen and self._seen[key] != digest:
                    raise BadSource(
                        f"{self._place}: {place}: id {quoted(key)} came on an earlier page as another row: "
                        "rows changed while the pages were read"
                    )
                if key in self._seen:
                    self.repeated += 1
                    continue
            kept.append((place, row))
        self._seen |= of_page
        return kept

    def _key(self, row: Any) -> Any:
        """Return a row's id; None without one."""
        if not isinstance(row, dict):
            return None
        for name in filter(None, self._names):
            value = row[name] if name in row else follow(row, name)
            if value is not ABSENT and isinstance(value, str | int | float):
                return value
        return None
