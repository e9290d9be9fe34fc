"""The files of a compiled model: `compiled.json`, which this schema describes, with `trees.bin` or `weights.bin`.

`trees.bin`: see `nodes.py`. `weights.bin` has a linear model's weights, little-endian float64, output by output.
`baseline.bin`, which no prediction needs: see `explain.py`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

COMPILED, TREES, WEIGHTS, PARITY = "compiled.json", "trees.bin", "weights.bin", "parity.json"
BASELINE = "baseline.bin"
FILES = (COMPILED, TREES, WEIGHTS)  # those that are certified; a model has two of them
MAX_COMPILED, MAX_TREES = 64 << 20, 1 << 30  # bytes
MAX_WIDTH, MAX_OUTPUTS = 250_000, 1_000  # columns of the matrix; scores of a row
MAX_WEIGHTS = 4_000_000  # columns times scores: 32 MB of weights, or what LightGBM keeps for each column of each score
MAX_NGRAM, MAX_TERMS = 10, 1_000_000  # words of a term; terms of a column

Finite = Annotated[float, Field(allow_inf_nan=False)]
Part = Literal["number", "days", "year", "month", "day", "day_of_week"]
Step = tuple[Literal["fill", "set", "subtract", "divide", "multiply", "add", "at_least", "at_most"], Finite]
Link = Literal["identity", "exp", "expit", "softmax", "normalized_exp", "normalized_expit", "votes"]


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


class Text(_Part):
    """A text's TF-IDF: the terms, from `ngrams[0]` to `ngrams[1]` words long, and the `idf` of each.

    Each term has a column of the matrix; or, where some do not count, only those at the places `kept`.
    """

    kind: Literal["text"] = "text"
    column: Annotated[int, Field(ge=0)]
    terms: Annotated[list[str], Field(min_length=1, max_length=MAX_TERMS)]
    idf: list[Finite]
    ngrams: Annotated[
        tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1, le=MAX_NGRAM)]], Field(strict=False)
    ]
    sublinear: bool
    kept: list[Annotated[int, Field(ge=0)]] | None = None

    @property
    def width(self) -> int:
        """The columns of the matrix."""
        return len(self.terms) if self.kept is None else len(self.kept)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if len(self.terms) != len(self.idf) or len(set(self.terms)) != len(self.terms):
            raise ValueError(f"{len(set(self.terms))} different terms of {len(self.terms)} have {len(self.idf)} idf")
        if self.kept is not None and not all(a < b for a, b in pairwise([-1, *self.kept, len(self.terms)])):
            raise ValueError("the places that are kept do not ascend")
        return self


InputPart = Number | Category | Text


class Trees(_Part):
    """Trees whose nodes stand in `trees.bin`: the number of `leaves` of each.

    Each leaf has a value for each output; or, where a tree counts for one output alone, `outputs` says for which one.
    The sum of the trees' values is divided by `divisor`.
    """

    kind: Literal["trees"] = "trees"
    dtype: Literal["float32", "float64"]
    leaves: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
    outputs: list[Annotated[int, Field(ge=0)]] | None
    divisor: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1


class Linear(_Part):
    """A weighted sum for each output. With `slopes` and `offsets` it is -(slope * sum + offset), as Platt has it.

    The sums of a `sparse` matrix, most of which is 0, go from column to column; those of others are BLAS's.
    """

    kind: Literal["linear"] = "linear"
    sparse: bool = False
    intercepts: list[Finite]
    slopes: list[Finite] | None = None
    offsets: list[Finite] | None = None


class Compiled(_Part):
    """A compiled model. `classes` are, of each output, the index of its label; `complement` takes 1 minus the score."""

    format: Literal[1] = 1
    inputs: list[Annotated[InputPart, Field(discriminator="kind")]]
    model: Annotated[Trees | Linear, Field(discriminator="kind")]
    outputs: Annotated[int, Field(ge=1, le=MAX_OUTPUTS)]
    link: Link
    classes: list[Annotated[int, Field(ge=0)]] | None = None
    complement: bool = False

    @property
    def width(self) -> int:
        """The columns of the matrix."""
        return sum(width_of(part) for part in self.inputs)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if not 1 <= self.width <= min(MAX_WIDTH, MAX_WEIGHTS // self.outputs):
            most = f"expected 1 to {MAX_WIDTH:,} columns and at most {MAX_WEIGHTS:,} of all scores"
            raise ValueError(f"{self.width:,} columns for each of {self.outputs:,} scores, {most}")
        if isinstance(self.model, Linear):
            _require_outputs(self.model, self.outputs)
        elif self.model.outputs is not None and (
            len(self.model.outputs) != len(self.model.leaves) or max(self.model.outputs) >= self.outputs
        ):
            raise ValueError("the trees' outputs do not fit")
        if self.classes is not None and len(self.classes) != self.outputs:
            raise ValueError(f"{self.outputs} outputs have {len(self.classes)} classes")
        return self


class Parity(BaseModel):
    """The certificate that a compiled model answers as its pipeline does; a model of trees to the bit.

    `largest_difference` is that of two scores, divided by the score where that is larger than 1. `files` are the sha256
    of the files that it holds for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1] = 1
    rows: Annotated[int, Field(ge=1)]
    held_out: int
    one_by_one: int
    exact: bool
    largest_difference: Finite
    files: dict[str, str]


def width_of(part: InputPart) -> int:
    """Return how many columns of the matrix a part fills."""
    return 1 if isinstance(part, Number) else part.width or (0 if isinstance(part, Text) else 1)


def _require_outputs(model: Linear, outputs: int) -> None:
    platt = [len(values) for values in (model.slopes, model.offsets) if values is not None]
    if {len(model.intercepts), *platt} != {outputs} or len(platt) == 1:
        raise ValueError(f"the weights are not those of {outputs} outputs")
