"""Show in Airflow, as an import error, what is wrong in YAMLs and suites; it holds no DAG.

An import error takes all DAGs of its file for gone and ends their runs, so it is raised here and nowhere else: a use
case or an ETL whose files have faults keeps its DAG, in which runs that are under way go on with what they began with.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from updraft.defaults import ROOT
from updraft.errors import UserError
from updraft.etl import definitions as etls
from updraft.stages.check import unknown_etls, unread_files
from updraft.usecase import BadUseCase, parse, paths
from updraft.usecase.yaml_lines import Fault


def faults() -> Iterator[Fault]:
    """Yield every fault that can be found without scikit-learn and Great Expectations, whose import takes seconds."""
    for file in paths():
        yield from _readable(file, _use_case(file.stem))
    for file in etls.paths():
        yield from _readable(file, _etl(file.stem))
    yield from unread_files()


def _use_case(name: str) -> Iterator[Fault]:
    parsed = parse(name)
    yield from parsed.faults
    yield from unknown_etls(parsed.case.schedule if parsed.case else None, parsed.yaml, ROOT)


def _etl(name: str) -> Iterator[Fault]:
    parsed = etls.parse(name)
    yield from parsed.faults
    yield from unknown_etls(parsed.etl.schedule if parsed.etl else None, parsed.yaml, ROOT)


def _readable(file: Path, found: Iterator[Fault]) -> Iterator[Fault]:
    """Yield the faults; whatever else goes wrong is one, too, as it must not hide those of other files."""
    try:
        yield from found
    except Exception as error:
        yield Fault(file, None, f"{error if isinstance(error, UserError) else f'{type(error).__name__}: {error}'}")


if lines := [fault.format(ROOT) for fault in dict.fromkeys(faults())]:
    raise BadUseCase("\n".join(["`updraft check` lists these faults, too:", *lines]))
