"""Check an ETL without running it: YAML, suite, and each expression on its columns' types."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from updraft.defaults import ROOT
from updraft.etl.compute import compute
from updraft.etl.definitions import ParsedEtl, files_of, parse
from updraft.etl.expression import BadExpression, parse_expression
from updraft.etl.labels import texts_of_labels
from updraft.etl.rules import column_types
from updraft.etl.schema import Etl
from updraft.model.columns import Type
from updraft.sources.rows import ARROW, is_kind
from updraft.sources.source import CONTENT, KEY
from updraft.stages.check import suite_faults, unknown_etls
from updraft.usecase import BadUseCase
from updraft.usecase.load_blocks import LoadBlock
from updraft.usecase.yaml_lines import Fault, Place

RESERVED = {"mongodb": {"_id", CONTENT}, "sql": {KEY, CONTENT}, "dynamodb": {KEY, CONTENT}}  # by kind of store


def check(name: str, root: Path = ROOT) -> list[Fault]:
    """Return every fault of an ETL; imports Great Expectations, which takes seconds."""
    parsed = parse(name, root)
    schedule = parsed.etl.schedule if parsed.etl else None
    return [*_faults(parsed, name, root), *unknown_etls(schedule, parsed.yaml, root)]


def _faults(parsed: ParsedEtl, name: str, root: Path) -> list[Fault]:
    """Return what is wrong with YAML and suite by themselves."""
    suite = files_of(name, root)[1]
    faults = list(parsed.faults)
    if parsed.etl:
        faults += [parsed.yaml.fault(*error) for error in (*_type_errors(parsed.etl), *_reserved_names(parsed.etl))]
    if not any(fault.file == suite and fault.message.startswith(("no such", "not a")) for fault in faults):
        faults += suite_faults(suite)
    return sorted(dict.fromkeys(faults), key=lambda fault: (fault.file == suite, fault.line or 0))


def require_valid(name: str, root: Path = ROOT) -> None:
    """Raise BadUseCase with every fault that `check` finds, so that a run stops before its first row."""
    if faults := _faults(parse(name, root), name, root):
        raise BadUseCase("\n".join(fault.format(root) for fault in faults))


def _reserved_names(etl: Etl) -> Iterator[tuple[Place, str]]:
    """Find columns that a store would overwrite with what it writes beside each row."""
    for number, block in enumerate(etl.load):
        if not isinstance(block, LoadBlock):  # as a draft has what is faulty
            continue
        taken = RESERVED.get(block.kind, set()) - {etl.id if etl.id == "_id" else None}
        for column in etl.columns:
            if column.name in taken:
                message = f"load.{number}.{block.kind}: keeps the name {column.name!r} for itself; rename the column"
                yield ("load", str(number)), message


def _type_errors(etl: Etl) -> Iterator[tuple[Place, str]]:
    """Compute each expression on no rows: Arrow says whether the types go together, and with the keys of labels."""
    types = column_types(etl)  # without the suite's, where it has faults
    read = {name: type_ for name, type_ in types.items() if name not in etl.clean.derive}
    table = pa.table({name: pa.array([], ARROW[type_]) for name, type_ in read.items()})
    for name, text in etl.clean.derive.items():
        values = yield from _derived(etl, name, text, table, types)
        if values is not None:
            table = table.append_column(name, values)
    for name in etl.clean.labels:
        if name in table.column_names:
            yield from _label_errors(etl, name, table.schema.field(name).type)


def _derived(
    etl: Etl, name: str, text: str, table: pa.Table, types: Mapping[str, Type]
) -> Generator[tuple[Place, str], None, pa.ChunkedArray | None]:
    """Return the column on no rows: as computed, else as the suite has it; None where neither says its type."""
    place = ("clean", "derive", name)
    expected = types.get(name) if name not in etl.clean.labels else None
    declared = None if expected is None else pa.chunked_array([pa.array([], ARROW[expected])])
    try:
        expression = parse_expression(text, table.column_names)
        if not set(expression.names) <= set(table.column_names):
            return declared
        values = compute(expression, table)
    except BadExpression as error:
        yield place, f"clean.derive.{name}: {error}"
        return declared
    if expected is not None and not is_kind(values.type, expected):
        yield place, f"clean.derive.{name}: gives {values.type}, and the column is {expected} in the suite"
    return values


def _label_errors(etl: Etl, name: str, type_: pa.DataType) -> Iterator[tuple[Place, str]]:
    """Say which key of a column's labels is no value of it."""
    try:
        texts_of_labels(etl.clean.labels[name], type_)
    except ValueError as error:
        is_read = name not in etl.clean.derive and not pa.types.is_string(type_)
        hint = f", as the column is read: needs raw_columns: {{{name}: str}}" if is_read else ""
        yield ("clean", "labels", name), f"clean.labels.{name}: {error}{hint}"
