"""Imports run one way, in no circle. The order of the rooms stands in `tests/imports.py`; a new room is added there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.imports import ROOT, SERVING, SHARED, UPDRAFT, back_arrows, circles, graph, imports, modules, rooms

HEAVY = ("pandas", "sklearn", "great_expectations", "pyarrow", "matplotlib", "pymongoarrow", "joblib", "distributed")
PACKAGE, SERVICE = modules("include"), modules("serving")
TREE = modules("include", "serving", "plugins", "dags")
ARROWS = graph(TREE)


def python(script: str, cwd: Path = ROOT) -> list[str]:
    """Run a script in a fresh interpreter and give the words it prints."""
    folders = os.pathsep.join(str(ROOT / folder) for folder in ("", "include", "plugins"))
    environ = {**os.environ, "PYTHONPATH": folders}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_no_module_and_no_room_imports_itself_by_way_of_others() -> None:
    assert circles(ARROWS) == []
    assert circles(rooms(ARROWS)) == []


def test_a_circle_is_found_also_behind_type_checking_and_in_a_function(tmp_path: Path) -> None:
    files = {f"x.{name}": tmp_path / f"{name}.py" for name in "abc"}
    files["x.a"].write_text("from x import b")
    files["x.b"].write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from x.c import C")
    files["x.c"].write_text("def f():\n    import x.a")
    assert circles(graph(files)) == [["x.a", "x.b", "x.c"]]


@pytest.mark.parametrize(("top", "order"), [("updraft", UPDRAFT), ("serving", SERVING)])
def test_a_room_imports_only_rooms_that_stand_before_it(top: str, order: tuple[str, ...]) -> None:
    assert back_arrows(ARROWS, order, top) == []


def test_an_import_of_a_higher_or_an_unknown_room_is_found() -> None:
    arrows = {"updraft.errors": {"updraft.model.columns"}, "updraft.attic.x": set(), "updraft.model.columns": set()}
    assert back_arrows(arrows, UPDRAFT, "updraft") == ["updraft.attic", "updraft.errors → updraft.model"]


@pytest.mark.parametrize("name", PACKAGE)
def test_the_package_knows_nothing_of_airflow_flask_or_whoever_uses_it(name: str) -> None:
    tops = {each.split(".")[0] for each in imports(PACKAGE[name])}
    assert not tops & {"airflow", "flask", "serving", "dags", "connections"}


@pytest.mark.parametrize("name", [name for name in PACKAGE if name.split(".")[1:2] and name.split(".")[1] in SHARED])
def test_what_the_service_shares_imports_only_what_is_shared(name: str) -> None:
    assert {each.split(".")[1] for each in ARROWS[name]} <= SHARED


@pytest.mark.parametrize("name", SERVICE)
def test_the_service_imports_what_is_shared_and_no_training(name: str) -> None:
    ours = {each for each in ARROWS[name] if each.startswith("updraft.")}
    assert {each.split(".")[1] for each in ours} <= SHARED
    tops = {each.split(".")[0] for each in imports(SERVICE[name])}
    assert not tops & {"airflow", "great_expectations", "pymongo", "dask", "distributed", "dags", "connections"}


@pytest.mark.parametrize("room", ["model", "registry"])
def test_a_shared_room_by_itself_imports_nothing_heavy(room: str) -> None:
    loaded = python(f"import sys, updraft.{room}; print(*sys.modules)")
    assert not {*HEAVY, "numpy", "pydantic", "boto3", "botocore", "cryptography"} & set(loaded)


def test_configuration_is_read_without_anything_heavy() -> None:
    """Airflow's dag-processor reads it every few seconds."""
    loaded = python(
        "import sys; from updraft.usecase import load, paths; [load(p.stem) for p in paths()]; print(*sys.modules)"
    )
    assert not set(HEAVY) & set(loaded)


def test_the_service_runs_without_airflow_and_great_expectations() -> None:
    loaded = python("import sys, serving.app, serving.models.live_models; print(*sys.modules)")
    assert not {"airflow", "great_expectations", "pymongo", "matplotlib"} & set(loaded)


def test_the_service_starts_without_the_libraries_of_the_pipelines() -> None:
    """They are imported when a version is loaded that is served by its pipeline; a compiled one needs none of them."""
    loaded = python("import sys, serving.app, serving.server.rsgi, serving.settings; print(*sys.modules)")
    assert not {"pandas", "sklearn", "scipy", "joblib", "pyarrow"} & set(loaded)


def test_the_ingester_is_a_small_process() -> None:
    loaded = python("import sys, serving.prediction_log.__main__; print(*sys.modules)")
    assert not {*HEAVY, "numpy", "flask", "werkzeug", "boto3", "botocore", "prometheus_client"} & set(loaded)


@pytest.mark.usefixtures("takes_long")
@pytest.mark.parametrize("path", sorted((ROOT / "dags").glob("*.py")), ids=lambda path: path.name)
def test_a_dag_file_imports_nothing_heavy(path: Path) -> None:
    """Every task parses its DAG file anew: what is imported at its top is paid for by each of them."""
    loaded = python(f"import sys, runpy; runpy.run_path({str(path)!r}); print(*sys.modules)")
    assert not set(HEAVY) & set(loaded)


@pytest.mark.parametrize("name", TREE)
def test_nobody_imports_dags_or_the_service(name: str) -> None:
    others = {each.split(".")[0] for each in imports(TREE[name])} - {name.split(".")[0]}
    assert not others & {"dags", "training"}
    assert "serving" not in others or name.split(".")[0] == "serving"


@pytest.mark.usefixtures("takes_long")
def test_importing_a_module_starts_nothing(tmp_path: Path) -> None:
    """No clock, no network, no folder at import: an artifact's path must not depend on when a module was loaded."""
    script = "\n".join(f"import {name}" for name in PACKAGE if not name.endswith("__main__"))
    assert python(script + "\nimport threading; print(threading.active_count())", tmp_path) == ["1"]
    assert not list(tmp_path.iterdir())
