"""Measures servers side by side: in each round all of them in turn, the others asleep."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests

from tests.bench_serving.client import Load, post, send, write_bodies
from tests.bench_serving.models import Trained
from tests.bench_serving.peers import CANARY, FLOOR, OURS, SHIPPING, Peer, with_workers
from tests.bench_serving.processes import CLIENT_CORE, Memory, Running, running

MANY, MORE = 1_000, 100_000  # rows of a body
TOO_LONG = 10  # seconds for a body: who needs more is asked once


@dataclass(frozen=True)
class Plan:
    """How long a measurement takes, and what is in it."""

    rounds: int
    seconds: int
    connections: Sequence[int]
    bodies: bool  # measure bodies of many rows, too


Figures = dict[str, Any]  # of one server


def measure(peers: Sequence[Peer], trained: Trained, plan: Plan, folder: Path) -> dict[str, Figures]:
    """Return the figures of each server, by its name: medians over the rounds, with least and greatest."""
    bodies = {peer.name: _bodies(peer, trained, folder / peer.name) for peer in peers}
    found: dict[str, Figures] = {peer.name: {} for peer in peers}
    samples: dict[str, dict[str, list[float]]] = {peer.name: defaultdict(list) for peer in peers}
    with ExitStack() as stack:
        servers = {}
        for peer in peers:
            server = servers[peer.name] = stack.enter_context(_started(peer, trained, folder))
            found[peer.name]["score"] = _score(peer, server, trained)
            if peer.name == OURS:
                found[OURS]["form"] = _form(server, trained)
            server.sleep()
        for number in range(plan.rounds):
            for peer in (*peers[number % len(peers) :], *peers[: number % len(peers)]):
                with servers[peer.name].awake() if peer.sleeps else _started(peer, trained, folder) as server:
                    _round(peer, server, bodies[peer.name], plan, samples[peer.name])
        for peer in peers:
            with servers[peer.name].awake():
                found[peer.name]["memory"] = asdict(servers[peer.name].memory())
    for name, its in samples.items():
        found[name] |= {key: _spread(values) for key, values in its.items()}
    _require_same_scores(found, trained.name)
    return found


def _started(peer: Peer, trained: Trained, folder: Path) -> AbstractContextManager[Running]:
    return running(peer.command, peer.path, _body(peer.one(trained.rows[0])), folder / f"{peer.name}.log")


def starts(peer: Peer, trained: Trained, count: int, folder: Path) -> dict[str, float]:
    """Measure the seconds from a start to the first answer; an uncounted start compiles and fills caches."""
    seconds = []
    for _ in range(count + 1):
        with _started(peer, trained, folder) as server:
            seconds.append(server.first)
    return _spread(seconds[1:])


def memory_of_two(peer: Peer, trained: Trained, seconds: int, folder: Path) -> Memory:
    """Weigh two workers that have both predicted."""
    body = _body(peer.one(trained.rows[0]))
    with running(with_workers(peer, 2), peer.path, body, folder / f"{peer.name}.log") as server:
        send(server.port, peer.path, folder / peer.name / "one", 16, seconds, CLIENT_CORE)
        return server.memory()


def _bodies(peer: Peer, trained: Trained, folder: Path) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    rows = trained.rows
    return {
        "one": write_bodies(map(peer.one, rows[:1000]), folder / "one"),
        "many": write_bodies((peer.many(rows[start : start + MANY]) for start in (0, 200, 400)), folder / "many"),
        "more": write_bodies([peer.many((rows * (MORE // len(rows) + 1))[:MORE])], folder / "more"),
    }


def _round(
    peer: Peer, server: Running, bodies: Mapping[str, Path], plan: Plan, samples: dict[str, list[float]]
) -> None:
    for connections in plan.connections:
        load, seconds = _answered(server, peer, bodies["one"], connections, plan.seconds)
        samples[f"rate {connections}"].append(load.rate)
        samples[f"p50 {connections}"].append(load.p50)
        samples[f"p99 {connections}"].append(load.p99)
        samples[f"cpu {connections}"].append(seconds * 1e6 / max(load.requests, 1))
        samples[f"failed {connections}"].append(load.failed)
    if plan.bodies and peer.name not in (FLOOR, SHIPPING, CANARY):
        load, _ = _answered(server, peer, bodies["many"], 1, plan.seconds)
        samples[f"rows {MANY}"].append((load.requests - load.failed) * MANY / max(load.requests, 1) * load.rate)
        if min(samples[f"rows {MORE}"], default=MORE) > MORE / TOO_LONG:
            status, _, seconds = post(server.port, peer.path, bodies["more"].read_bytes())
            samples[f"rows {MORE}"].append(MORE / seconds if status == 200 else 0.0)


def _answered(server: Running, peer: Peer, bodies: Path, connections: int, seconds: int) -> tuple[Load, float]:
    """Send requests, then wait until what was left in the server's queue is answered, too; give load and CPU time."""
    before = server.cpu()
    load = send(server.port, peer.path, bodies, connections, seconds, CLIENT_CORE)
    used = server.cpu() - before
    post(server.port, peer.path, bodies.read_bytes().split(b"\n", 1)[0])
    return load, used


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values)}


def _body(value: Any) -> bytes:
    return json.dumps(value).encode()


def _score(peer: Peer, server: Running, trained: Trained) -> Any:
    return peer.score(json.loads(post(server.port, peer.path, _body(peer.one(trained.rows[0])))[1]))


def _form(server: Running, trained: Trained) -> str:
    """Return what computes the scores here: the compiled model or the pipeline."""
    models = requests.get(f"http://127.0.0.1:{server.port}/models", timeout=30).json()["models"]
    return next(model.get("form", "pipeline") for model in models if model["use_case"] == trained.name)


def _require_same_scores(found: Mapping[str, Figures], name: str) -> None:
    """Refuse to compare servers that predict something else."""
    ours = found[OURS].pop("score")
    for peer, figures in found.items():
        theirs = figures.pop("score", None)
        known = theirs if isinstance(theirs, list) else [theirs]
        for score in ours if isinstance(ours, list) else [ours]:
            if peer != FLOOR and peer != OURS and not any(abs(score - each) <= 1e-9 * abs(score) for each in known):
                raise SystemExit(f"{name}: {peer} answers {theirs}, Updraft {ours}")
