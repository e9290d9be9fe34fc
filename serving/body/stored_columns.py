"""Rows that leave out columns which a feature store has: what to ask it for, one call for all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from updraft.model.columns import quoted
from updraft.model.feature_store import FeatureStore
from updraft.model.reading import Reading, read_value
from updraft.model.signature import MAX_ERRORS, BadRow, FieldError, MakePointer, Rows, Signature, key_missing

Key = int | str
Found = Mapping[Key, Mapping[str, Any]]  # the values of each key that the store knows
# Asks the store of a signature for columns by keys; raises HTTPException where it does not answer.
Ask = Callable[[Signature, FeatureStore, Sequence[Key], Sequence[str]], Found]


def check(
    rows: Iterable[Any],
    signature: Signature,
    ask: Ask | None,
    pointer: MakePointer,
    *,
    textual: bool = False,
    plain: bool = False,
) -> Rows:
    """Check rows as `Signature.check` does, with the values of the feature store for columns that they leave out."""
    if signature.store is None or ask is None:
        return signature.check(rows, pointer, textual=textual, plain=plain)
    rows = list(rows)
    reading = Reading() if plain else signature.reading
    stored = _look_up(rows, signature, signature.store, ask, pointer, reading, textual=textual)
    return signature.check(rows, pointer, textual=textual, plain=plain, stored=stored)


def _look_up(
    rows: Sequence[Any],
    signature: Signature,
    store: FeatureStore,
    ask: Ask,
    pointer: MakePointer,
    reading: Reading,
    *,
    textual: bool,
) -> dict[int, Mapping[str, Any]]:
    """Return the values that rows lack, by the row's index. Raises BadRow for a key that is missing or unknown."""
    lacking: dict[int, tuple[Key, tuple[str, ...]]] = {}
    errors: list[FieldError] = []
    for index, row in enumerate(rows):
        absent = _absent(row, signature, store)
        if not absent or len(errors) >= MAX_ERRORS:
            continue
        try:
            lacking[index] = _key(row, signature, store, absent, reading, textual=textual), absent
        except ValueError as error:
            errors.append({"pointer": pointer(index, _key_name(row, signature, store)), "detail": str(error)})
    if errors:
        raise BadRow(errors)
    if not lacking:
        return {}
    keys = list(dict.fromkeys(key for key, _ in lacking.values()))
    wanted = {name for _, absent in lacking.values() for name in absent}
    found = ask(signature, store, keys, [name for name in store.columns if name in wanted])
    for index, (key, absent) in lacking.items():
        if key not in found and len(errors) < MAX_ERRORS:
            detail = f"{quoted(key)} is unknown to the feature store, which was asked for {', '.join(absent)}"
            errors.append({"pointer": pointer(index, _key_name(rows[index], signature, store)), "detail": detail})
    if errors:
        raise BadRow(errors)
    return {index: {name: found[key][name] for name in absent} for index, (key, absent) in lacking.items()}


def _absent(row: Any, signature: Signature, store: FeatureStore) -> tuple[str, ...]:
    """Return the columns of the store that a row leaves out; what is no row is left to the signature's check."""
    if not isinstance(row, dict):
        return ()
    layout = signature.layout(row)
    keys = dict(zip(signature.names, layout.columns, strict=True))
    return tuple(name for name in store.columns if keys.get(name, "") is None)


def _key(
    row: dict[str, Any],
    signature: Signature,
    store: FeatureStore,
    absent: Sequence[str],
    reading: Reading,
    *,
    textual: bool,
) -> Key:
    """Return the value by which the store is asked, in its type. Raises ValueError where there is none."""
    name = signature.layout(row).entity
    value = None if name is None else read_value(store.entity, row[name], reading, textual=textual, iso_dates=True)
    if value is None:
        raise ValueError(key_missing(absent))
    if not isinstance(value, (int, str)):
        raise ValueError(f"{quoted(value)} is no key of the feature store")
    return value


def _key_name(row: dict[str, Any], signature: Signature, store: FeatureStore) -> str:
    return signature.layout(row).entity or store.entity.name
