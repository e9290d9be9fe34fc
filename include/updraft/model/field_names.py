"""Which key of a row is which column: renamed, spelled in another way of Unicode, left out, or unknown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from updraft.model.composed import composed
from updraft.model.reading import Reading

CACHED = 64  # layouts: rows of one request nearly always have the same keys


@dataclass(frozen=True)
class Layout:
    """The key of each column, None where a row has none; those that are left out, and those that nobody knows.

    `entity` is the key of the value by which a feature store is asked; it may be a column, or the id, as well.
    """

    columns: tuple[str | None, ...]
    id: str | None
    left_out: tuple[str, ...]
    unknown: tuple[str, ...]
    entity: str | None = None


@dataclass(frozen=True)
class FieldNames:
    """The names by which rows may call the `columns` and the `id`: a renamed column also by its name in the source.

    `left_out` are names that rows may have beside them; a column without a name, as pandas saves its index, is one.
    """

    columns: Sequence[str]
    id: str | None
    left_out: Iterable[str]
    reading: Reading
    entity: str | None = None
    _layouts: dict[tuple[str, ...], Layout] = field(default_factory=dict)

    def layout(self, keys: tuple[str, ...]) -> Layout:
        """Return what the keys of a row, or of a header, stand for."""
        if keys not in self._layouts:
            if len(self._layouts) >= CACHED:
                self._layouts.clear()
            self._layouts[keys] = self._match(keys)
        return self._layouts[keys]

    def _match(self, keys: tuple[str, ...]) -> Layout:
        spelled = {composed(key): key for key in keys} | {key: key for key in keys}
        columns = tuple(self._key(name, spelled) for name in self.columns)
        id_ = None if self.id is None else self._key(self.id, spelled)
        entity = None if self.entity is None else self._key(self.entity, spelled)
        rest = [key for key in keys if key not in {*columns, id_, entity}]
        known = {name for column in (*self.columns, *self.left_out) for name in self._names(column)}
        left_out = tuple(key for key in rest if composed(key) in known or not key)
        return Layout(columns, id_, left_out, tuple(key for key in rest if key not in left_out), entity)

    def _key(self, column: str, spelled: dict[str, str]) -> str | None:
        return next((spelled[name] for name in self._names(column) if name in spelled), None)

    def _names(self, column: str) -> list[str]:
        """List the names of a column as `sources/rows.py` does: those that it is renamed from, then its own."""
        theirs = [name for name, ours in self.reading.rename.items() if ours == column]
        return [composed(name) for name in sorted([*theirs, column], key=lambda name: name == "_id")]
