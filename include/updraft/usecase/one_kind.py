"""A block that is of one kind out of several, each with settings of its own."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from updraft.usecase.blocks import Part


class OneKind(Part):
    """A block with a field for each kind, exactly one of them set."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [kind for kind in type(self).model_fields if kind in self.model_fields_set]
        if len(kinds) != 1 or getattr(self, kinds[0]) is None:
            known = ", ".join(type(self).model_fields)
            found = ", ".join(kinds) + (" without settings" if len(kinds) == 1 else "") if kinds else "none"
            raise ValueError(f"expected one kind with its settings, found {found}; there are: {known}")
        return self

    @property
    def kind(self) -> str:
        """Name the kind."""
        return next(iter(self.model_fields_set))

    @property
    def settings(self) -> Part:
        """Return the settings of the kind."""
        settings: Part = getattr(self, self.kind)
        return settings
