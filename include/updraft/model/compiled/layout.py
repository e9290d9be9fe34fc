"""The files of a compiled model: `compiled.json`, which this schema describes, and `trees.bin`: see `nodes.py`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

COMPILED, TREES, PARITY = "compiled.json", "trees.bin", "parity.json"
MAX_COMPILED, MAX_TREES = 64 << 20, 1 << 30  # bytes
MAX_WIDTH, MAX_OUTPUTS = 100_000, 1_000  # columns of the matrix; scores of a row

Finite = Annotated[float, Field(allow_inf_nan=False)]
Part = Literal["number", "days", "year", "month", "day", "day_of_week"]
Step = tuple[Literal["fill", "set", "subtract", "divide", "multiply", "add", "at_least", "at_most"], Finite]
Link = Literal["identity", "exp", "expit", "softmax", "normalized_exp", "normalized_expit"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Number(_Part):
    """One column of the matrix: a number, or a part of a date, and the arithmetic on it. None is NaN at first."""

    kind: Literal["number"] = "number"
    column: Annotated[int, Field(ge=0)]
    part: Part = "number"
    steps: tuple[Step, ...] = Field(default=(), strict=False)


class Category(_Part):
    """A category's code: one column that holds it or, with a `width`, that many columns, 1 in the code's, 0 elsewhere.

    `values` have the codes in `codes`; None is NaN, or no column at all.
    """

    kind: Literal["category"] = "category"
    column: Annotated[int, Field(ge=0)]
    values: list[bool | int | float | str]
    codes: list[Finite | None]
    missing: Finite | None
    unknown: Finite | None
    width: Annotated[int, Field(ge=1, le=MAX_WIDTH)] | None = None

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if len(self.values) != len(self.codes):
            raise ValueError(f"{len(self.values)} values have {len(self.codes)} codes")
        codes = [code for code in (*self.codes, self.missing, self.unknown) if code is not None]
        if self.width is not None and any(code not in range(self.width) for code in codes):
            raise ValueError(f"a code is beyond the {self.width} columns")
        return self


class Trees(_Part):
    """Trees whose nodes stand in `trees.bin`: the number of `leaves` of each.

    Each leaf has a value for each output; or, where a tree counts for one output alone, `outputs` says for which one.
    The sum of the trees' values is divided by `divisor`.
    """

    kind: Literal["trees"] = "trees"
    dtype: Literal["float32", "float64"]
    leaves: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
    outputs: list[Annotated[int, Field(ge=0)]] | None
    divisor: Annotated[int, Field(ge=1)] = 1


class Linear(_Part):
    """A weighted sum for each output. With `slopes` and `offsets` it is -(slope * sum + offset), as Platt has it."""

    kind: Literal["linear"] = "linear"
    weights: list[list[Finite]]
    intercepts: list[Finite]
    slopes: list[Finite] | None = None
    offsets: list[Finite] | None = None


class Compiled(_Part):
    """A compiled model. `classes` are, of each output, the index of its label; `complement` takes 1 minus the score."""

    format: Literal[1] = 1
    inputs: list[Annotated[Number | Category, Field(discriminator="kind")]]
    model: Annotated[Trees | Linear, Field(discriminator="kind")]
    outputs: Annotated[int, Field(ge=1, le=MAX_OUTPUTS)]
    link: Link
    classes: list[Annotated[int, Field(ge=0)]] | None = None
    complement: bool = False

    @property
    def width(self) -> int:
        """The columns of the matrix."""
        return sum((part.width or 1) if isinstance(part, Category) else 1 for part in self.inputs)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if not 1 <= self.width <= MAX_WIDTH:
            raise ValueError(f"{self.width} columns, expected 1 to {MAX_WIDTH}")
        if isinstance(self.model, Linear):
            _require_weights(self.model, self.width, self.outputs)
        elif self.model.outputs is not None and (
            len(self.model.outputs) != len(self.model.leaves) or max(self.model.outputs) >= self.outputs
        ):
            raise ValueError("the trees' outputs do not fit")
        if self.classes is not None and len(self.classes) != self.outputs:
            raise ValueError(f"{self.outputs} outputs have {len(self.classes)} classes")
        return self


class Parity(BaseModel):
    """The certificate that a compiled model answers as its pipeline does; a model of trees to the bit.

    `files` are the sha256 of the files that it holds for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1] = 1
    rows: Annotated[int, Field(ge=1)]
    held_out: int
    one_by_one: int
    exact: bool
    largest_difference: Finite
    files: dict[str, str]


def _require_weights(model: Linear, width: int, outputs: int) -> None:
    platt = [len(values) for values in (model.slopes, model.offsets) if values is not None]
    if {len(model.weights), len(model.intercepts), *platt} != {outputs} or len(platt) == 1:
        raise ValueError(f"the weights are not those of {outputs} outputs")
    if any(len(weights) != width for weights in model.weights):
        raise ValueError(f"the weights are not those of {width} columns")
