"""The rows of `make demo`: a file's, synthetic ones, or those that lie at the use case's source."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from updraft.airflow_client import DAG_PREFIX
from updraft.local_stack.environment import StackError, embedded
from updraft.usecase import UseCase, etl_dags, from_file


@dataclass(frozen=True)
class DemoOptions:
    """A use case, and a file of rows or the number of synthetic rows."""

    use_case: str = "vehicle_insurance"
    data: Path | None = None
    rows: int | None = None

    @property
    def dag_id(self) -> str:
        return f"{DAG_PREFIX}{self.use_case}"


def etl_of(case: UseCase) -> str | None:
    """Return the DAG of the ETL that loads the use case's rows: the first that its schedule waits for."""
    known = etl_dags()
    return next((dag_id for dag_id in case.schedule.after if dag_id in known), None) if case.schedule else None


def etl_file(case: UseCase, options: DemoOptions, settings: Mapping[str, str], console: Console) -> Path | None:
    """Return the file for the ETL, in the folder that its runs may read; None where the rows are used as they are."""
    folder = Path(settings["UPDRAFT_DATA"])
    if options.data:
        folder.mkdir(parents=True, exist_ok=True)
        file = Path(shutil.copy(options.data, folder / f"{case.name}{''.join(options.data.suffixes[-2:])}"))
    elif _synthetic_rows_allowed("MONGODB_URL", settings, console):
        file = _synthetic(case, options.rows, folder)
    else:
        return None
    if "mongod" in embedded(settings):
        _remove_rows_of_another_file(case, file, settings, console)
    return file


def _remove_rows_of_another_file(case: UseCase, file: Path, settings: Mapping[str, str], console: Console) -> None:
    """Empty the collection before the rows of another file come: a load by key leaves in it what it does not bring."""
    from updraft.addresses import from_environment
    from updraft.registry.folder_hashes import sha256
    from updraft.sources.mongodb import address_of, database
    from updraft.usecase.source_blocks import MongoDBSource

    record, current = file.with_name(f"{case.name}.sha256"), sha256(file)
    if isinstance(case.source.settings, MongoDBSource) and (not record.exists() or record.read_text() != current):
        with database(address_of(case.source.settings, from_environment({**os.environ, **settings}))) as opened:
            opened.drop_collection(case.source.settings.collection)
        console.print(f"     collection {case.source.settings.collection!r} is emptied for the rows of {file.name}")
    record.write_text(current)


def read_only_source(case: UseCase, options: DemoOptions) -> str | None:
    """Open a source that cannot be filled, before anything is started, and describe it; None when it can be filled."""
    from updraft.addresses import from_environment
    from updraft.destinations import DESTINATIONS, check_can_be_filled
    from updraft.sources import open_source

    if options.data or options.rows:
        check_can_be_filled(case)
    if case.source.kind in DESTINATIONS:
        return None
    with open_source(case, from_environment(os.environ)) as source:
        return str(source)


def fill(case: UseCase, options: DemoOptions, home: Path, settings: Mapping[str, str], console: Console) -> None:
    """Replace the rows at the use case's source with the file's, or with synthetic ones."""
    from updraft.addresses import from_environment
    from updraft.destinations import open_destination
    from updraft.sources import open_source

    connections = from_environment({**os.environ, **settings})
    with open_destination(case, connections) as destination:
        console.print(f"[bold]2[/]  Load rows into {escape(destination.name)}", soft_wrap=True)
        if not options.data and not _synthetic_rows_allowed(destination.origin, settings, console):
            return
        path = options.data or _synthetic(case, options.rows, home / "demo")
        with open_source(from_file(case, path), connections) as source, _progress(console) as bar:
            task = bar.add_task("rows", total=None)
            count = destination.load(source, lambda done, total: bar.update(task, completed=done))
        console.print(f"     {count:,} rows from {path}", highlight=False, soft_wrap=True)


def _synthetic_rows_allowed(origin: str, settings: Mapping[str, str], console: Console) -> bool:
    """Return whether synthetic rows may replace what is there: only in the stack's own database and registry."""
    own = embedded(settings)
    if origin != "MONGODB_URL" or "mongod" not in own:
        console.print(f"     {origin} leads elsewhere: its rows are used as they are; DATA=rows.csv would replace them")
        return False
    if "s3" not in own:
        raise StackError("UPDRAFT_REGISTRY leads elsewhere: no synthetic rows for its models; set DATA=rows.csv")
    return True


def _synthetic(case: UseCase, rows: int | None, folder: Path) -> Path:
    from updraft.demo.rows import generate, write

    path = folder / f"{case.name}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    return write(case, generate(case, rows, case.seed), path)


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = (TextColumn("     {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar
