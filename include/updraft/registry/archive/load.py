"""Import an archive into a registry: all of it is verified first, then what is missing is created, pointers last.

What is there already stays: it is skipped where it has the same bytes, and ends the import, before anything is written,
where it has others. An import that was interrupted is completed by the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from updraft.registry import claims
from updraft.registry.archive.contents import Index
from updraft.registry.archive.export import Count
from updraft.registry.archive.read import Archive, UseCase
from updraft.registry.copying import StoredVersion, add_moves, create_judgement, create_version
from updraft.registry.moves import Move, Pointer, describe
from updraft.registry.registry import NoSuchVersion, Registry
from updraft.registry.s3 import BadRegistry
from updraft.registry.states import States, replay


@dataclass(frozen=True)
class Imported:
    """What became of a use case: numbers of versions, how many moves were added, and what holds in the registry now.

    `pruned` are versions that the archive has and the registry has deleted; `ahead` says that the registry has moved
    on since the archive was written.
    """

    name: str
    created: list[int]
    skipped: list[int]
    pruned: list[int]
    moves: int
    ahead: bool
    states: States

    def format(self) -> str:
        """Return a line for people."""
        same = f"{len(self.skipped)} skipped (the same here)" if self.skipped else ""
        pruned = f"{len(self.pruned)} left out (pruned here)" if self.pruned else ""
        parts = [f"{len(self.created)} versions and {self.moves} moves imported", same, pruned]
        ahead = " (it has moved on since the export)" if self.ahead else ""
        held = f", {len(self.states.holds)} held" if self.states.holds else ""
        listed = ", ".join(filter(None, parts))
        return f"{self.name}: {listed}; {describe(self.states.production)} in production{ahead}{held}"


@dataclass(frozen=True)
class Plan:
    """What to do with a use case: versions that are there, those that were pruned here, and the moves to add."""

    there: set[int]
    pruned: set[int]
    new_moves: list[Move]
    pointer: Pointer | None
    ahead: bool


def check(registry: Registry, file: Path, count: Count) -> tuple[Index, dict[str, Plan]]:
    """Verify a whole archive and hold it against the registry; writes nothing. Return its index and what `load` does.

    Raises VerificationError for what is not believed, BadRegistry for what the registry has otherwise.
    """
    registry.keys.require_signing()
    plans = {}
    with file.open("rb") as source:
        archive = Archive(source, file, registry.keys)
        progress = _Progress(count, archive.index.size)
        for use_case in archive.use_cases():
            there, pruned = set[int](), _pruned_here(registry, use_case.name)
            for stored in archive.versions(use_case):
                for member in stored.files.values():
                    for chunk in member.chunks():
                        progress.add(len(chunk))
                if stored.version.number not in pruned and _is_there(registry, stored):
                    there.add(stored.version.number)
            archive.read_moves(use_case)
            plans[use_case.name] = _plan(registry, use_case, there, pruned)
    return archive.index, plans


def load(registry: Registry, file: Path, plans: dict[str, Plan], count: Count) -> Iterator[Imported]:
    """Import what `check` has planned, one use case after the other; the pointer of each is its last write."""
    registry.bucket.create_if_missing()
    with file.open("rb") as source:
        archive = Archive(source, file, registry.keys)
        progress = _Progress(count, archive.index.size)
        for use_case in archive.use_cases():
            plan, created = plans[use_case.name], []
            for stored in archive.versions(use_case):
                number = stored.version.number
                if number in plan.there | plan.pruned:
                    for each, content in stored.files.items():
                        content.skip()
                        progress.add(stored.version.files[each]["size"])
                else:
                    create_version(registry.bucket, stored, progress.add)
                    created.append(number)
                if number in plan.there:
                    create_judgement(registry.bucket, stored)
            archive.read_moves(use_case)
            for number in use_case.section.pruned:
                claims.take(registry.bucket, use_case.name, number, None, archive.index.created_at)
            moves = registry.moves(use_case.name)
            add_moves(moves, plan.pointer, plan.new_moves, use_case.sealed)
            if plan.new_moves and (pointer := moves.pointer()):
                moves.record(pointer)  # the archive may have had the last move in the pointer alone
            registry.follow(use_case.name)
            states = registry.states(use_case.name)
            there, pruned = sorted(plan.there), sorted(plan.pruned & use_case.section.versions().keys())
            yield Imported(use_case.name, created, there, pruned, len(plan.new_moves), plan.ahead, states)


def _pruned_here(registry: Registry, name: str) -> set[int]:
    moves = registry.moves(name)
    return set(replay(moves.history_to(moves.pointer())).pruned)


def _is_there(registry: Registry, stored: StoredVersion) -> bool:
    """Whether the registry has a version with the same bytes, all of them read; raises BadRegistry for another one."""
    version, bucket = stored.version, registry.bucket
    try:
        other, manifest, _ = registry.read_verified(version.name, version.number)
    except NoSuchVersion:
        claims.require_free(bucket, version.name, version.number, version.manifest["run_id"])
        return False
    if manifest != stored.manifest:
        here, there = (
            f"run {each['run_id']!r} of {each['created_at'][:19]}" for each in (other.manifest, version.manifest)
        )
        raise BadRegistry(
            f"{version}: {bucket} has another version of this number ({here}; the archive has {there}); "
            "nothing was imported"
        )
    registry.verify(version.name, version.number)
    return True


def _plan(registry: Registry, use_case: UseCase, there: set[int], pruned: set[int]) -> Plan:
    """Compare the moves: those of the registry and of the archive must be the beginning of one another."""
    pointer = registry.moves(use_case.name).pointer()
    ours = [move.move for move in registry.moves(use_case.name).history_to(pointer)]
    theirs = [move.move for move in use_case.moves]
    shorter = min(len(ours), len(theirs))
    ids = {pointer.registry_id, use_case.moves[-1].registry_id} - {None} if pointer and theirs else set()
    if ours[:shorter] != theirs[:shorter] or len(ids) > 1:
        raise BadRegistry(
            f"{use_case.name}: {registry.bucket} has moves of its own, so that neither history goes on where the other "
            "ends; nothing was imported. Import into an empty bucket or prefix"
        )
    taken = set(registry.numbers(use_case.name)) & set(use_case.section.pruned)
    if taken and not ours:
        raise BadRegistry(
            f"{use_case.name}: {registry.bucket} has a version {min(taken)}, the number of one that was pruned where "
            "the archive is from; nothing was imported. Import into an empty bucket or prefix"
        )
    return Plan(there, pruned, use_case.moves[shorter:], pointer, len(ours) > len(theirs))


class _Progress:
    """Adds up bytes."""

    def __init__(self, count: Count, total: int) -> None:
        self._count, self._total, self._done = count, total, 0

    def add(self, size: int) -> None:
        self._done += size
        self._count(self._done, self._total)
