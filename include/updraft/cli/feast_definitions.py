"""The text of a Feast feature repository: its settings, and the definitions of entity, view and service."""

from __future__ import annotations

from dataclasses import dataclass

from updraft.model.columns import DATE, Column, Type
from updraft.usecase import UseCase

FEAST_TYPES: dict[Type, str] = {
    "int64": "Int64", "float64": "Float64", "str": "String", "bool": "Bool", DATE: "UnixTimestamp",
}  # fmt: skip
SETTINGS_TEXT = """\
# Written once by `updraft feast {name}`, which leaves it as it is from then on: set your own stores here.
project: {name}
provider: local
registry: data/registry.db
online_store: {{type: sqlite, path: data/online_store.db}}
offline_store: {{type: file}}
entity_key_serialization_version: 3
"""
DEFINITIONS_TEXT = '''\
"""Written by `updraft feast {name}`, which writes it anew."""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import {imports}

entity = Entity(name={entity!r}, join_keys=[{entity!r}], value_type=ValueType.{entity_type})

source = FileSource(
    name={source!r},
    path={path!r},
    timestamp_field={timestamp!r},
)

view = FeatureView(
    name={view!r},
    entities=[entity],
    ttl=timedelta(0),  # no value becomes too old; with a ttl, the service gets null for older ones
    schema=[
{fields}
    ],
    source=source,
    tags={tags!r},
)

service = FeatureService(name={service!r}, features=[view])
'''


@dataclass(frozen=True)
class Keys:
    """The columns of a row by which Feast finds it: the entity, and the date of the row where there is one."""

    entity: Column
    timestamp: str | None


def definitions(
    case: UseCase, keys: Keys, columns: list[Column], timestamp: str, texts: set[str], rows: str, tags: dict[str, str]
) -> str:
    """Return the module that `feast apply` reads; dates among `texts` are exported as text to the file `rows`."""
    types = {column.name: _feast_type(column, texts) for column in (keys.entity, *columns)}
    fields = [_field(case, name, type_) for name, type_ in types.items()]
    view = (case.features and case.features.view) or case.name
    return DEFINITIONS_TEXT.format(
        name=case.name,
        imports=", ".join(sorted(set(types.values()))),
        entity=keys.entity.name,
        entity_type={"int64": "INT64", "str": "STRING"}[keys.entity.type],
        source=f"{view}_rows",
        path=rows,
        timestamp=timestamp,
        view=view,
        service=f"{view}_service",
        fields="\n".join(f"        {field}," for field in fields),
        tags=tags,
    )


def _feast_type(column: Column, texts: set[str]) -> str:
    return "String" if column.name in texts else FEAST_TYPES[column.type]


def _field(case: UseCase, name: str, type_: str) -> str:
    title = case.titles.get(name)
    return f"Field(name={name!r}, dtype={type_}{f', description={title!r}' if title else ''})"
