"""What the page Models shows of a use case: its YAML, versions, production, comparison, and what the monitor found.

Each part is read by itself. What cannot be read or is not believed becomes one line among `faults`, and the rest stays.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rendering import FAULTS, in_a_line
from updraft.defaults import ROOT
from updraft.model.version_files import EVALUATION
from updraft.registry import monitor_state
from updraft.registry.monitor_state import MonitorState
from updraft.registry.moves import Move, Rollout
from updraft.registry.overview.known_versions import KnownVersions, VersionFacts
from updraft.registry.overview.metric_chart import Chart, draw
from updraft.registry.registry import Registry
from updraft.registry.states import States, replay
from updraft.usecase.load import parse, paths
from updraft.usecase.schema import NAME, BadUseCase, UseCase

SHOWN = 30  # versions and moves, the latest: each version takes two requests the first time
READERS = 8  # requests at the same time, of the 10 that a client of S3 keeps open
Part = TypeVar("Part")


@dataclass(frozen=True)
class Definition:
    """What the YAML says; `metric` chooses among candidates, and None stands for one that is not known.

    `exists` is whether there is a YAML, also one with faults.
    """

    title: str
    metric: str | None
    promote: str | None
    percent: float = 10.0
    exists: bool = True


@dataclass
class Facts:
    """What is known of a use case. `last` is the last move; `history` and `states` are None where it is not read."""

    name: str
    definition: Definition
    faults: list[str]
    last: Move | None = None
    known: bool = False  # whether `last` is believed: None says then that nothing was ever promoted
    history: list[Move] | None = None
    states: States | None = None
    count: int = 0
    versions: list[VersionFacts] = field(default_factory=list)
    monitor: MonitorState | None = None

    @property
    def production(self) -> int | None:
        """The version in production."""
        return self.last.production if self.last else None

    @property
    def rollout(self) -> Rollout | None:
        """The rollout under way."""
        return self.last.rollout if self.last else None

    @property
    def sequence(self) -> int:
        """The number of the last move; 0 before the first."""
        return self.last.sequence if self.last else 0

    @property
    def metric(self) -> str | None:
        """The metric that is drawn: the YAML's, else the one that chose the latest version, else the first it has."""
        latest = next((each for each in reversed(self.versions) if each.metrics), None)
        measured = (latest.choose_by or next(iter(latest.metrics))) if latest else None
        return self.definition.metric or measured

    @property
    def came(self) -> Move | None:
        """The move that put the version in production there, if it is known."""
        moves = self.history or ([self.last] if self.last else [])
        new = (move for move in reversed(moves) if move.production and move.production != move.previous)
        return next((move for move in new if move.production == self.production), None)

    def state(self, version: VersionFacts) -> str:
        """Return a version's state, as far as it is known."""
        if self.states:
            return self.states.of(version.number, version.model_sha256)
        if version.number == self.production:
            return "production"
        return "rollout" if self.rollout and self.rollout.version == version.number else "stored"

    def chart(self, height: int) -> Chart | None:
        """Draw the metric of the shown versions, so many pixels high."""
        return draw(self.metric, [(each, self.state(each)) for each in self.versions], self.monitor, height)

    def version(self, number: int | None) -> VersionFacts | None:
        """Return one of the shown versions."""
        return next((each for each in self.versions if each.number == number), None)


def use_cases(store: Registry | None, root: Path = ROOT) -> tuple[list[str], str]:
    """Name the use cases that have a YAML or a folder in the registry, and say why the registry is not read, if so."""
    here, fault = {path.stem for path in paths(root) if NAME.fullmatch(path.stem)}, ""
    try:
        here |= {name for name in store.bucket.folders("") if NAME.fullmatch(name)} if store else set()
    except FAULTS as error:
        fault = in_a_line(error)
    return sorted(here), fault


def summarize(name: str, store: Registry | None, root: Path = ROOT) -> Facts:
    """Read what the overview shows: the last move only, without the history before it."""
    facts = _defined(name, root)
    if store:
        facts.known = _part(facts, lambda: _last(facts, store)) is not None
        _versions(facts, store)
    return facts


def details(name: str, store: Registry, root: Path = ROOT) -> Facts:
    """Read everything that is shown of a use case but the comparison."""
    facts = _defined(name, root)
    facts.history = _part(facts, lambda: store.history(name))
    if facts.history is not None:
        facts.last, facts.known = (facts.history[-1] if facts.history else None), True
        facts.states = replay(facts.history)
    _versions(facts, store)
    return facts


