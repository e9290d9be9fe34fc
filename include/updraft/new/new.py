"""`updraft new`: from a file of rows to a use case's two files, with notes on what a person should check."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from updraft.addresses import Connections, from_environment
from updraft.defaults import ROOT
from updraft.errors import UserError
from updraft.model.columns import DATE
from updraft.model.number_format import format_number
from updraft.model.signature import Task
from updraft.new.column_roles import assign_roles, guess_target
from updraft.new.column_types import ColumnProfile, profile_column
from updraft.new.draft import Draft
from updraft.new.guess_suite import outlier
from updraft.new.null_markers import find_null_markers, reason_of, without_markers
from updraft.new.open_sample import open_sample
from updraft.new.read_file import FileSample, Header, read_sample
from updraft.new.suite_json import suite_text
from updraft.new.target_leaks import find_leaks
from updraft.new.usecase_yaml import yaml_text
from updraft.usecase import UseCase, load
from updraft.usecase.blocks import Reading
from updraft.usecase.messages import listed, nearest
from updraft.usecase.schema import NAME, NAME_RULE

MIN_ROWS = 30  # with fewer, a fifth for the test leaves six rows or less
FEW_ROWS = 200  # with fewer, the test has fewer than 40: a metric moves by percents with each row
MAX_QUARANTINED = 0.2  # more means that the guesses are wrong, not the rows
MIN_DUPLICATES = 0.005  # fewer change no metric noticeably
UNSUPPORTED = "mixed or nested values, or true and false with nulls, which no type of a suite can hold"


class CannotCreate(UserError):
    """`updraft new` cannot write a use case: its name is taken, or nothing can be learned from the file."""


@dataclass(frozen=True)
class NewUseCase:
    """The two files that were written, and the draft that they come from."""

    usecase: Path
    suite: Path
    draft: Draft


def new(
    name: str,
    data: Path | str,
    target: str,
    task: Task | None = None,
    *,
    header: Header | None = None,
    force: bool = False,
    root: Path = ROOT,
    connections: Connections | None = None,
) -> NewUseCase:
    """Profile rows, of what `open_sample` knows, and write `include/usecases/NAME.yaml` and `expectations/NAME.json`.

    Raises CannotCreate when one exists already (unless `force`), or when nothing can be learned of the target.
    """
    if not NAME.fullmatch(name):
        raise CannotCreate(f"{name!r} is not a name of a use case: {NAME_RULE}")
    files = root / "include" / "usecases" / f"{name}.yaml", root / "expectations" / f"{name}.json"
    if not force and (existing := [file for file in files if file.exists()]):
        raise CannotCreate(f"{listed(file.relative_to(root) for file in existing)}: already there; --force overwrites")
    with open_sample(str(data), connections or from_environment(os.environ)) as place:
        sample = read_sample(place.file, target, header)
        sample = replace(sample, source=place.source, notes=[*place.notes, *sample.notes])
        draft = _draft(name, sample, target, task)
        _count_quarantined(draft)
    texts = yaml_text(draft), suite_text(draft)
    with _written(name, *texts):  # raises if the files do not load, before anything is written
        pass
    _write(files[1], texts[1])
    _write(files[0], texts[0])
    return NewUseCase(files[0], files[1], draft)


def _draft(name: str, sample: FileSample, target: str, task: Task | None) -> Draft:
    data, sample = sample.file.name, _with_nulls(sample, target)
    rename = _rename([str(name) for name in sample.frame])
    columns: list[ColumnProfile] = []
    notes = list(sample.notes)
    for theirs in map(str, sample.frame):
        ours = rename.get(theirs, theirs)
        if column := profile_column(ours, sample.frame[theirs], sample.textual):
            columns.append(column)
        else:
            empty = sample.frame[theirs].isna().all()
            notes.append(f"{ours}: {'empty' if empty else UNSUPPORTED}: left out.")
    target = rename.get(target, target)
    if target not in [column.name for column in columns]:
        known = [column.name for column in columns]
        raise CannotCreate(
            f"{data}: no column {target!r} with values{nearest(target, known)}; there are: {listed(known)}"
        )
    assign_roles(columns, target)
    try:
        spec = guess_target(next(column for column in columns if column.name == target), task)
    except ValueError as error:
        raise CannotCreate(f"{data}: the target {error}") from None
    draft = Draft(name, sample, columns, spec, rename, task is not None, notes)
    _add_notes(draft)
    return draft


def _with_nulls(sample: FileSample, target: str) -> FileSample:
    """Return a sample in which texts that stand for missing values are null, and the setting that reads them so."""
    markers = find_null_markers(sample.frame, sample.textual, target)
    if not markers:
        return sample
    reason = reason_of(markers, sample.frame)
    return replace(
        sample,
        frame=without_markers(sample.frame, markers),
        reading=Reading(**sample.reading.model_dump(exclude_unset=True), nulls=tuple(markers)),
        reasons=sample.reasons | {"nulls": reason},
        notes=[*sample.notes, f"read: nulls: {reason}."],
    )


def _rename(names: list[str]) -> dict[str, str]:
    """Return new names for those that MongoDB would read as paths, operators or its own fields."""
    rename: dict[str, str] = {}
    for name in names:
        if name.startswith("_") or set(name) & set(".$"):
            ours = name.replace(".", "_").replace("$", "").lstrip("_") or "column"
            taken = {*names, *rename.values()}
            numbered = (f"{ours}_{number}" for number in count(2))
            rename[name] = ours if ours not in taken else next(free for free in numbered if free not in taken)
    return rename


def _add_notes(draft: Draft) -> None:
    """Note what a person should check, most important first; leave out columns that leak the target."""
    rows, target = len(draft.sample.frame), draft.target
    missing = int(target.values.isna().sum())
    if missing:
        draft.notes.insert(0, f"{target.name}: {missing:,} rows have no value and are left out.")
    for column, evidence, certain in find_leaks(draft.columns, target, draft.spec):
        draft.notes.append(f"{column.name}: {evidence}{': left out.' if certain else ''}")
        if certain:
            column.role, column.why = "ignored", evidence
    draft.notes += [f"{target.name}: {note}" for note in draft.spec.notes]
    draft.notes += [f"{column.name}: {note}" for column in draft.columns for note in column.notes]
    for column in draft.columns:
        if column.nulls > 0.5:
            draft.notes.append(f"{column.name}: {column.nulls:.0%} of the values are missing.")
    if extremes := {column.name: extreme for column in draft.columns if (extreme := outlier(column))}:
        worst = sorted(extremes, key=lambda name: -_distance(*extremes[name]))[:5]
        some = ("{} {} (98 % lie from {} to {})".format(name, *map(format_number, extremes[name])) for name in worst)
        draft.notes.append(f"outliers: {listed(some)}. The suite only warns of such values.")
    if dates := [column.name for column in draft.of("feature") if column.type == DATE]:
        draft.notes.append(
            f"{listed(dates)}: dates. "
            f"Should the newest rows be the test rows? Then set `split: {{by: time, column: {dates[0]}}}`."
        )
    if (repeated := draft.duplicates) > MIN_DUPLICATES:
        draft.notes.append(f"{repeated:.1%} of the rows repeat another one; `deduplicate: true` keeps one of each.")
    if rows < FEW_ROWS:
        draft.notes.append(
            f"{rows} rows are few: metrics of a fifth of them are unreliable; {FEW_ROWS} or more are better."
        )
    if not any(column.role in ("feature", "categorical", "text") for column in draft.columns):
        raise CannotCreate(
            f"{draft.sample.file.name}: no column is left to learn {target.name!r} from: " + "; ".join(draft.notes)
        )
    if rows < MIN_ROWS:
        raise CannotCreate(
            f"{draft.sample.file.name}: {rows} rows are too few, expected {MIN_ROWS} or, better, {FEW_ROWS} and more"
        )


def _distance(value: float, start: float, end: float) -> float:
    return max(start - value, value - end) / (end - start or 1e-9)


def _count_quarantined(draft: Draft) -> None:
    """Read the file as the draft says, and note the share of rows that are quarantined, for the budget."""
    from updraft.sources.file_reader import FileReader

    with _written(draft.name, yaml_text(draft), suite_text(draft)) as case:
        accepted, reasons = 0, Counter[str]()
        for batch in FileReader(draft.sample.file, case, None).batches():
            accepted += batch.table.num_rows
            reasons.update(reject.reason.partition(":")[0] for reject in batch.rejects)
    quarantined = sum(reasons.values())
    total = accepted + quarantined
    draft.quarantined_share = quarantined / max(total, 1)
    worst = listed(f"{reason} ({count:,})" for reason, count in reasons.most_common(3))
    if not accepted:
        raise CannotCreate(f"{draft.sample.file.name}: no row fits the guesses, because of {worst}")
    if draft.quarantined_share > MAX_QUARANTINED:
        counts = f"{quarantined:,} of {total:,} rows would be quarantined"
        raise CannotCreate(f"{draft.sample.file.name}: {counts}, because of {worst}")
    if quarantined:
        draft.notes.insert(0, f"{quarantined:,} of {total:,} rows will be quarantined, because of {worst}.")


@contextmanager
def _written(name: str, usecase: str, suite: str) -> Iterator[UseCase]:
    """Load the use case from its two files in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for place, text in ((f"include/usecases/{name}.yaml", usecase), (f"expectations/{name}.json", suite)):
            (root / place).parent.mkdir(parents=True)
            (root / place).write_text(text, encoding="utf-8")
        yield load(name, root)


def _write(path: Path, text: str) -> None:
    """Write a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
