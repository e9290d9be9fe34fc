"""Measure the service beside others that serve the same model. `make bench-serving` prints the table.

One core for the server, one for the client; nothing else should run. ROUNDS, SECONDS and MODELS shorten it:
`make bench-serving ROUNDS=1 SECONDS=2 MODELS=reference_forest`. With OUT the JSON and the picture go elsewhere.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is loaded
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each start compiles everything

from tests.bench_serving.client import require_wrk
from tests.bench_serving.measure import Figures, Plan, measure, memory_of_two, starts
from tests.bench_serving.models import REFERENCE, TRAINED_ON, Trained, train
from tests.bench_serving.peers import BENTOML, CANARY, FASTAPI, FLOOR, MLFLOW, OURS, SHIPPING, peers
from tests.bench_serving.report import machine, print_goals, print_model, print_starts, save
from tests.support.key_pairs import write_key_pair
from tests.support.servers import s3_server
from updraft.defaults import ROOT

ALL, TWO = [OURS, SHIPPING, CANARY, MLFLOW, FASTAPI, BENTOML, FLOOR], [OURS, MLFLOW]
CONNECTIONS = {REFERENCE: (1, 8, 64)}  # of others: FEWER
FEWER = (1, 64)
NEW_ROWS = 5_000


def main() -> None:
    """Train the models, measure each, print and save."""
    require_wrk()
    rounds, seconds = _number("ROUNDS", 3), _number("SECONDS", 3)
    names = (os.environ.get("MODELS") or ",".join(TRAINED_ON)).split(",")
    if not {REFERENCE} <= set(names) <= set(TRAINED_ON):
        raise SystemExit(f"MODELS: {','.join(names)!r}, expected {REFERENCE} and any of {', '.join(TRAINED_ON)}")
    out = Path(os.environ.get("OUT") or ROOT / "docs" / "bench")
    results = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), "models": {}}
    results |= {"rounds": rounds, "seconds": seconds}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="updraft-bench-") as made:
        folder = Path(made)
        (folder / "s3").mkdir()
        with s3_server(folder / "s3") as s3:
            environ = s3 | write_key_pair(folder) | {"UPDRAFT_REGISTRY": "s3://bench"}
            for trained in train(names, environ, folder, NEW_ROWS):
                connections = CONNECTIONS.get(trained.name, FEWER)
                plan = Plan(rounds, seconds, connections, bodies=trained.name == REFERENCE)
                print(f"\nmeasuring {trained.name} …", flush=True)
                figures = _measure(trained, plan, environ, folder / trained.name)
                print_model(trained.name, figures, connections)
                print_starts(figures)
                results["models"][trained.name] = figures
    results["goals"] = print_goals(results)
    save(results, out)
    print(f"\n{time.monotonic() - began:.0f} s; written: {out}/serving.json, {out}/serving.png")


def _number(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not (text.isdecimal() and int(text)):
        raise SystemExit(f"{name}: {text!r}, expected a whole number, 1 or more")
    return int(text)


def _measure(trained: Trained, plan: Plan, environ: Mapping[str, str], folder: Path) -> dict[str, Figures]:
    reference = trained.name == REFERENCE
    compared = peers(ALL if reference else TWO, trained, environ, folder)
    figures = measure(compared, trained, plan, folder)
    for peer in compared if reference else ():
        if peer.name in (SHIPPING, CANARY):
            continue
        figures[peer.name]["first"] = starts(peer, trained, plan.rounds, folder)
        if peer.name in (OURS, FLOOR):
            figures[peer.name]["two workers"] = asdict(memory_of_two(peer, trained, plan.seconds, folder))
    return figures


if __name__ == "__main__":
    main()