def compare(facts: Facts, store: Registry, number: int | None = None) -> dict[str, Any] | None:
    """Compare a challenger with the champion: `number`, else the one that is tried, else the latest one.

    Where the challenger was evaluated against the version in production, that was on the same rows. Otherwise each has
    the metrics of its own held-out rows.
    """
    tried = facts.rollout.version if facts.rollout else None
    latest = facts.versions[-1].number if facts.versions else None
    challenger = facts.version(number or tried or latest)
    if challenger is None or challenger.refused:
        return None
    evaluation = _part(facts, lambda: _evaluation(facts.name, challenger.number, store)) or {}
    against = evaluation.get("champion") or {}
    champion = facts.version(facts.production)
    if challenger == champion or (champion is None and against.get("metrics")):
        number = against.get("version")
        champion = VersionFacts(number, metrics=against["metrics"]) if number and "metrics" in against else None
    same = bool(champion) and "metrics" in against and against.get("version") == (champion and champion.number)
    if same and champion:
        champion = VersionFacts(champion.number, champion.made, champion.candidate, against["metrics"])
    names = list(dict.fromkeys([*challenger.metrics, *(champion.metrics if champion else ())]))
    return {
        "challenger": challenger,
        "champion": champion,
        "same_rows": evaluation.get("rows") if same else None,
        "decision": evaluation.get("decision"),
        "reason": evaluation.get("reason"),
        "interval": against.get("interval") if same else None,
        "gate": (evaluation.get("gate") or {}).get("metric"),
        "metrics": names,
    }


def _defined(name: str, root: Path) -> Facts:
    """Read the YAML as far as it can be read."""
    try:
        parsed = parse(name, root)
    except BadUseCase:
        line = f"there is no include/usecases/{name}.yaml here: nothing trains it any more"
        return Facts(name, Definition(name, None, None, exists=False), [line])
    except OSError as error:
        return Facts(name, Definition(name, None, None), [in_a_line(error)])
    faults = [fault.format(root) for fault in parsed.faults]
    more = f" (and {len(faults) - 1} more: updraft check {name})" if len(faults) > 1 else ""
    case = parsed.case
    return Facts(name, _definition(name, case, sure=not faults), [f"{faults[0]}{more}"] if faults else [])


def _definition(name: str, case: UseCase | None, *, sure: bool) -> Definition:
    """Return what is shown; of a YAML with faults not what a default may stand for."""
    if case is None:
        return Definition(name, None, None)
    promote = case.promote if sure else None
    return Definition(case.title or name, case.choose_by if sure else None, promote, case.rollout.percent)


def _versions(facts: Facts, store: Registry) -> None:
    """Read the latest versions, and what the monitor found last."""
    numbers = _part(facts, lambda: store.numbers(facts.name)) or []
    facts.count, latest = len(numbers), numbers[-SHOWN:]
    wanted = {facts.production, facts.rollout.version if facts.rollout else None} & set(numbers)
    latest = sorted({*latest, *(number for number in wanted if number)})
    with ThreadPoolExecutor(READERS) as pool:
        facts.versions = [*pool.map(lambda number: _version(store, facts.name, number), latest)]
    facts.faults += [each.refused for each in facts.versions if each.refused and each.number in wanted]
    facts.monitor = _part(facts, lambda: monitor_state.read(store.bucket, store.keys, facts.name))


def _last(facts: Facts, store: Registry) -> bool:
    facts.last = store.pointer(facts.name)
    return True


def _evaluation(name: str, number: int, store: Registry) -> dict[str, Any]:
    version, _, _ = store.read_verified(name, number)
    found = json.loads(store.read(name, number, [EVALUATION])[EVALUATION]) if EVALUATION in version.files else {}
    return found if isinstance(found, dict) else {}


def _part(facts: Facts, read: Callable[[], Part]) -> Part | None:
    """Read a part; what stands against it is noted once."""
    try:
        return read()
    except FAULTS as error:
        if (line := in_a_line(error)) not in facts.faults:
            facts.faults.append(line)
        return None


def _version(store: Registry, name: str, number: int) -> VersionFacts:
    """Return what is shown of a version, also that it is refused."""
    try:
        return _known.read(store, name, number)
    except FAULTS as error:
        return VersionFacts(number, refused=in_a_line(error))


_known = KnownVersions()
