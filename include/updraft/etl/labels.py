"""The keys of `labels`, as the texts that the values of a column are compared by."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from updraft.model.columns import Value, quoted


def texts_of_labels(labels: Mapping[Value, Value], type_: pa.DataType) -> dict[str, Value]:
    """Return the values by the texts that Arrow writes for the keys in a column of this type.

    Raises ValueError for a key that no value of the column can be.
    """
    return {_text(key, type_): value for key, value in labels.items()}


def _text(key: Value, type_: pa.DataType) -> str:
    if pa.types.is_string(type_):
        if isinstance(key, bool):
            raise ValueError(f"{str(key).lower()} is no text: put it in quotes, written as the column has it")
        return str(key)
    if isinstance(key, bool) != pa.types.is_boolean(type_) and not isinstance(key, str):
        key = str(key)  # Arrow would take any number but 0 for true, and true for 1
    try:
        text: str = pc.cast(pa.scalar(key).cast(type_), pa.string()).as_py()
    except (pa.ArrowException, OverflowError):
        raise ValueError(f"{quoted(key)} is no {type_}") from None
    return text
