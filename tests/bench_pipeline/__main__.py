"""Measure the pipeline beside the way of tutorials: `make bench` prints the tables, and leaves them in docs/bench/.

Each stage is a process of its own, all on the same machine and from the same mongod; seconds are without imports. BIG=1
adds 4,000,000 rows, with a tenth of the trees. GROWTH=1 measures the stages with boosted trees from 50,000 rows to
10,000,000. ROWS=1000 compares on so many rows instead; SIZES=1000,2000 are those of the growth; AIRFLOW=0 leaves out
Airflow's own time; OUT names another folder for what is written, SCRATCH one with about 5 GB for what is not kept.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from tests.bench_pipeline.airflow_tasks import measure_tasks
from tests.bench_pipeline.goals import goals
from tests.bench_pipeline.one_stage import BOOSTED, FOREST, STAGES, TUTORIAL, WAYS
from tests.bench_pipeline.report import markdown, print_goals, print_growth, print_size, save
from tests.bench_pipeline.rows import DISTINCT, Rows
from tests.bench_serving.report import machine
from tests.support.servers import mongo_server
from updraft.defaults import ROOT

KAGGLE, MANY = 381_109, 4_000_000  # the rows of the public data set, and ten times as many
GROWTH = (DISTINCT, KAGGLE, 1_000_000, MANY, 10_000_000)


def main() -> None:
    """Measure each way on each size, print and save."""
    out = Path(os.environ.get("OUT") or ROOT / "docs" / "bench")
    results: dict[str, Any] = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
    results |= {"versions": {"python": sys.version.split()[0], "pandas": pd.__version__}, "sizes": {}, "growth": {}}
    with tempfile.TemporaryDirectory(prefix="updraft-bench-", dir=os.environ.get("SCRATCH") or None) as made:
        folder = Path(made)
        if os.environ.get("AIRFLOW") != "0":
            print("Airflow: six tasks …", file=sys.stderr, flush=True)
            results["airflow"] = measure_tasks(folder)
        (folder / "mongo").mkdir()
        with mongo_server(folder / "mongo") as address:
            rows = Rows(f"mongodb://{address}/bench")
            results["data"] = rows.origin
            for size, trees, ways in plan():
                rows.grow_to(size)
                figures = {way: measured(way, folder / "stages", rows.url, trees) for way in ways}
                if TUTORIAL in figures:
                    results["sizes"][str(size)] = {"trees": trees, "ways": figures}
                    print_size(size, trees, figures)
                if size in growth_sizes():
                    results["growth"][str(size)] = figures[BOOSTED]
                save(results, out)  # what is measured stays, whatever becomes of the rest
    results["goals"] = goals(results)
    print_growth(results["growth"])
    print_goals(results["goals"])
    save(results, out)
    (out / "pipeline.md").write_text(markdown(results), encoding="utf-8")
    print(f"\nwritten: {out}/pipeline.json, .png and .md")


def plan() -> Iterator[tuple[int, int, Sequence[str]]]:
    """Yield numbers of rows, the smallest first as rows are only added, of trees, and the ways that are measured."""
    rows = os.environ.get("ROWS")
    compared = dict.fromkeys([int(rows)] if rows else [DISTINCT, KAGGLE], 200)
    compared |= {MANY: 20} if os.environ.get("BIG") else {}
    for size in sorted({*compared, *growth_sizes()}):
        yield size, compared.get(size, 0), (TUTORIAL, FOREST, BOOSTED) if size in compared else (BOOSTED,)


def growth_sizes() -> Sequence[int]:
    """Return the numbers of rows on which memory and seconds are followed."""
    if sizes := os.environ.get("SIZES"):
        return [int(size) for size in sizes.split(",")]
    return GROWTH if os.environ.get("GROWTH") else ()


def measured(way: str, root: Path, url: str, trees: int) -> dict[str, Any]:
    """Run the stages of a way, each in a process of its own; the last one's value is the model's ROC AUC."""
    module, candidate = WAYS[way]
    figures = {}
    variables = {**os.environ, "MONGODB_URL": url, "TREES": str(trees), "CANDIDATE": candidate}
    for stage in STAGES:
        print(f"{way}: {stage} …", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "tests.bench_pipeline.one_stage", module, stage, str(root)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=variables)
        figures[stage] = json.loads(done.stdout.splitlines()[-1])
    shutil.rmtree(root)
    return figures


if __name__ == "__main__":
    main()
