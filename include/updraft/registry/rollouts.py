"""Rollouts: a version that is tried beside the one in production, until it takes its place or is taken back.

A rollout stands in the pointer, so that it starts and ends by the same signed, compared write as everything else. There
is one at a time in a use case: two would have to share the requests that they are compared on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from updraft.errors import UserError
from updraft.registry.moves import Moves, Pointer, Rollout, require_sequence
from updraft.registry.registry import NoSuchVersion, Registry
from updraft.registry.s3 import BadRegistry

Mode = Literal["shadow", "canary"]


class RolloutRunning(UserError):
    """Another version is in a rollout already."""

    def __init__(self, name: str, number: int, rollout: Rollout) -> None:
        super().__init__(
            f"{name}: version {rollout.version} is in a rollout ({rollout}), so version {number} is not put beside it; "
            f"`updraft registry finish {name}` or `abort` ends it"
        )
        self.rollout = rollout


class NoRollout(UserError, LookupError):
    """No version is in a rollout."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: no version is in a rollout")


@dataclass(frozen=True)
class Plan:
    """Which version to try, and how: `shadow` on copies of all requests, `canary` on `percent` of them."""

    version: int
    mode: Mode
    percent: float | None = None

    def __post_init__(self) -> None:
        if self.mode == "shadow" and self.percent is not None:
            raise BadRegistry(f"percent {self.percent:g}: a shadow scores copies of all requests; canary has a percent")
        if self.mode == "canary" and not (self.percent is not None and 0 < self.percent <= 100):
            raise BadRegistry(f"percent {self.percent}: expected a number above 0, at most 100, for a canary")


def start(
    registry: Registry,
    name: str,
    plan: Plan,
    *,
    who: str,
    why: str,
    expected_sequence: int | None = None,
    force: bool = False,
) -> Pointer:
    """Verify a version and try it beside production. A rollout that runs as planned stays, so that a retry succeeds.

    Raises RolloutRunning if another one runs, HeldModel if the model is held (with `force` the rollout lifts the hold),
    NoSuchVersion if nothing is in production, and PointerMoved unless the last move is still `expected_sequence`.
    """
    moves, now, _ = _now(registry, name, expected_sequence)
    if now is None or now.production is None:
        raise NoSuchVersion(f"{name}: nothing is in production beside which version {plan.version} could be tried")
    if now.rollout and (now.rollout.version, now.rollout.mode, now.rollout.percent) == (
        plan.version,
        plan.mode,
        plan.percent,
    ):
        moves.record(now)
        return now
    if now.rollout:
        raise RolloutRunning(name, plan.version, now.rollout)
    version, states = registry.require_promotable(name, plan.version, force=force)
    if states.has_in_production(plan.version, version.model_sha256):
        raise BadRegistry(f"{version} has the model in production")
    since = datetime.now(UTC).isoformat(timespec="microseconds")
    rollout = Rollout(version=plan.version, mode=plan.mode, percent=plan.percent, since=since)
    content = {"version": plan.version, "model_sha256": version.model_sha256, "rollout": rollout}
    return moves.move(now, plan.mode, now.production, who, why, **content)


def finish(registry: Registry, name: str, *, who: str, why: str, expected_sequence: int | None = None) -> Pointer:
    """Put the version in the rollout into production, verified. Raises NoRollout, HeldModel, PointerMoved."""
    moves, now, rollout = _now(registry, name, expected_sequence)
    if now is None or rollout is None:
        raise NoRollout(name)
    version, _ = registry.require_promotable(name, rollout.version)
    content = {"version": version.number, "model_sha256": version.model_sha256}
    return moves.move(now, "finish", version.number, who, why, **content)


def abort(registry: Registry, name: str, *, who: str, why: str, expected_sequence: int | None = None) -> int:
    """Take back the version in the rollout, which is held from then on, and return it.

    Raises NoRollout, PointerMoved. Its files are not looked at: one that cannot be verified must be taken back, too.
    """
    moves, now, rollout = _now(registry, name, expected_sequence)
    if now is None or rollout is None:
        raise NoRollout(name)
    content = {"version": rollout.version, "model_sha256": registry.states(name).tried_sha256}
    moves.move(now, "abort", now.production, who, why, **content)
    return rollout.version


def _now(registry: Registry, name: str, expected_sequence: int | None) -> tuple[Moves, Pointer | None, Rollout | None]:
    registry.keys.require_signing()
    moves = registry.moves(name)
    now = moves.pointer()
    require_sequence(name, now, expected_sequence)
    return moves, now, now.rollout if now else None
