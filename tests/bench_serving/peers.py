"""The servers that are compared, each with the same pipeline or, here, the same version."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import sklearn

from tests.bench_serving.models import Trained
from tests.bench_serving.processes import Command
from tests.support.environments import bin_of
from tests.support.service import granian, surroundings
from updraft.defaults import ROOT
from updraft.predictions.layout import open_bucket
from updraft.registry.manifest import MODEL_FILE
from updraft.registry.registry import open_registry
from updraft.registry.rollouts import Plan, start

APPS = Path(__file__).parent / "apps"
OURS, MLFLOW, FASTAPI, BENTOML, FLOOR = "Updraft", "MLflow", "FastAPI", "BentoML", "constant route"
SHIPPING, CANARY = "and shipping", "and a canary"  # ours, with the shipper beside it; with two versions
# Pickles are read by the scikit-learn that wrote them.
BASE = (f"scikit-learn=={sklearn.__version__}", f"numpy=={np.__version__}")
PANDAS = f"pandas=={pd.__version__}"
PACKAGES = {
    MLFLOW: ("mlflow>=3.17", *BASE),
    FASTAPI: ("fastapi>=0.163", "uvicorn[standard]>=0.38", *BASE, PANDAS),
    BENTOML: ("bentoml>=1.4.39", *BASE, PANDAS),
}


@dataclass(frozen=True)
class Peer:
    """A server: how it is started, where it predicts, how it takes rows, and where its answer has the first score."""

    name: str
    command: Command
    path: str
    one: Callable[[dict[str, Any]], Any]
    many: Callable[[list[dict[str, Any]]], Any]
    score: Callable[[Any], Any]
    sleeps: bool = True  # between its turns; else it is started anew for each


def peers(names: list[str], trained: Trained, environ: Mapping[str, str], folder: Path) -> list[Peer]:
    """Prepare these servers for a model; environments are made on first use."""
    makers = {OURS: _ours, MLFLOW: _mlflow, FASTAPI: _fastapi, BENTOML: _bentoml, FLOOR: _floor}
    makers |= {SHIPPING: _shipping, CANARY: _canary}
    return [makers[name](trained, environ, _made(folder / name.replace(" ", "_"))) for name in names]


def with_workers(peer: Peer, workers: int) -> Command:
    """Return the command with more workers of granian."""
    return Command((*peer.command.words, "--workers", str(workers)), peer.command.environ, peer.command.folder)


def _ours(trained: Trained, environ: Mapping[str, str], folder: Path) -> Peer:
    own = {
        "SERVE_ONLY": trained.name,
        "SERVING_CACHE": str(folder / "cache"),
        "SERVING_DATA": str(folder / "data"),
        "SERVING_MAX_BODY_MB": "64",
        "SERVING_MAX_ROWS": "100000",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    words = granian(0)
    words[words.index("--port") + 1] = "{port}"
    command = Command(tuple(words), surroundings(dict(environ) | own), ROOT)
    return Peer(OURS, command, f"/predict/{trained.name}", lambda row: row, lambda rows: {"rows": rows}, _our_score)


def _shipping(trained: Trained, environ: Mapping[str, str], folder: Path) -> Peer:
    environ = {**environ, "SERVING_PREDICTIONS": "s3://bench-predictions", "SERVING_SHIP_SECONDS": "2"}
    if bucket := open_bucket(environ):
        bucket.create_if_missing()
    peer = _ours(trained, environ, folder)
    command = replace(peer.command, beside=(sys.executable, "-m", "serving.shipper"))
    return replace(peer, name=SHIPPING, command=command)


def _canary(trained: Trained, environ: Mapping[str, str], folder: Path) -> Peer:
    """Try the same model, in other bytes, beside itself, on half of the requests: answers stay the same."""
    environ = {**environ, "UPDRAFT_REGISTRY": "s3://bench-canary"}
    registry = open_registry(environ)
    registry.bucket.create_if_missing()
    files = shutil.copytree(trained.folder, folder / "files", ignore=shutil.ignore_patterns("manifest.*"))
    why = {"who": "bench", "why": "to be measured"}
    first = registry.push(trained.name, files, {}, "first")
    registry.promote(trained.name, first.number, expect=None, **why)
    joblib.dump(joblib.load(files / MODEL_FILE), files / MODEL_FILE, compress=1)
    second = registry.push(trained.name, files, {}, "second")
    start(registry, trained.name, Plan(second.number, "canary", 50.0), **why)
    return replace(_ours(trained, environ, folder), name=CANARY)


def _our_score(answer: dict[str, Any]) -> Any:
    first = (answer.get("probabilities") or answer["predictions"])[0]
    return list(first.values()) if isinstance(first, dict) else first


def _mlflow(trained: Trained, environ: Mapping[str, str], folder: Path) -> Peer:
    programs = bin_of(*PACKAGES[MLFLOW])
    model = folder / "model"
    sample = json.dumps(trained.rows[:50])
    save = [programs / "python", APPS / "save_mlflow.py", trained.folder, model]
    subprocess.run(save, input=sample, text=True, check=True, env=_environ(programs, trained), capture_output=True)
    words = (f"{programs}/mlflow", "models", "serve", "--model-uri", str(model), "--env-manager", "local")
    words = (*words, "--host", "127.0.0.1", "--port", "{port}", "--workers", "1")
    command = Command(words, _environ(programs, trained), folder)
    return Peer(MLFLOW, command, "/invocations", lambda row: _records([row]), _records, lambda it: it["predictions"][0])


def _records(rows: list[dict[str, Any]]) -> Any:
    return {"dataframe_records": rows}


def _fastapi(trained: Trained, environ: Mapping[str, str], folder: Path) -> Peer:
    programs = bin_of(*PACKAGES[FASTAPI])
    words = (f"{programs}/uvicorn", "fastapi_app:app", "--app-dir", str(APPS), "--host", "127.0.0.1")
    command = Command((*words, "--port", "{port}"), _environ(programs, trained), folder)
    return Peer(FASTAPI, command, "/predict", lambda row: [row], lambda rows: rows, lambda it: it[0])


def _bentoml(trained: Trained, environ: Mapping[str, str], folder: Path) -> Peer:
    programs = bin_of(*PACKAGES[BENTOML])
    words = (f"{programs}/bentoml", "serve", "bentoml_app:Batched", "--working-dir", str(APPS), "--host", "127.0.0.1")
    own = {"BENTOML_HOME": str(folder), "BENTOML_DO_NOT_TRACK": "True"}
    command = Command((*words, "--port", "{port}"), _environ(programs, trained) | own, folder)
    # It sizes its batches by how long they took, and after a sleep it refuses what it could answer.
    one, many = (lambda row: {"rows": [row]}), (lambda rows: {"rows": rows})
    return Peer(BENTOML, command, "/predict", one, many, lambda it: it[0], sleeps=False)


def _floor(trained: Trained, environ: Mapping[str, str], folder: Path) -> Peer:
    words = (str(Path(sys.executable).with_name("granian")), "--interface", "wsgi", "--no-ws", "--http", "1")
    words = (*words, "--blocking-threads", "4", "--backlog", "4096", "--backpressure", "4096")
    words = (*words, "--host", "127.0.0.1", "--port", "{port}", "constant_route:app")
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(APPS)}
    return Peer(FLOOR, Command(words, environ, folder), "/predict", lambda row: row, lambda rows: rows, lambda it: None)


def _environ(programs: Path, trained: Trained) -> dict[str, str]:
    """Return what a peer's processes get: its own programs first, and the module that the pipeline refers to."""
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    home = {"HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(ROOT / "include")}
    return {"PATH": path, "MODEL": str(trained.folder), **home, **threads}


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
