"""`updraft new`: out of a file, a use case's two files, and what a person should check in them."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from updraft.defaults import ROOT
from updraft.errors import UserError
from updraft.model.columns import DATE
from updraft.model.signature import Task
from updraft.new.column_roles import duplicates, give_roles, goal
from updraft.new.column_types import Seen, seen
from updraft.new.guess_suite import strays
from updraft.new.read_file import snapshot
from updraft.new.render import Draft, suite_text, yaml_text
from updraft.new.target_leaks import find_leaks
from updraft.usecase import UseCase, load
from updraft.usecase.messages import listed, nearest
from updraft.usecase.schema import NAME, NAME_RULE

SMALL, LEAST = 200, 30
MOST_ASIDE = 0.2
UNFIT = "mixed or nested values, or true and false with nulls, which no type of a suite holds"


class CannotCreate(UserError):
    """`updraft new` writes nothing: a name that is taken, a target that is not there, a file with nothing in it."""


@dataclass(frozen=True)
class NewUseCase:
    """The two files, and the draft that they were made of."""

    usecase: Path
    suite: Path
    draft: Draft


def new(
    name: str, data: Path, target: str, task: Task | None = None, *, force: bool = False, root: Path = ROOT
) -> NewUseCase:
    """Profile a file and write `include/usecases/NAME.yaml` and `expectations/NAME.json`.

    Raises CannotCreate when a file is there already (unless `force`), or when nothing can be learned of the target.
    """
    if not NAME.fullmatch(name):
        raise CannotCreate(f"{name!r} is no name of a use case: {NAME_RULE}")
    files = root / "include" / "usecases" / f"{name}.yaml", root / "expectations" / f"{name}.json"
    if not force and (there := [file for file in files if file.exists()]):
        raise CannotCreate(f"{listed(file.relative_to(root) for file in there)}: there already; --force writes anew")
    draft = _drafted(name, data, target, task)
    _try_out(draft)
    texts = yaml_text(draft), suite_text(draft)
    with _written(name, *texts):  # whatever is wrong with them shows here, with nothing written
        pass
    _write(files[1], texts[1])
    _write(files[0], texts[0])
    return NewUseCase(files[0], files[1], draft)


def _drafted(name: str, data: Path, target: str, task: Task | None) -> Draft:
    found = snapshot(data)
    rename = _renamed([str(name) for name in found.frame])
    columns: list[Seen] = []
    notes = list(found.notes)
    for theirs in map(str, found.frame):
        ours = rename.get(theirs, theirs)
        if column := seen(ours, found.frame[theirs], found.textual):
            columns.append(column)
        else:
            empty = found.frame[theirs].isna().all()
            notes.append(f"{ours}: {'nothing is in it' if empty else UNFIT}: left out.")
    target = rename.get(target, target)
    if target not in [column.name for column in columns]:
        known = [column.name for column in columns]
        raise CannotCreate(
            f"{data}: no column {target!r} with values{nearest(target, known)}; there are: {listed(known)}"
        )
    give_roles(columns, target)
    try:
        made = goal(next(column for column in columns if column.name == target), task)
    except ValueError as error:
        raise CannotCreate(f"{data}: the target {error}") from None
    draft = Draft(name, found, columns, made, rename, task is not None, notes)
    _look(draft)
    return draft


def _renamed(names: list[str]) -> dict[str, str]:
    """Give names that MongoDB would take for something else another one."""
    rename: dict[str, str] = {}
    for name in names:
        ours = (
            name.replace(".", "_").replace("$", "").lstrip("_")
            if name.startswith("_") or set(name) & set(".$")
            else name
        )
        if ours != name:
            rename[name] = (
                ours if ours and ours not in names and ours not in rename.values() else f"column_{len(rename) + 1}"
            )
    return rename


def _look(draft: Draft) -> None:
    """Note what a person should look at, worst first."""
    rows, target = len(draft.found.frame), draft.target
    missing = int(target.values.isna().sum())
    if missing:
        draft.notes.insert(0, f"{target.name}: {missing:,} rows have none and are left out.")
    for column, told, certain in find_leaks(draft.columns, target, draft.goal):
        draft.notes.append(f"{column.name}: {told}{': left out.' if certain else ''}")
        if certain:
            column.role, column.why = "ignored", told
    draft.notes += [f"{target.name}: {note}" for note in draft.goal.notes]
    draft.notes += [f"{column.name}: {note}" for column in draft.columns for note in column.notes]
    for column in draft.columns:
        if column.nulls > 0.5:
            draft.notes.append(f"{column.name}: {column.nulls:.0%} of the values are missing.")
    if far := {column.name: found for column in draft.columns if (found := strays(column))}:
        worst = sorted(far, key=lambda name: -_distance(*far[name]))[:5]
        some = (f"{name} {far[name][0]:g} (98 % lie from {far[name][1]:g} to {far[name][2]:g})" for name in worst)
        draft.notes.append(f"values far from the rest: {listed(some)}. The suite only warns of such values.")
    if dates := [column.name for column in draft.of("feature") if column.type == DATE]:
        told = f"Should the newest rows be the test? Then set `split: {{by: time, column: {dates[0]}}}`"
        draft.notes.append(f"{listed(dates)}: dates. {told}.")
    if (repeated := duplicates(draft.columns)) > 0.005:
        draft.notes.append(f"{repeated:.1%} of the rows repeat another one; `deduplicate: true` counts such rows once.")
    if rows < SMALL:
        draft.notes.append(
            f"{rows} rows are few: what is measured on a fifth of them swings; {SMALL} or more are better."
        )
    if not any(column.role in ("feature", "categorical", "text") for column in draft.columns):
        raise CannotCreate(
            f"{draft.found.path}: no column is left to learn {target.name!r} from: " + "; ".join(draft.notes)
        )
    if rows < LEAST:
        raise CannotCreate(
            f"{draft.found.path}: {rows} rows are too few; {LEAST} is the least, {SMALL} or more are better"
        )


def _distance(value: float, start: float, end: float) -> float:
    return max(start - value, value - end) / (end - start or 1e-9)


def _try_out(draft: Draft) -> None:
    """Read the file as the draft says, and take what is set aside into the quarantine budget."""
    from updraft.sources.files import File

    with _written(draft.name, yaml_text(draft), suite_text(draft)) as case:
        kept, reasons = 0, Counter[str]()
        for batch in File(draft.found.path, case).batches():
            kept += batch.table.num_rows
            reasons.update(reject.reason.partition(":")[0] for reject in batch.rejects)
    aside = sum(reasons.values())
    draft.set_aside = aside / max(kept + aside, 1)
    if not kept:
        raise CannotCreate(
            f"{draft.found.path}: no row fits what was guessed; worst is {reasons.most_common(1)[0][0]!r}"
        )
    if draft.set_aside > MOST_ASIDE:
        worst = listed(f"{reason} ({count:,})" for reason, count in reasons.most_common(3))
        raise CannotCreate(
            f"{draft.found.path}: {aside:,} of {kept + aside:,} rows would be set aside, because of {worst}"
        )
    if aside:
        worst = listed(f"{reason} ({count:,})" for reason, count in reasons.most_common(3))
        draft.notes.insert(0, f"{aside:,} of {kept + aside:,} rows will be set aside, because of {worst}.")


@contextmanager
def _written(name: str, usecase: str, suite: str) -> Iterator[UseCase]:
    """Load the two files from a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for place, text in ((f"include/usecases/{name}.yaml", usecase), (f"expectations/{name}.json", suite)):
            (root / place).parent.mkdir(parents=True)
            (root / place).write_text(text, encoding="utf-8")
        yield load(name, root)


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
