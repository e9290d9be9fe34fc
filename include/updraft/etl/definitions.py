"""Load an ETL: the only reader of `include/etl/*.yaml`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from updraft.defaults import ROOT
from updraft.etl.rules import cross_field_errors
from updraft.etl.schema import DraftEtl, Etl
from updraft.usecase import BadUseCase
from updraft.usecase.load import ETL_PREFIX, hash_files, suite_columns
from updraft.usecase.messages import drop_invalid, listed, nearest, validation_messages
from updraft.usecase.schema import NAME, NAME_RULE
from updraft.usecase.source_blocks import ROOT_OF_PATHS
from updraft.usecase.yaml_lines import Document, Fault, Place, read_document


@dataclass(frozen=True)
class ParsedEtl:
    """An ETL's YAML, the faults of YAML and suite, and the ETL as far as it could be read."""

    yaml: Document
    faults: list[Fault]
    etl: Etl | None


def load(name: str, root: Path = ROOT, rows_root: Path | None = None) -> Etl:
    """Load an ETL by name; raise BadUseCase, which lists every fault of its YAML and suite.

    Relative paths of rows start at `rows_root`, without one at `root`.
    """
    parsed = parse(name, root, rows_root)
    if parsed.faults or parsed.etl is None:
        raise BadUseCase("\n".join(fault.format(root) for fault in parsed.faults))
    return parsed.etl


def parse(name: str, root: Path = ROOT, rows_root: Path | None = None) -> ParsedEtl:
    """Parse an ETL and collect its faults; raise BadUseCase when it does not exist."""
    path, suite = files_of(name, root)
    if not path.is_file():
        raise no_such_etl(name, root)
    yaml = read_document(path)
    columns, names, suite_faults = suite_columns(suite)
    faults = [*yaml.faults, *suite_faults]
    if not NAME.fullmatch(name):
        faults.append(Fault(path, None, f"{name!r} is not a name of an ETL: {NAME_RULE}"))
    if not yaml.values:
        return ParsedEtl(yaml, faults, None)
    computed = {"name": name, "suite": suite, "columns": columns, "configuration_sha256": hash_files(path, suite)}
    etl, errors = _read(yaml.values | computed, names, rows_root or root)
    reported = {fault.line for fault in yaml.faults}  # the blocks would report the same mistake once more
    in_yaml = (yaml.fault(place, message) for place, message in errors)
    faults += [fault for fault in in_yaml if fault.line is None or fault.line not in reported]
    return ParsedEtl(yaml, sorted(faults, key=lambda fault: (fault.file == suite, fault.line or 0)), etl)


def paths(root: Path = ROOT) -> list[Path]:
    """List the YAML files of all ETLs, by name."""
    return sorted((root / "include" / "etl").glob("*.yaml"))


def files_of(name: str, root: Path = ROOT) -> tuple[Path, Path]:
    """Return the paths of an ETL's YAML and of its suite."""
    return root / "include" / "etl" / f"{name}.yaml", root / "expectations" / f"{ETL_PREFIX}{name}.json"


def no_such_etl(name: str, root: Path = ROOT) -> BadUseCase:
    """Return the error for a name that no YAML has."""
    known = [path.stem for path in paths(root)]
    return BadUseCase(f"no ETL {name!r}{nearest(name, known)}; there are: {listed(known) or 'none'}")


def unreadable(name: str, root: Path = ROOT) -> Etl:
    """Return what stands for an ETL of which nothing can be read: every key at its default, no columns."""
    return DraftEtl.model_validate({"name": name, "suite": files_of(name, root)[1], "columns": ()})


def _read(raw: dict[str, Any], names: Sequence[str], root: Path) -> tuple[Etl | None, list[tuple[Place, str]]]:
    """Read the blocks; rules across blocks are also checked on a draft, in which the faulty parts are left out."""
    try:
        etl: Etl = Etl.model_validate(raw, context={ROOT_OF_PATHS: root})
        return etl, list(_across(etl, names, set()))
    except ValidationError as error:
        draft, unreliable = drop_invalid(DraftEtl, raw)
        further = _across(draft, names, unreliable) if draft else ()
        return draft, [*validation_messages(Etl, raw, error), *further]


def _across(etl: Etl, names: Sequence[str], unreliable: set[str]) -> Iterator[tuple[Place, str]]:
    """Check what depends on no `unreliable` key; without the suite's columns there is nothing to hold names against."""
    if names and not unreliable & {"raw_columns", "clean"}:
        yield from cross_field_errors(etl, names)
