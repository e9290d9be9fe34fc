"""Requests of several clients while a rollout starts and is taken back: what was answered, by which version.

`python -m tests.support.rollout_load 120` runs it for so many seconds on a server of its own, and prints the counts.
"""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from serving.models.rollouts import takes
from tests.support.key_pairs import write_key_pair
from tests.support.servers import s3_server
from tests.support.service import PREDICT, service
from tests.support.small_models import NAME, ROW, model, promote, push
from updraft.registry.registry import Registry, open_registry
from updraft.registry.rollouts import Plan, abort, start

AGES = range(20, 80)
SEEDS = {1: 0, 2: 1}  # of the model of each version


@dataclass
class Answers:
    """Answers by version, those that failed, and those that are not what their version gives."""

    by_version: Counter[int] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    tried_keys: set[str] = field(default_factory=set)


def expected() -> dict[int, dict[int, float]]:
    """Return the probability of each age, by version."""
    rows = [ROW | {"Age": age} for age in AGES]
    models = {version: model(seed=seed) for version, seed in SEEDS.items()}
    frames = {version: it.predict(it.signature.frame(rows)).probabilities for version, it in models.items()}
    return {version: dict(zip(AGES, map(float, found), strict=True)) for version, found in frames.items()}


def ask(
    connection: http.client.HTTPConnection, age: int, key: str | None, **headers: str
) -> tuple[int, dict[str, object]]:
    """Ask for a prediction, with a key of the caller."""
    own = {"X-Updraft-Key": key} if key else {}
    sent = {"Content-Type": "application/json", **own, **headers}
    connection.request("POST", PREDICT, json.dumps(ROW | {"Age": age}).encode(), sent)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def client(port: int, number: int, stop: threading.Event, right: Mapping[int, Mapping[int, float]]) -> Answers:
    """Ask until `stop`, each time as another caller, and hold each answer against the version that it names."""
    found, count = Answers(), 0
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        while not stop.is_set():
            count += 1
            key, age = f"caller {number}-{count}", AGES[count % len(AGES)]
            try:
                status, told = ask(connection, age, key)
            except (OSError, http.client.HTTPException) as error:
                found.failed.append(f"{key}: {error!r}")
                connection.close()
                continue
            if status != 200:
                found.failed.append(f"{key}: {status} {told}")
                continue
            version = int(str(told["version"]))
            found.by_version[version] += 1
            if version == 2:
                found.tried_keys.add(key)
            if told["probabilities"] != [right[version][age]]:
                found.wrong.append(f"{key}: {told} instead of {right[version][age]}")
    return found


def together(port: int, stop: threading.Event, clients: int = 8) -> Answers:
    """Run clients until `stop`; return what they got."""
    right, all_answers = expected(), Answers()
    with ThreadPoolExecutor(clients) as pool:
        for found in pool.map(lambda number: client(port, number, stop, right), range(clients)):
            all_answers.by_version += found.by_version
            all_answers.failed += found.failed
            all_answers.wrong += found.wrong
            all_answers.tried_keys |= found.tried_keys
    return all_answers


def start_and_take_back(registry: Registry, turns: int, seconds: float, percent: float = 30.0) -> None:
    """Start a canary and take it back, again and again."""
    for turn in range(turns):
        start(registry, NAME, Plan(2, "canary", percent), who="tests", why=f"turn {turn}", force=True)
        time.sleep(seconds)
        abort(registry, NAME, who="tests", why=f"turn {turn}")
        time.sleep(seconds)


def takers(keys: set[str], percent: float = 30.0) -> set[str]:
    """Return the keys whose requests the canary takes."""
    return {key for key in keys if takes(2, percent, key.encode())}


def main(seconds: float) -> None:
    """Start a rollout and take it back every second under load, on servers of its own; print the counts."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "s3").mkdir()
        with s3_server(folder / "s3") as s3:
            environ = s3 | write_key_pair(folder) | {"UPDRAFT_REGISTRY": "s3://rollout-load"}
            registry = open_registry(environ)
            promote(registry, push(registry, folder / "one", model(seed=SEEDS[1])))
            push(registry, folder / "two", model(seed=SEEDS[2]))
            with service(environ, folder, SERVING_LOOP_MS="1000", SERVING_POLL_SECONDS="0.2") as it:
                it.until(1)
                _under_load(registry, it.port, seconds)


def _under_load(registry: Registry, port: int, seconds: float) -> None:
    stop, answers = threading.Event(), list[Answers]()
    load = threading.Thread(target=lambda: answers.append(together(port, stop)))
    load.start()
    turns, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        start_and_take_back(registry, 1, 0.5)
        turns += 1
    stop.set()
    load.join()
    [found] = answers
    lines = [f"{turns} rollouts started and taken back in {seconds:g} s; answers by version {dict(found.by_version)}"]
    strangers = len(found.tried_keys - takers(found.tried_keys))
    lines += [f"{len(found.failed)} failed, {len(found.wrong)} wrong, {strangers} answered by 2 outside of its share"]
    sys.stdout.write("\n".join([*lines, *found.failed[:5], *found.wrong[:5], ""]))


if __name__ == "__main__":
    main(float(sys.argv[1]))
