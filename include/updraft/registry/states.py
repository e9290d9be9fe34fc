"""What became of each version: derived from the signed moves alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from updraft.registry.moves import Move, Rollout

State = Literal["stored", "rollout", "production", "former", "held"]


@dataclass(frozen=True)
class Hold:
    """Why a model's bytes are not promoted again without `--force`: the version that was held, who did it, and why."""

    version: int
    who: str
    when: str
    why: str

    def __str__(self) -> str:
        return f"held as version {self.version} by {self.who} on {self.when[:10]}: {self.why}"

    def of(self, number: int) -> str:
        """Say of a version that it is held, with the number that was held where that is another one."""
        return str(self).replace(f" as version {number} by ", " by ", 1)


@dataclass(frozen=True)
class States:
    """The state of every version of a use case.

    `promoted` are the versions that were put into production and neither taken back nor held nor removed since, the
    current one last, with the sha256 of their models; `ever` are all that ever were; `holds` go by the model's sha256;
    `pruned` are deleted, or about to be; `tried_sha256` is the sha256 of the model in the rollout.
    """

    production: int | None
    rollout: Rollout | None
    promoted: tuple[tuple[int, str | None], ...]
    ever: frozenset[int]
    holds: Mapping[str, Hold]
    pruned: frozenset[int]
    tried_sha256: str | None = None

    def of(self, number: int, model_sha256: str | None) -> State:
        """Return a version's state."""
        if number == self.production:
            return "production"
        if model_sha256 in self.holds:
            return "held"
        if self.rollout and number == self.rollout.version:
            return "rollout"
        return "former" if number in self.ever else "stored"

    def hold(self, model_sha256: str | None) -> Hold | None:
        """Return why a model is held; None if it is not."""
        return self.holds.get(model_sha256) if model_sha256 else None

    def has_in_production(self, number: int, model_sha256: str | None) -> bool:
        """Whether a version, or another one with the same model, is in production."""
        current = self.promoted[-1][1] if self.production and self.promoted else None
        return number == self.production or (model_sha256 is not None and model_sha256 == current)

    def below(self) -> int | None:
        """Return the version that a rollback puts back: the latest one before production with a model not held."""
        if not self.promoted:
            return None
        taken_back = self.promoted[-1]
        for number, model_sha256 in reversed(self.promoted[:-1]):
            if number != taken_back[0] and model_sha256 != taken_back[1] and model_sha256 not in self.holds:
                return number
        return None


def replay(moves: Iterable[Move]) -> States:
    """Derive the states from all moves, oldest first: a promotion stacks a version, a rollback unstacks it.

    What is promoted or tried although it was held is so by a person, with --force, which lifts the hold.
    """
    stack: list[tuple[int, str | None]] = []
    ever: set[int] = set()
    holds: dict[str, Hold] = {}
    pruned: set[int] = set()
    last: Move | None = None
    tried: str | None = None
    for move in moves:
        last = move
        if move.action in ("rollback", "hold", "abort") and move.model_sha256 and move.version:
            holds[move.model_sha256] = Hold(move.version, move.who, move.when, move.why)
        if move.action == "rollback":
            while stack and stack[-1][0] != move.production:
                stack.pop()
        elif move.action == "remove":
            stack.clear()
        elif move.production and move.production == move.version and (not stack or stack[-1][0] != move.production):
            holds.pop(move.model_sha256 or "", None)
            stack.append((move.production, move.model_sha256))
        elif move.action in ("shadow", "canary"):
            holds.pop(move.model_sha256 or "", None)
            tried = move.model_sha256
        pruned |= set(move.versions)
        ever |= {move.production} if move.production else set()
    production, rollout = (last.production, last.rollout) if last else (None, None)
    tried = tried if rollout else None
    return States(production, rollout, tuple(stack), frozenset(ever), holds, frozenset(pruned), tried)
