"""The rules of the `features` block: which columns may be the key, and which a feature store may fill."""

from __future__ import annotations

from collections.abc import Iterator

from updraft.model.columns import DATE
from updraft.usecase.schema import UseCase
from updraft.usecase.yaml_lines import Place

KEYS = ("int64", "str")  # types that a key may have


def named(case: UseCase) -> Iterator[tuple[Place, str]]:
    """Yield each place of the block that names a column, and the column."""
    if block := case.features:
        yield ("features", "entity"), block.entity
        yield from ((("features", "columns", str(index)), name) for index, name in enumerate(block.columns))
        if block.timestamp:
            yield ("features", "timestamp"), block.timestamp


def cross_field_errors(case: UseCase) -> Iterator[tuple[Place, str]]:
    """Yield the place and message of each error; unknown columns are reported with those of the other blocks."""
    if not (block := case.features):
        return
    columns = {column.name: column for column in case.columns}
    entity, timestamp = columns.get(block.entity), columns.get(block.timestamp or "")
    if block.entity == case.target:
        yield ("features", "entity"), f"features.entity: column {block.entity!r} is the target: no request has it"
    elif entity and entity.type not in KEYS:
        message = f"column {entity.name!r} is {entity.type} in the suite, expected {' or '.join(KEYS)}"
        yield ("features", "entity"), f"features.entity: {message}"
    if timestamp and timestamp.type != DATE:
        message = f"column {timestamp.name!r} is {timestamp.type} in the suite, expected {DATE}"
        yield ("features", "timestamp"), f"features.timestamp: {message}"
    unused: dict[str | None, str] = {
        block.entity: "is the entity, by which the others are looked up",
        case.target: "is the target",
    }
    unused |= {case.id: "is the id, which is no feature"} | dict.fromkeys(case.ignored, "is in ignored: no feature")
    for index, name in enumerate(block.columns):
        if reason := unused.get(name) or ("is listed twice" if name in block.columns[:index] else ""):
            yield ("features", "columns", str(index)), f"features.columns: column {name!r} {reason}"
