"""Load a use case: the only reader of `include/usecases/*.yaml`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from updraft.defaults import ROOT
from updraft.model.columns import Column
from updraft.model.suite import BadColumns, read_columns
from updraft.run_params import RunParams, as_strict
from updraft.usecase.messages import drop_invalid, listed, nearest, validation_messages
from updraft.usecase.rows_definition import RowsDefinition
from updraft.usecase.rules import cross_field_errors
from updraft.usecase.schema import NAME, NAME_RULE, BadUseCase, Draft, UseCase
from updraft.usecase.source_blocks import ROOT_OF_PATHS, FileSource, SourceBlock
from updraft.usecase.yaml_lines import Document, Fault, Place, line_in_suite, read_document

ETL_PREFIX = "etl_"  # of a DAG's id, a suite's name and a folder of runs; the rest is the ETL's name
MONITOR_PREFIX = "monitor_"  # of a DAG's id and a folder of runs; the rest is the use case's name
D = TypeVar("D", bound=RowsDefinition)


@dataclass(frozen=True)
class ParsedUseCase:
    """A use case's YAML, the faults of YAML and suite, and the use case as far as it could be read."""

    yaml: Document
    faults: list[Fault]
    case: UseCase | None


def load(name: str, root: Path = ROOT, rows_root: Path | None = None) -> UseCase:
    """Load a use case by name; raise BadUseCase, which lists every fault of its YAML and suite.

    Relative paths of rows start at `rows_root`, without one at `root`.
    """
    parsed = parse(name, root, rows_root)
    if parsed.faults or parsed.case is None:
        raise BadUseCase("\n".join(fault.format(root) for fault in parsed.faults))
    return parsed.case


def check_params(values: dict[str, Any]) -> RunParams:
    """Validate a run's parameters; raise BadUseCase, which lists the invalid ones."""
    try:
        return RunParams.model_validate(values)
    except ValidationError as error:
        faults = (message for _, message in validation_messages(RunParams, values, error))
        raise BadUseCase("; ".join(f"run parameter {fault}" for fault in faults)) from None


def with_params(case: UseCase, params: RunParams) -> UseCase:
    """Return the use case with a run's parameters in place of the YAML's values.

    Raises BadUseCase where a run would promote by a laxer rule than the YAML's.
    """
    if params.promote is not None and params.promote not in (allowed := as_strict(case.promote)):
        raise BadUseCase(
            f"run parameter promote: {params.promote!r} is not as strict as the YAML's {case.promote!r}; "
            f"there are: {listed(allowed)}"
        )
    changes = {name: value for name, value in (("seed", params.seed), ("promote", params.promote)) if value is not None}
    return case.model_copy(update=changes)


def from_file(case: D, file: Path | str) -> D:
    """Return the use case, or the ETL, with a file as its source, a folder, a pattern or a URI."""
    return case.model_copy(update={"source": SourceBlock(file=file_source(file))})


