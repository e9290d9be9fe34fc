"""Run one stage in this process: `python -m tests.bench_pipeline.one_stage MODULE STAGE FOLDER` prints its figures."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

STAGES = ("ingest", "validate", "transform", "train", "evaluate")
TUTORIAL, FOREST, BOOSTED = "tutorial", "Updraft, same forest", "Updraft, boosted trees"
WAYS = {  # what is compared: module and candidate
    TUTORIAL: ("tests.bench_pipeline.tutorial", "random_forest"),
    FOREST: ("tests.bench_pipeline.ours", "random_forest"),
    BOOSTED: ("tests.bench_pipeline.ours", "hist_gradient_boosting"),
}


def run(module: str, stage: str, root: str) -> None:
    """Run one stage and print its seconds, those of the processor, its greatest memory and what it returned."""
    way = importlib.import_module(module)
    if preload := getattr(way, "preload", None):
        preload(stage)
    started, cpu = time.monotonic(), time.process_time()
    value = way.STAGES[stage](Path(root))
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    status = Path("/proc/self/status").read_text().partition("VmHWM:")[2]  # getrusage's begins with the parent's
    megabytes = int(status.split()[0]) / 1024
    value = value if isinstance(value, float) else None
    print(json.dumps({"seconds": seconds, "cpu": cpu, "megabytes": megabytes, "value": value}))


if __name__ == "__main__":
    run(*sys.argv[1:])
