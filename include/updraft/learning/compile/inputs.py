"""From a fitted ColumnTransformer to the inputs of a compiled model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import pandas as pd

from updraft.learning.compile.errors import NotCompiled
from updraft.learning.compile.text import compile_text
from updraft.model.columns import DATE, NO_NULL, Type
from updraft.model.compiled.layout import Category, InputPart, Number, Part, Step
from updraft.model.signature import Signature

UNKNOWN = "\ue000 unknown"  # a text that no row has: it holds a character of private use
DATE_PARTS = get_args(Part)[1:]


def compile_inputs(columns: Any, signature: Signature) -> list[InputPart]:
    """Read the look-ups and the arithmetic off the fitted steps. Raises NotCompiled."""
    inputs: list[InputPart] = []
    for name, step, names in columns.transformers_:
        if isinstance(step, str) and step == "drop":
            continue
        if name == "categories":
            inputs += _categories(step, list(names), signature)
        elif name in ("numbers", "dates"):
            inputs += _numbers(step, list(names), signature, dates=name == "dates")
        else:
            inputs.append(compile_text(step.named_steps["tfidfvectorizer"], signature.names.index(names)))
    return inputs


def _categories(encoder: Any, names: list[str], signature: Signature) -> Iterator[Category]:
    types = {column.name: column.type for column in signature.columns}
    for place, name in enumerate(names):
        if types[name] == DATE:
            raise NotCompiled(f"{name!r} is a date that counts as a category")
        values = [value for value in encoder.categories_[place].tolist() if not _is_missing(value)]
        strange = [None, _unknown(types[name], values)]
        codes, width = _codes(encoder, place, [*values, *strange], [types[each] for each in names])
        yield Category(
            column=signature.names.index(name),
            values=values,
            codes=codes[:-2],
            missing=codes[-2],
            unknown=codes[-1],
            width=width,
        )


def _codes(encoder: Any, place: int, values: list[Any], types: list[Type]) -> tuple[list[float | None], int | None]:
    """Encode values of one column by the encoder itself: what it answers is the look-up, whatever its settings."""
    frame = {}
    for number, (name, type_) in enumerate(zip(encoder.feature_names_in_, types, strict=True)):
        column = values if number == place else [encoder.categories_[number][0]] * len(values)
        if type_ in NO_NULL:  # such a column has no missing value to encode
            column = [column[0] if value is None else value for value in column]
        frame[name] = (
            pd.array([None if _is_missing(value) else value for value in column], dtype="str")
            if type_ == "str"
            else np.array(column, dtype=type_)
        )
    encoded = encoder.transform(pd.DataFrame(frame))
    if type(encoder).__name__ == "OrdinalEncoder":
        return [None if code != code else float(code) for code in encoded[:, place].tolist()], None
    widths = [len(categories) for categories in encoder.categories_]
    dense = encoded if isinstance(encoded, np.ndarray) else encoded.toarray()
    if dense.shape[1] != sum(widths):
        raise NotCompiled("its one-hot encoder shares or drops columns")
    own = dense[:, sum(widths[:place]) : sum(widths[: place + 1])]
    return [float(row.argmax()) if row.any() else None for row in own], widths[place]


def _unknown(type_: Type, values: list[Any]) -> Any:
    """Return a value of a type that is none of these; of two booleans there is none."""
    if type_ == "str":
        return UNKNOWN
    if type_ == "bool":
        return next((value for value in (False, True) if value not in values), True)
    return next(number for number in range(len(values) + 1) if number not in values)


def _numbers(steps: Any, names: list[str], signature: Signature, *, dates: bool) -> Iterator[Number]:
    parts: tuple[Part, ...] = DATE_PARTS if dates else ("number",)
    places = [(name, part) for name in names for part in parts]
    arithmetic: list[list[Step]] = [[] for _ in places]
    for step in list(steps.named_steps.values())[1:]:
        for found, place in zip(arithmetic, range(len(places)), strict=True):
            found += _arithmetic(step, place)
    for (name, part), found in zip(places, arithmetic, strict=True):
        yield Number(column=signature.names.index(name), part=part, steps=tuple(found))


def _arithmetic(step: Any, place: int) -> list[Step]:
    kind = type(step).__name__
    if kind == "FillEmpty":
        return [("set", 0.0)] if step.empty_[place] else []
    if kind == "SimpleImputer":
        return [("fill", float(step.statistics_[place]))]
    if kind == "StandardScaler":
        return [("subtract", float(step.mean_[place])), ("divide", float(step.scale_[place]))]
    if kind == "MinMaxScaler":
        low, high = map(float, step.feature_range)
        scaled: list[Step] = [("multiply", float(step.scale_[place])), ("add", float(step.min_[place]))]
        return [*scaled, ("at_least", low), ("at_most", high)]
    if kind == "KNNImputer":
        raise NotCompiled("`impute: {by: knn}` compares each row with those of the training")
    raise NotCompiled(f"there is no compiled form of {kind}")


def _is_missing(value: Any) -> bool:
    return value is None or value != value