def file_source(path: Path | str) -> FileSource:
    """Return the source block of files; raise BadUseCase where no file can lie there."""
    try:
        return FileSource(path=str(path))
    except ValidationError as error:
        raise BadUseCase(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def parse(name: str, root: Path = ROOT, rows_root: Path | None = None) -> ParsedUseCase:
    """Parse a use case and collect its faults; raise BadUseCase when it does not exist."""
    path, suite = files_of(name, root)
    if not path.is_file():
        raise no_such_use_case(name, root)
    yaml = read_document(path)
    columns, names, suite_faults = suite_columns(suite)
    faults = [*yaml.faults, *suite_faults]
    if not NAME.fullmatch(name):
        faults.append(Fault(path, None, f"{name!r} is not a name of a use case: {NAME_RULE}"))
    if name.startswith(ETL_PREFIX):
        faults.append(Fault(path, None, f"{name!r}: names that begin with {ETL_PREFIX} are those of ETLs"))
    if name.startswith(MONITOR_PREFIX):
        faults.append(Fault(path, None, f"{name!r}: names that begin with {MONITOR_PREFIX} are those of monitors"))
    if not yaml.values:
        return ParsedUseCase(yaml, faults, None)
    values, replaced = _without_replaced_keys(yaml.values)
    computed = {"name": name, "suite": suite, "columns": columns, "configuration_sha256": hash_files(path, suite)}
    case, errors = _read(values | computed, names, rows_root or root)
    reported = {fault.line for fault in yaml.faults}  # the blocks would report the same mistake once more
    in_yaml = (yaml.fault(place, message) for place, message in [*replaced, *errors])
    faults += [fault for fault in in_yaml if fault.line is None or fault.line not in reported]
    return ParsedUseCase(yaml, sorted(faults, key=lambda fault: (fault.file == suite, fault.line or 0)), case)


def paths(root: Path = ROOT) -> list[Path]:
    """List the YAML files of all use cases, by name."""
    return sorted((root / "include" / "usecases").glob("*.yaml"))


def etl_dags(root: Path = ROOT) -> list[str]:
    """List the ids of the DAGs of all ETLs: `etl_` and the names of the YAML files in include/etl."""
    return [f"{ETL_PREFIX}{path.stem}" for path in sorted((root / "include" / "etl").glob("*.yaml"))]


def files_of(name: str, root: Path = ROOT) -> tuple[Path, Path]:
    """Return the paths of a use case's YAML and of its suite."""
    return root / "include" / "usecases" / f"{name}.yaml", root / "expectations" / f"{name}.json"


def no_such_use_case(name: str, root: Path = ROOT) -> BadUseCase:
    """Return the error for a name that no YAML has."""
    known = [path.stem for path in paths(root)]
    return BadUseCase(f"no use case {name!r}{nearest(name, known)}; there are: {listed(known) or 'none'}")


def unreadable(name: str, root: Path = ROOT) -> UseCase:
    """Return what stands for a use case of which nothing can be read: every key at its default, no columns."""
    return Draft.model_validate({"name": name, "suite": files_of(name, root)[1], "columns": ()})


def hash_files(*files: Path) -> str:
    """Hash files by content; one that is missing counts as empty."""
    digests = [hashlib.sha256(file.read_bytes() if file.is_file() else b"").hexdigest() for file in files]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _without_replaced_keys(values: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[Place, str]]]:
    """Remove the keys of earlier versions; return what is left, and a message that names each key's replacement."""
    if "collection" not in values:
        return values, []
    message = f"collection: is now source: {{mongodb: {{collection: {values['collection']}}}}}"
    placeholder = {"source": {"mongodb": {"collection": "-"}}}  # so that `source` is not reported as missing
    return placeholder | {key: value for key, value in values.items() if key != "collection"}, [
        (("collection",), message)
    ]


def _read(raw: dict[str, Any], names: Sequence[str], root: Path) -> tuple[UseCase | None, list[tuple[Place, str]]]:
    """Read the blocks; rules across blocks are also checked on a draft, in which the faulty parts are left out."""
    try:
        case: UseCase = UseCase.model_validate(raw, context={ROOT_OF_PATHS: root})
        return case, list(cross_field_errors(case, names, set()))
    except ValidationError as error:
        draft, unreliable = drop_invalid(Draft, raw)
        further = cross_field_errors(draft, names, unreliable) if draft else ()
        return draft, [*validation_messages(UseCase, raw, error), *further]


def suite_columns(suite: Path) -> tuple[list[Column], Sequence[str], list[Fault]]:
    """Read the suite's columns and their names; only the names if the suite has faults."""
    try:
        columns = read_columns(suite)
        return columns, [column.name for column in columns], []
    except BadColumns as error:
        return (
            [],
            error.names,
            [Fault(suite, line_in_suite(suite, name, message), message) for name, message in error.faults],
        )
