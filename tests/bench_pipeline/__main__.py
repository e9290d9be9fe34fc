"""Measure the pipeline beside the way of tutorials: `make bench` prints the table, and leaves it in docs/bench/.

Each stage is a process of its own, all on the same machine and from the same mongod; seconds are without imports. BIG=1
adds 4,000,000 rows, with a tenth of the trees. ROWS=50000 measures so many instead; OUT names another folder.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pymongo import MongoClient

from tests.bench_pipeline.report import print_goals, print_size, save
from tests.bench_serving.report import machine
from tests.support.servers import mongo_server
from tests.support.small_cases import SHARED_DATA
from updraft.defaults import ROOT
from updraft.demo.rows import generate
from updraft.usecase import load

REAL = SHARED_DATA / "vehicle_insurance" / "data.csv"
KAGGLE, MANY = 381_109, 4_000_000  # the rows of the public data set, of which REAL is a part, and ten times as many
STAGES = ("ingest", "validate", "transform", "train", "evaluate")
WAYS = {  # what is compared: module and candidate
    "tutorial": ("tests.bench_pipeline.tutorial", "random_forest"),
    "Updraft, same forest": ("tests.bench_pipeline.ours", "random_forest"),
    "Updraft, boosted trees": ("tests.bench_pipeline.ours", "hist_gradient_boosting"),
}


def main() -> None:
    """Measure each way on each size, print and save."""
    results: dict[str, Any] = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
    results["data"] = "resampled from the public rows" if REAL.is_file() else "synthetic"
    results["sizes"] = {}
    with tempfile.TemporaryDirectory(prefix="updraft-bench-") as made:
        folder = Path(made)
        (folder / "mongo").mkdir()
        with mongo_server(folder / "mongo") as address:
            for rows, trees in sizes():
                environ = {"MONGODB_URL": f"mongodb://{address}/rows_{rows}", "TREES": str(trees)}
                load_rows(environ["MONGODB_URL"], rows)
                found = {way: measured(way, folder / f"{rows}-{way}", environ) for way in WAYS}
                results["sizes"][str(rows)] = {"trees": trees, "ways": found}
                print_size(rows, trees, found)
    results["goals"] = print_goals(results["sizes"])
    save(results, Path(os.environ.get("OUT") or ROOT / "docs" / "bench"))


def sizes() -> Iterator[tuple[int, int]]:
    """Yield numbers of rows and of trees."""
    yield int(os.environ.get("ROWS") or KAGGLE), 200
    if os.environ.get("BIG"):
        yield MANY, 20


def load_rows(url: str, rows: int) -> None:
    """Fill the collection with resampled rows, which have ids of their own."""
    case = load("vehicle_insurance")
    frame = pd.read_csv(REAL) if REAL.is_file() else generate(case, 50_000)
    random = np.random.default_rng(0)
    with MongoClient(url) as client:
        collection = client.get_default_database()["vehicle_insurance"]
        for start in range(0, rows, 20_000):
            part = frame.iloc[random.integers(0, len(frame), min(20_000, rows - start))]
            part = part.assign(id=np.arange(start, start + len(part)))
            collection.insert_many(part.to_dict("records"), ordered=False)


def measured(way: str, root: Path, environ: dict[str, str]) -> dict[str, Any]:
    """Run the stages of a way, each in a process of its own; the last one's value is the model's ROC AUC."""
    module, candidate = WAYS[way]
    found = {}
    for stage in STAGES:
        print(f"{way}: {stage} …", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "tests.bench_pipeline", module, stage, str(root)]
        variables = {**os.environ, **environ, "CANDIDATE": candidate}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=variables)
        found[stage] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(module: str, stage: str, root: str) -> None:
    """Run one stage and print its seconds, those of the processor, its greatest memory and what it returned."""
    function = importlib.import_module(module).STAGES[stage]
    if stage == "validate" and module.endswith("ours"):
        importlib.import_module("great_expectations")
    started, cpu = time.monotonic(), time.process_time()
    value = function(Path(root))
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    status = Path("/proc/self/status").read_text().partition("VmHWM:")[2]  # getrusage's begins with the parent's
    megabytes = int(status.split()[0]) / 1024
    value = value if isinstance(value, float) else None
    print(json.dumps({"seconds": seconds, "cpu": cpu, "megabytes": megabytes, "value": value}))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        run(*sys.argv[1:])
    else:
        main()
