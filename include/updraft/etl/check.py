"""Check an ETL without running it: YAML, suite, and each expression on its columns' types."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from updraft.defaults import ROOT
from updraft.etl.compute import compute
from updraft.etl.definitions import ParsedEtl, files_of, parse
from updraft.etl.expression import BadExpression, parse_expression
from updraft.etl.rules import column_types
from updraft.etl.schema import Etl
from updraft.sources.rows import ARROW, is_kind
from updraft.stages.check import suite_faults, unknown_etls
from updraft.usecase import BadUseCase
from updraft.usecase.yaml_lines import Fault, Place


def check(name: str, root: Path = ROOT) -> list[Fault]:
    """Return every fault of an ETL; imports Great Expectations, which takes seconds."""
    parsed = parse(name, root)
    schedule = parsed.etl.schedule if parsed.etl else None
    return [*_faults(parsed, name, root), *unknown_etls(schedule, parsed.yaml, root)]


def _faults(parsed: ParsedEtl, name: str, root: Path) -> list[Fault]:
    """Return what is wrong with YAML and suite by themselves."""
    suite = files_of(name, root)[1]
    faults = list(parsed.faults)
    if parsed.etl and not any(fault.message.startswith("clean.derive") for fault in faults):
        faults += [parsed.yaml.fault(*error) for error in _type_errors(parsed.etl)]
    if not any(fault.file == suite and fault.message.startswith(("no such", "not a")) for fault in faults):
        faults += suite_faults(suite)
    return sorted(dict.fromkeys(faults), key=lambda fault: (fault.file == suite, fault.line or 0))


def require_valid(name: str, root: Path = ROOT) -> None:
    """Raise BadUseCase with every fault that `check` finds, so that a run stops before its first row."""
    if faults := _faults(parse(name, root), name, root):
        raise BadUseCase("\n".join(fault.format(root) for fault in faults))


def unread_files(root: Path = ROOT) -> list[Fault]:
    """List the files beside the ETLs that are not read, because of their suffix."""
    return [
        Fault(path, None, "not read: the name must end in .yaml")
        for path in sorted((root / "include" / "etl").glob("[!.]*"))
        if path.suffix != ".yaml"
    ]


def _type_errors(etl: Etl) -> Iterator[tuple[Place, str]]:
    """Compute each expression on no rows: Arrow says whether the types go together."""
    types = column_types(etl)
    read = {name: type_ for name, type_ in types.items() if name not in etl.clean.derive}
    table = pa.table({name: pa.array([], ARROW[type_]) for name, type_ in read.items()})
    for name, text in etl.clean.derive.items():
        try:
            values = compute(parse_expression(text, table.column_names), table)
        except BadExpression as error:
            yield ("clean", "derive", name), f"clean.derive.{name}: {error}"
            values = pa.chunked_array([pa.array([], ARROW[types[name]])])
        encoded = name in etl.clean.labels
        if not encoded and not is_kind(values.type, types[name]):
            yield (
                ("clean", "derive", name),
                f"clean.derive.{name}: gives {values.type}, and the column is {types[name]} in the suite",
            )
        table = table.append_column(name, values)
