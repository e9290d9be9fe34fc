"""The `pages` block of a REST source: how its pages follow one another, and what says that they have ended."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from updraft.usecase.blocks import Part

# A JSON Pointer (RFC 6901): "" is the document itself.
Pointer = Annotated[str, Field(pattern=r"^(/([^~/]|~[01])*)*$")]
Parameter = Annotated[str, Field(min_length=1)]
Size = Annotated[int, Field(ge=1)]


class Pages(Part):
    """What kinds of pages have in common. `total` and `more` lead to the number of all rows, and to whether any follow.

    `size` is sent as `size_parameter`.
    """

    size: Size | None = None
    size_parameter: Parameter = "limit"
    total: Pointer | None = None
    more: Pointer | None = None


class NumberPages(Pages):
    """Pages by number, up to the first that is empty."""

    by: Literal["number"]
    parameter: Parameter = "page"
    start: int = 1


class OffsetPages(Pages):
    """Pages by the number of rows before them, up to the first that is empty."""

    by: Literal["offset"]
    parameter: Parameter = "offset"
    start: int = 0


class CursorPages(Pages):
    """Pages that name the next one's cursor at `next`, up to the first that names none."""

    by: Literal["cursor"]
    parameter: Parameter = "cursor"
    next: Pointer


class LinkPages(Pages):
    """Pages that name the next one's URL, in their Link header or at `next`, up to the first that names none."""

    by: Literal["link"]
    next: Pointer | None = None


PagesBlock = Annotated[NumberPages | OffsetPages | CursorPages | LinkPages, Field(discriminator="by")]
