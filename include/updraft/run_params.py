"""The parameters of one run, which override the use case's YAML. The service and the first task validate them alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from updraft.model.columns import quoted
from updraft.model.signature import MAX_ERRORS, MAX_KEY_LENGTH, BadRow, escape_pointer

Promote = Literal["auto", "canary", "shadow", "approve", "never"]  # from the least strict to the strictest
# JSON does not distinguish 1 from 1.0.
Whole = Annotated[int, BeforeValidator(lambda v: int(v) if isinstance(v, float) and v.is_integer() else v)]


class RunParams(BaseModel):
    """The parameters of a run; None keeps the YAML's value. The bound of `limit` is MongoDB's.

    `read_all` reads all rows again, of a source of which a run otherwise reads those since the last dataset.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    limit: Annotated[Whole, Field(ge=1, lt=2**31)] | None = None
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] | None = None
    promote: Promote | None = None
    read_all: bool | None = None

    @classmethod
    def read(cls, value: object) -> Self:
        """Parse a request's body; BadRow lists every fault with its JSON Pointer."""
        if not isinstance(value, dict):
            raise BadRow([{"pointer": "", "detail": f"expected an object, found {quoted(value)}"}])
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            faults = [_format(cls, fault) for fault in error.errors(include_url=False)[:MAX_ERRORS]]
        raise BadRow(faults)


def as_strict(promote: Promote) -> tuple[Promote, ...]:
    """Return the values of `promote` that a run may have where the YAML says `promote`: this, and stricter ones."""
    order: tuple[Promote, ...] = get_args(Promote)
    return order[order.index(promote) :]


def _format(model: type[BaseModel], fault: Mapping[str, Any]) -> dict[str, str]:
    name = str(fault["loc"][0])
    pointer = f"/{escape_pointer(name)}"
    if fault["type"] == "extra_forbidden":
        known = f"known: {', '.join(model.model_fields)}"
        if len(name) > MAX_KEY_LENGTH:  # too long to repeat in a response
            return {"pointer": "", "detail": f"unknown key {quoted(name)}; {known}"}
        return {"pointer": pointer, "detail": f"unknown key; {known}"}
    message = fault["msg"].replace("Input should be ", "expected ", 1).replace("a valid integer", "a whole number", 1)
    return {"pointer": pointer, "detail": f"{message}, found {quoted(fault['input'])}"}
